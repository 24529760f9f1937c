package engine

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/systemd/execstart"
)

// fake answers as a server and its my_print_defaults do. It notes what it was
// asked.
type fake struct {
	Asker
	asked    []Question
	program  []byte // what the server prints without settings
	printed  string // what my_print_defaults prints
	fails    error  // of my_print_defaults
	answered []byte // what the server prints with its settings
	there    string // the only program that is there; "" means that all are
}

func (f *fake) Glob(path string) ([]string, error) {
	if f.there == "" || f.there == path {
		return []string{path}, nil
	}
	return nil, nil
}

func (f *fake) Run(_ context.Context, q Question) ([]byte, error) {
	f.asked = append(f.asked, q)
	switch {
	case strings.HasSuffix(q.Argv[0], "my_print_defaults"):
		return []byte(f.printed), f.fails
	case slices.Contains(q.Argv, "--no-defaults"):
		return f.program, nil
	}
	return f.answered, nil
}

func serviceOf(unit string, argv ...string) []execstart.Service {
	return []execstart.Service{{Unit: unit, Commands: []execstart.Exec{{Path: argv[0], Argv: argv}}}}
}

func TestTheServerIsAskedOnlyWhereItsFilesDoNotTell(t *testing.T) {
	const server = "/usr/sbin/mysqld"
	program := pageOf(t, "testdata/mysqld-help.txt", nil)
	answered := pageOf(t, "testdata/mysqld-help.txt", map[string]string{"datadir": "/its/own/answer/"})
	for name, c := range map[string]struct {
		args      []string
		printed   string
		fails     error
		want      string // the data directory
		elsewhere string
	}{
		"nothing set":                  {want: "/var/lib/mysql"},
		"in a file":                    {printed: "--user=mysql\n--datadir=/srv/a\n", want: "/srv/a"},
		"the last in a file":           {printed: "--datadir=/srv/a\n--datadir=/srv/b/\n", want: "/srv/b"},
		"on the command line":          {args: []string{"--datadir=/srv/c"}, printed: "--datadir=/srv/a\n", want: "/srv/c"},
		"as two words":                 {args: []string{"--user", "mysql", "--datadir", "/srv/c"}, want: "/srv/c"},
		"by its letter":                {args: []string{"-h", "/srv/c"}, want: "/srv/c"},
		"by its letter, at once":       {args: []string{"-h/srv/c", "-P", "3307"}, want: "/srv/c"},
		"loose":                        {args: []string{"--loose_datadir=/srv/c"}, want: "/srv/c"},
		"underscores":                  {args: []string{"--innodb_undo_directory=/u"}, want: "/var/lib/mysql", elsewhere: "innodb_undo_directory"},
		"a binary log":                 {printed: "--log_bin=/logs/bin\n", want: "/var/lib/mysql", elsewhere: "log_bin"},
		"no binary log":                {printed: "--log_bin=/logs/bin\n--skip-log-bin\n", want: "/var/lib/mysql"},
		"a binary log of its own name": {printed: "--log_bin=/logs/bin\n--log-bin\n", want: "/var/lib/mysql"},
		"a letter that takes a word":   {args: []string{"-u", "--datadir=/x"}, want: "/var/lib/mysql"},

		"relative":               {args: []string{"--datadir=data"}, want: "/its/own/answer"},
		"empty":                  {args: []string{"--datadir="}, want: "/its/own/answer"},
		"turned off":             {args: []string{"--skip-datadir"}, want: "/its/own/answer"},
		"abbreviated":            {args: []string{"--datad=/x"}, want: "/its/own/answer"},
		"abbreviated and off":    {args: []string{"--skip-innodb-undo=/x"}, want: "/its/own/answer"},
		"capitals":               {args: []string{"--DataDir=/x"}, want: "/its/own/answer"},
		"the end of options":     {args: []string{"--", "--datadir=/x"}, want: "/its/own/answer"},
		"a word":                 {args: []string{"data"}, want: "/its/own/answer"},
		"letters together":       {args: []string{"-ah/x"}, want: "/its/own/answer"},
		"another base":           {args: []string{"-b", "/opt"}, want: "/its/own/answer"},
		"an option of a plugin":  {args: []string{"--rocksdb-x", "--datadir=/x"}, want: "/its/own/answer"},
		"takes the next, a file": {printed: "--tmpdir\n--datadir=/x\n", want: "/its/own/answer"},
		"a value of two lines":   {printed: "--init-connect=a\nb\n", want: "/its/own/answer"},
		"its tool is missing":    {fails: errors.New("no such file"), want: "/its/own/answer"},
	} {
		f := &fake{program: program, printed: c.printed, fails: c.fails, answered: answered}
		got, err := mysql{}.Settings(t.Context(), f, serviceOf("mysql.service", append([]string{server, "--defaults-extra-file=/etc/x.cnf"}, c.args...)...))
		places := ""
		for _, p := range got.Elsewhere {
			places += p.Setting
		}
		if err != nil || got.DataDirectory != c.want || places != c.elsewhere || got.Program != server || !slices.Equal(got.Options, []string{"--defaults-extra-file=/etc/x.cnf"}) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		argv := func(i int) string { return strings.Join(f.asked[i].Argv, " ") }
		if argv(0) != server+" --no-defaults --verbose --help" || !f.asked[0].OfProgram ||
			argv(1) != "/usr/bin/my_print_defaults --defaults-extra-file=/etc/x.cnf mysql_cluster mysqld server mysqld-9.7" {
			t.Errorf("%s: asked %+v", name, f.asked)
		}
		// The server is told to answer before any word that could let it start.
		if slow := c.want == "/its/own/answer"; (len(f.asked) == 3) != slow || slow && !strings.HasPrefix(argv(2), server+" --defaults-extra-file=/etc/x.cnf --verbose --help") {
			t.Errorf("%s: asked %+v", name, f.asked)
		}
	}
}

func TestAnotherServerThanTheRoleNamesIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		engine Engine
		file   string
		want   string
	}{
		"MariaDB's": {mysql{}, "testdata/mariadbd-help.txt", `/usr/sbin/mysqld is not MySQL: its version is "10.11.19-MariaDB-0+deb12u1"`},
		"MySQL's":   {mariadb{}, "testdata/mysqld-help.txt", `/usr/sbin/mysqld is not MariaDB: its version is "9.7.4-2"`},
	} {
		_, err := c.engine.Settings(t.Context(), &fake{program: pageOf(t, c.file, nil)}, serviceOf("mysql.service", "/usr/sbin/mysqld"))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTheToolBesideAServerOfItsOwnDirectoryIsUsed(t *testing.T) {
	for server, want := range map[string]string{
		"/usr/sbin/mysqld": "/usr/bin/my_print_defaults", "/usr/libexec/mysqld": "/usr/bin/my_print_defaults",
		"/opt/mysql/bin/mysqld": "/opt/mysql/bin/my_print_defaults",
	} {
		f := &fake{program: pageOf(t, "testdata/mysqld-help.txt", nil)}
		if _, err := (mysql{}).Settings(t.Context(), f, serviceOf("mysql.service", server)); err != nil || f.asked[1].Argv[0] != want {
			t.Errorf("%s: asked %+v, %v", server, f.asked, err)
		}
	}
}

// Without a service that says more, the server is the one that is installed.
func TestTheServerIsFoundWhereTheDistributionHasIt(t *testing.T) {
	for _, c := range []struct {
		engine       Engine
		there, title string
		file         string
	}{
		{mariadb{}, "/usr/libexec/mariadbd", "MariaDB", "testdata/mariadbd-help.txt"},
		{mysql{}, "/usr/libexec/mysqld", "MySQL", "testdata/mysqld-help.txt"},
	} {
		program := pageOf(t, c.file, nil)
		f := &fake{program: program, there: c.there}
		set, err := c.engine.Settings(t.Context(), f, nil)
		if err != nil || set.Program != c.there || f.asked[0].Argv[0] != c.there {
			t.Errorf("got %+v, %v; asked %+v", set, err, f.asked)
		}
		f = &fake{program: program, there: "/opt/server"}
		want := "cannot ask " + c.title + " for its settings: " + strings.Join(c.engine.Tools()[0].Paths, " or ") + " is not installed"
		if _, err := c.engine.Settings(t.Context(), f, nil); err == nil || err.Error() != want || len(f.asked) > 0 {
			t.Errorf("got %v, want %s; asked %+v", err, want, f.asked)
		}
		// The name alone, as systemd takes it.
		f = &fake{program: program, there: c.there}
		if set, err = c.engine.Settings(t.Context(), f, serviceOf("db.service", filepath.Base(c.there), "--datadir=/srv/a")); err != nil || set.Program != c.there || set.DataDirectory != "/srv/a" {
			t.Errorf("got %+v, %v", set, err)
		}
	}
}
