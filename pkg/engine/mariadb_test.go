package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bootagent/pkg/datadir"
	"bootagent/pkg/engine/innodb"
	"bootagent/pkg/engine/mycnf"
	"bootagent/pkg/fault"
	"bootagent/pkg/golden"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

func TestCommandsAreThoseThatWereReviewed(t *testing.T) {
	for _, e := range []Engine{mariadb{}, mysql{}} {
		asked := &fake{}
		if _, err := e.Settings(t.Context(), asked, nil); err == nil {
			t.Error("from nothing, there are settings")
		}
		initialize := e.Initialize("/srv/data/mysql.initializing-1", "mysql", host.EngineSettings{Program: asked.asked[0].Argv[0], Options: []string{"--defaults-file=/etc/my2.cnf"}})
		golden.Check(t, "testdata/"+e.Name()+"-commands.golden",
			"ask:\n  "+strings.Join(asked.asked[0].Argv, "\n  ")+"\ninitialize:\n  "+strings.Join(initialize, "\n  ")+"\n")
		if slices.Contains(initialize, "--force") {
			t.Error("the engine is forced")
		}
	}
}

// page is what MariaDB 10.11 of Debian 12 prints, less most of its options, with
// other values for some of them.
func page(t *testing.T, with map[string]string) []byte {
	t.Helper()
	return pageOf(t, "testdata/mariadbd-help.txt", with)
}

func pageOf(t *testing.T, file string, with map[string]string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		if name, _, _ := strings.Cut(line, " "); with[name] != "" {
			line = fmt.Sprintf("%-60s %s\n", name, with[name])
		}
		b.WriteString(line)
	}
	return []byte(b.String())
}

func TestSettingsAreReadFromTheEnginesOwnHelp(t *testing.T) {
	for name, c := range map[string]struct {
		with map[string]string
		want host.EngineSettings
		err  string
	}{
		"Debian's": {nil, host.EngineSettings{DataDirectory: "/var/lib/mysql", Version: "10.11.19-MariaDB-0+deb12u1", Files: []string{"ibdata1"}}, ""},
		"a directory with a space": {
			map[string]string{"datadir": "/srv/my data/", "aria-log-dir-path": "/srv/my data/"},
			host.EngineSettings{DataDirectory: "/srv/my data", Version: "10.11.19-MariaDB-0+deb12u1", Files: []string{"ibdata1"}},
			"",
		},
		"two tablespaces": {
			map[string]string{"innodb-data-file-path": "ib1:12M;./ib2:12M:autoextend"},
			host.EngineSettings{DataDirectory: "/var/lib/mysql", Version: "10.11.19-MariaDB-0+deb12u1", Files: []string{"ib1", "ib2"}},
			"",
		},
		"the same directory in other words": {
			map[string]string{"innodb-undo-directory": "./", "innodb-data-home-dir": "/var/lib/../lib/mysql", "innodb-log-group-home-dir": "."},
			host.EngineSettings{DataDirectory: "/var/lib/mysql", Version: "10.11.19-MariaDB-0+deb12u1", Files: []string{"ibdata1"}},
			"",
		},
		"no directory":          {map[string]string{"datadir": "(No default value)"}, host.EngineSettings{}, "tells no datadir"},
		"a relative directory":  {map[string]string{"datadir": "./"}, host.EngineSettings{}, "not an absolute path"},
		"the tablespace":        {map[string]string{"innodb-data-home-dir": "/srv/ibd"}, host.EngineSettings{}, "innodb_data_home_dir is /srv/ibd at /srv/ibd"},
		"the undo logs":         {map[string]string{"innodb-undo-directory": "../undo"}, host.EngineSettings{}, "innodb_undo_directory is ../undo at /var/lib/undo"},
		"the redo log":          {map[string]string{"innodb-log-group-home-dir": "/fast"}, host.EngineSettings{}, "innodb_log_group_home_dir is /fast at /fast"},
		"Aria's log":            {map[string]string{"aria-log-dir-path": "/fast/aria/"}, host.EngineSettings{}, "aria_log_dir_path is /fast/aria/ at /fast/aria"},
		"a tablespace, by path": {map[string]string{"innodb-data-file-path": "ibdata1:12M;/big/ib2:12M:autoextend"}, host.EngineSettings{}, "innodb_data_file_path is ibdata1:12M;/big/ib2:12M:autoextend at /big/ib2"},
		"the binary log":        {map[string]string{"log-bin": "/var/log/mysql/bin"}, host.EngineSettings{}, "log_bin is /var/log/mysql/bin at /var/log/mysql/bin"},
		"another root":          {map[string]string{"chroot": "/jail"}, host.EngineSettings{}, "to change its root directory to /jail, so that its data directory /var/lib/mysql is another one"},
	} {
		got, err := readSettings(t, mariadb{}, page(t, c.with))
		switch {
		case c.err == "":
			if err != nil || got.DataDirectory != c.want.DataDirectory || got.Version != c.want.Version || !slices.Equal(got.Files, c.want.Files) || got.Elsewhere != nil || got.Values[mycnf.Scratch] != "ibtmp1" {
				t.Errorf("%s: got %+v, %v", name, got, err)
			}
		case strings.Contains(c.err, " at "):
			if err != nil || len(got.Elsewhere) != 1 || fmt.Sprintf("%s is %s at %s", got.Elsewhere[0].Setting, got.Elsewhere[0].Value, got.Elsewhere[0].Path) != c.err {
				t.Errorf("%s: got %+v, %v; want %s", name, got.Elsewhere, err, c.err)
			}
		case err == nil || !strings.Contains(err.Error(), c.err):
			t.Errorf("%s: got %+v, %v; want %s", name, got, err, c.err)
		case strings.Contains(c.err, "another one") && (!fault.IsPermanent(err) || fault.HintOf(err) == ""):
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// readSettings are those of a server that prints this, and has no option files.
func readSettings(t testing.TB, e Engine, help []byte) (host.EngineSettings, error) {
	return e.Settings(t.Context(), &fake{program: help, answered: help, fails: errors.New("no option files")}, nil)
}

func TestAnEngineIsAskedAsItsServicesStartIt(t *testing.T) {
	const help = ""
	exec := func(path string, args ...string) []execstart.Exec {
		return []execstart.Exec{{Path: path, Argv: append([]string{path}, args...)}}
	}
	sh := func(script string) []execstart.Exec { return exec("/bin/sh", "-c", script) }
	const d13 = "set -f; [ ! -e /usr/bin/galera_recovery ] && VAR= ||  VAR=`/usr/bin/galera_recovery`; [ $? -eq 0 ] || exit 1;  exec /usr/sbin/mariadbd $MYSQLD_OPTS $_WSREP_NEW_CLUSTER $VAR"
	const forky = "[ ! -e /usr/bin/galera_recovery ] && VAR= ||  VAR=`/usr/bin/galera_recovery`; [ $? -eq 0 ]  && exec /usr/sbin/mariadbd $MYSQLD_OPTS $_WSREP_NEW_CLUSTER $VAR || exit 1"
	for name, c := range map[string]struct {
		execstart.Service
		want string // the command, or what is unclear
	}{
		"Debian 12":                   {execstart.Service{Commands: exec("/usr/sbin/mariadbd", "$MYSQLD_OPTS", "$_WSREP_NEW_CLUSTER", "$_WSREP_START_POSITION")}, "/usr/sbin/mariadbd" + help},
		"Debian 12, with options":     {execstart.Service{Commands: exec("/usr/sbin/mariadbd", "$MYSQLD_OPTS"), Environment: []string{"MYSQLD_OPTS=--datadir=/srv/x --port=3307"}}, "/usr/sbin/mariadbd --datadir=/srv/x --port=3307" + help},
		"Debian 12, an instance":      {execstart.Service{Commands: exec("/usr/sbin/mariadbd", "$MYSQLD_MULTI_INSTANCE", "$MYSQLD_OPTS"), Environment: []string{"MYSQLD_MULTI_INSTANCE=--defaults-group-suffix=.a"}}, "/usr/sbin/mariadbd --defaults-group-suffix=.a" + help},
		"Debian 13":                   {execstart.Service{Commands: sh(d13)}, "/usr/sbin/mariadbd" + help},
		"Debian 13, with options":     {execstart.Service{Commands: sh(d13), Environment: []string{"MYSQLD_OPTS=--datadir=/srv/x"}}, "/usr/sbin/mariadbd --datadir=/srv/x" + help},
		"upstream, with options":      {execstart.Service{Commands: sh(forky), Environment: []string{"MYSQLD_OPTS=--defaults-file=/etc/my2.cnf"}}, "/usr/sbin/mariadbd --defaults-file=/etc/my2.cnf" + help},
		"the last value counts":       {execstart.Service{Commands: exec("/usr/sbin/mariadbd", "$O"), Environment: []string{"O=--a", "O=--b"}}, "/usr/sbin/mariadbd --b" + help},
		"braces":                      {execstart.Service{Commands: exec("/usr/sbin/mariadbd", "--datadir=${DIR}/x", "$$5"), Environment: []string{"DIR=/srv/my data"}}, "/usr/sbin/mariadbd --datadir=/srv/my data/x $5" + help},
		"no variables":                {execstart.Service{Commands: []execstart.Exec{{Path: "/usr/sbin/mariadbd", Argv: []string{"mariadbd", "$O"}, Literal: true}}, Environment: []string{"O=x"}}, "/usr/sbin/mariadbd $O" + help},
		"quotes in a value":           {execstart.Service{Commands: exec("/usr/sbin/mariadbd", "$O"), Environment: []string{`O="--datadir=/srv/my data" --x`}}, "/usr/sbin/mariadbd --datadir=/srv/my data --x" + help},
		"another build":               {execstart.Service{Commands: exec("/opt/mariadb/bin/mysqld", "--defaults-extra-file=/etc/extra.cnf")}, "/opt/mariadb/bin/mysqld --defaults-extra-file=/etc/extra.cnf" + help},
		"behind numactl":              {execstart.Service{Commands: exec("/usr/bin/numactl", "--interleave=all", "/usr/sbin/mariadbd", "--datadir=/d")}, "/usr/sbin/mariadbd --datadir=/d" + help},
		"a script with quotes":        {execstart.Service{Commands: sh(`exec /usr/sbin/mariadbd --datadir="$D" '--x y'`), Environment: []string{"D=/srv/my data"}}, "/usr/sbin/mariadbd --datadir=/srv/my data --x y" + help},
		"a folder named like it":      {execstart.Service{Commands: append(exec("/usr/bin/install", "-d", "/run/mysqld"), exec("/usr/sbin/mariadbd")...)}, "/usr/sbin/mariadbd" + help},
		"mysqld_safe":                 {execstart.Service{Commands: exec("/usr/bin/mysqld_safe", "--datadir=/d")}, "it runs /usr/bin/mysqld_safe, which may start mariadbd with other arguments"},
		"mariadbd-safe":               {execstart.Service{Commands: exec("/usr/bin/mariadbd-safe")}, "it runs /usr/bin/mariadbd-safe"},
		"a wrapper":                   {execstart.Service{Commands: exec("/usr/local/bin/run-db", "/usr/sbin/mariadbd")}, "it runs /usr/local/bin/run-db"},
		"a wrapper that says no name": {execstart.Service{Commands: exec("/usr/local/bin/run-db")}, "neither it nor another service of the role that needs the data runs mariadbd or mysqld"},
		"not installed":               {execstart.Service{}, "it has no ExecStart=; is the package of the engine installed"},
		"an umbrella":                 {execstart.Service{Commands: exec("/bin/true")}, "neither it nor another service"},
		"twice":                       {execstart.Service{Commands: append(exec("/usr/sbin/mariadbd"), exec("/usr/sbin/mariadbd", "--x")...)}, "two of its commands name mariadbd"},
		"a root of its own":           {execstart.Service{Commands: exec("/usr/sbin/mariadbd"), Root: "/srv/root"}, "it has a root directory of its own, /srv/root"},
		"a script file":               {execstart.Service{Commands: exec("/bin/sh", "/usr/sbin/mysqld")}, "it runs a shell, and the script is not in the unit"},
		"a script that sources":       {execstart.Service{Commands: sh(". /etc/default/db; exec /usr/sbin/mariadbd $OPTS")}, "it runs a script that may change them"},
		"a script that sets one":      {execstart.Service{Commands: sh("O=--datadir=/x; exec /usr/sbin/mariadbd $O")}, "it runs a script that sets $O itself"},
		"a script with a command":     {execstart.Service{Commands: sh("exec /usr/sbin/mariadbd $(cat /etc/opts)")}, "it runs a script that gets them from a command"},
		"a script with backticks":     {execstart.Service{Commands: sh("exec /usr/sbin/mariadbd `cat /etc/opts`")}, "only a shell can evaluate: it has '`'"},
		"a script with two":           {execstart.Service{Commands: sh("test -e /x && exec /usr/sbin/mariadbd --x || exec /usr/sbin/mariadbd")}, "it runs a script that starts mariadbd in two places"},
		"a script with its variable":  {execstart.Service{Commands: sh("D=/x exec /usr/sbin/mariadbd")}, "names mariadbd inside another command"},
	} {
		c.Unit = "mariadb.service"
		web := execstart.Service{Unit: "web.service"}
		if c.Commands != nil {
			web.Commands = exec("/usr/bin/web")
		}
		got, err := starts([]execstart.Service{c.Service, web}, mariadbProgram)
		if err != nil {
			e := (*execstart.UnclearError)(nil)
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || !e.Permanent() || e.Hint() == "" {
				t.Errorf("%s: got %v, want %s", name, err, c.want)
			}
			continue
		}
		if len(got) != 1 || strings.Join(got[0].Argv, " ") != c.want || !slices.Equal(got[0].Env, c.Environment) {
			t.Errorf("%s:\ngot  %+v\nwant %s", name, got, c.want)
		}
	}
}

func TestServicesThatStartTheEngineInTwoWaysAreBothAsked(t *testing.T) {
	start := func(unit string, args ...string) execstart.Service {
		return execstart.Service{Unit: unit, Commands: []execstart.Exec{{Path: "/usr/sbin/mariadbd", Argv: append([]string{"mariadbd"}, args...)}}}
	}
	got, err := starts([]execstart.Service{start("a.service"), start("b.service", "--x"), start("c.service")}, mariadbProgram)
	if err != nil || len(got) != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Whatever wrote last, the newest that is known to have been there counts.
func TestTheNewestMariaDBThatUsedADirectoryIsFound(t *testing.T) {
	redo := func(by string) string { return "Phys" + strings.Repeat("\x00", 12) + by + strings.Repeat("\x00", 40) }
	frm := func(id uint32) string {
		b := make([]byte, 64)
		b[0], b[1] = 0xfe, 1
		binary.LittleEndian.PutUint32(b[51:], id)
		return string(b)
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
		state host.DirectoryState
	}{
		"mariadb-upgrade has not run yet": {map[string]string{"mysql_upgrade_info": "10.5.2-MariaDB", "ib_logfile0": redo("MariaDB 11.8.9")}, "11.8.9", host.Unfit},
		"a restored backup":               {map[string]string{"ib_logfile0": redo("Backup 11.4.2-MariaDB")}, "11.4.2", host.Unfit},
		"a table":                         {map[string]string{"mysql/db.frm": frm(110809)}, "11.8.9", host.Unfit},
		"a table of its own":              {map[string]string{"mysql/db.frm": frm(101118)}, "10.11.18", host.Ready},
		"Debian's flag":                   {map[string]string{"debian-11.8.flag": ""}, "11.8", host.Unfit},
		"an old one":                      {map[string]string{"mysql_upgrade_info": "10.3.39-MariaDB"}, "10.3.39-MariaDB", host.Ready},
		"a later one of the series":       {map[string]string{"mysql_upgrade_info": "10.11.99-MariaDB"}, "10.11.99-MariaDB", host.Ready},
		"a series that sorts lower":       {map[string]string{"mysql_upgrade_info": "10.9.1-MariaDB"}, "10.9.1-MariaDB", host.Ready},
		"one of two digits":               {map[string]string{"mariadb_upgrade_info": "12.0.2-MariaDB"}, "12.0.2-MariaDB", host.Unfit},
		"rubbish":                         {map[string]string{"mysql/db.frm": frm(4000000000), "ib_logfile0": redo("mkfs")}, "", host.Ready},
	} {
		dir := mariadbDir(t)
		for file, text := range c.files {
			write(t, filepath.Join(dir, file), text)
		}
		if got := examine(t, dir, me(t)); got.State != c.state || got.Version != c.want {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestAnEngineThatDoesNotTellItsVersionIsNotHeldUp(t *testing.T) {
	dir := mariadbDir(t)
	write(t, filepath.Join(dir, "mariadb_upgrade_info"), "11.8.9-MariaDB")
	if got, err := Examine(datadir.Host{}, host.Data{Engine: "mariadb", Owner: me(t), Dir: dir}, host.EngineSettings{}); err != nil || got.State != host.Ready {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestVersionIsWhatTheEngineWroteLast(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"10.x":              {"mysql_upgrade_info", "10.11.14-MariaDB\n", "10.11.14-MariaDB"},
		"10.x, newly named": {"mariadb_upgrade_info", "10.11.5-MariaDB", "10.11.5-MariaDB"},
		"of Debian":         {"mysql_upgrade_info", "10.11.14-MariaDB-0+deb12u2", "10.11.14-MariaDB"},
		"no version":        {"mysql_upgrade_info", "<script>", ""},
		"empty":             {"mysql_upgrade_info", "", ""},
		"endless":           {"mysql_upgrade_info", strings.Repeat("9", 1<<20), strings.Repeat("9", 64)},
		"of another name":   {"upgrade_info", "10.11.14-MariaDB", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mariadbDir(t)
			write(t, filepath.Join(dir, c.file), c.text)
			if r := examine(t, dir, me(t)); r.State != host.Ready || r.Version != c.want {
				t.Errorf("%s with version %q, want %q", r.State, r.Version, c.want)
			}
		})
	}
	t.Run("both, after an upgrade", func(t *testing.T) {
		dir := mariadbDir(t)
		write(t, filepath.Join(dir, "mysql_upgrade_info"), "10.11.14-MariaDB")
		write(t, filepath.Join(dir, "mariadb_upgrade_info"), "10.11.15-MariaDB")
		if r := examine(t, dir, me(t)); r.Version != "10.11.15-MariaDB" {
			t.Errorf("version %q", r.Version)
		}
	})
}

// The owner of a data directory is a service. What it puts there must neither
// make the agent read for it what it can't read itself, nor hold the agent up.
func TestVersionFileIsNotTrusted(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "12345")
	for name, plant := range map[string]func(t *testing.T, path string){
		"link to a secret": func(t *testing.T, path string) { ok(t, os.Symlink(secret, path)) },
		"directory":        func(t *testing.T, path string) { ok(t, os.Mkdir(path, 0o755)) },
		"pipe":             func(t *testing.T, path string) { ok(t, syscall.Mkfifo(path, 0o600)) },
		"pipe with a writer": func(t *testing.T, path string) {
			ok(t, syscall.Mkfifo(path, 0o600))
			writer, err := os.OpenFile(path, os.O_RDWR, 0)
			ok(t, err)
			t.Cleanup(func() { writer.Close() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mariadbDir(t)
			plant(t, filepath.Join(dir, "mariadb_upgrade_info"))
			read := make(chan string, 1)
			go func() { read <- innodb.MariaDBVersion(Dir{path: dir, files: datadir.Host{}}, nil) }()
			select {
			case version := <-read:
				if version != "" {
					t.Errorf("got %q", version)
				}
			case <-time.After(2 * time.Second):
				t.Error("it hangs")
			}
		})
	}
}

// Whatever a unit says, the arguments are told or refused, and the program that
// is asked is one that the unit names or the engine's own.
func FuzzStart(f *testing.F) {
	f.Add("/bin/sh", "-c", "exec /usr/sbin/mariadbd $MYSQLD_OPTS \"$X\"", "MYSQLD_OPTS=--a 'b c'")
	f.Add("/usr/sbin/mariadbd", "$O", "${O}$$", "O=\"x")
	f.Fuzz(func(t *testing.T, program, one, two, env string) {
		s := execstart.Service{Unit: "x.service", Commands: []execstart.Exec{{Path: program, Argv: []string{program, one, two}}}, Environment: strings.Split(env, "\n")}
		got, err := starts([]execstart.Service{s}, mariadbProgram)
		if err != nil {
			if !errors.As(err, new(*execstart.UnclearError)) {
				t.Errorf("got %v", err)
			}
			return
		}
		argv := got[0].Argv
		if len(got) != 1 || argv[0] != "mariadbd" && argv[0] != "mysqld" && !filepath.IsAbs(argv[0]) {
			t.Errorf("got %+v", got)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	text, err := os.ReadFile("testdata/mariadbd-help.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, output []byte) {
		if s, err := readSettings(t, mariadb{}, output); err == nil && !filepath.IsAbs(s.DataDirectory) {
			t.Errorf("got %+v", s)
		}
	})
}
