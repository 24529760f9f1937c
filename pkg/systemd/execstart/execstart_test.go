package execstart

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

var server = Program{
	Names: []string{"server", "serverd"}, Wrappers: []string{"_safe"},
	Neutral: []string{"CLUSTER"}, NeutralTools: []string{"recovery"},
}

func TestTheCommandOfAProgramIsFoundOrItIsUnclear(t *testing.T) {
	exec := func(path string, args ...string) []Exec {
		return []Exec{{Path: path, Argv: append([]string{path}, args...)}}
	}
	for name, c := range map[string]struct {
		commands []Exec
		env      []string
		want     string // the command, what is unclear, or "" where the service does not start the program
	}{
		"another program":                    {exec("/usr/bin/web"), nil, ""},
		"no program":                         {nil, nil, ""},
		"a directory of its name":            {exec("/usr/bin/install", "-d", "/run/server"), nil, ""},
		"by itself":                          {exec("/usr/sbin/server", "$O", "${O}"), []string{"O=a", "O=b c"}, "/usr/sbin/server b c b c"},
		"a neutral variable":                 {exec("/bin/sh", "-c", "exec /usr/sbin/server $CLUSTER --x"), []string{"CLUSTER=1"}, "/usr/sbin/server --x"},
		"the output of a neutral tool":       {exec("/bin/sh", "-c", "V=`/usr/bin/recovery`; exec /usr/sbin/server $V --x"), nil, "/usr/sbin/server --x"},
		"the output of another tool":         {exec("/bin/sh", "-c", "V=`/usr/bin/options`; exec /usr/sbin/server $V"), nil, "it runs a script that sets $V itself"},
		"a wrapper":                          {exec("/usr/bin/server_safe"), nil, "it runs /usr/bin/server_safe, which may start server with other arguments"},
		"a script that runs it in a command": {exec("/bin/sh", "-c", "true $(/usr/sbin/server)"), nil, "it runs a script that names server inside another command"},
	} {
		got, err := Service{Unit: "x.service", Commands: c.commands, Environment: c.env}.Command(server)
		if err != nil {
			e := (*UnclearError)(nil)
			if !errors.As(err, &e) || !e.Permanent() || !strings.HasSuffix(err.Error(), "with which arguments x.service starts server: "+c.want) ||
				!strings.Contains(e.Hint(), "let its ExecStart= run server directly") {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, want %s", name, got, c.want)
		}
	}
}

func TestTheEnvironmentIsThatOfTheServiceAndItsFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.env": "A=file\nC=c\n", "b.env": "D=d\n"} {
		write(t, filepath.Join(dir, name), text)
	}
	s := Service{
		Environment: []string{"A=unit", "B=b"}, EnvironmentFiles: []string{dir + "/*.env", dir + "/absent"},
		Unset: []string{"B", "D=another", "C=c"},
	}
	got, err := s.LoadEnvironment()
	if want := []string{"A=unit", "A=file", "D=d"}; err != nil || !slices.Equal(got.Environment, want) {
		t.Errorf("got %q, %v; want %q", got.Environment, err, want)
	}
	if !slices.Equal(s.Environment, []string{"A=unit", "B=b"}) {
		t.Errorf("it changed what it was given: %q", s.Environment)
	}
}

func TestAnEnvironmentFileIsReadAsSystemdReadsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "env")
	write(t, path, "# MYSQLD_OPTS=no\n; X=no\nMYSQLD_OPTS=\"--datadir=/srv/x --y\"\nA='b c'\n\nLONG=one \\\ntwo\nrubbish\n")
	want := []string{"MYSQLD_OPTS=--datadir=/srv/x --y", "A=b c", "LONG=one two"}
	if got, err := readEnvironmentFile(path); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := readEnvironmentFile(path + ".absent"); err != nil || got != nil {
		t.Errorf("one that is not there: %q, %v", got, err)
	}
	if err := syscall.Mkfifo(path+".pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readEnvironmentFile(path + ".pipe"); err == nil {
		t.Errorf("a pipe: %q", got)
	}
	write(t, path+".large", strings.Repeat("A=b\n", environmentMax))
	if _, err := readEnvironmentFile(path + ".large"); err == nil {
		t.Error("takes what is too large")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever a unit says, the command is one of the program, or it is unclear.
func FuzzCommand(f *testing.F) {
	f.Add("/bin/sh", "-c", "exec /usr/sbin/server $OPTS \"$X\"", "OPTS=--a 'b c'")
	f.Add("/usr/sbin/server", "$O", "${O}$$", "O=\"x")
	f.Fuzz(func(t *testing.T, program, one, two, env string) {
		s := Service{Unit: "x.service", Commands: []Exec{{Path: program, Argv: []string{program, one, two}}}, Environment: environment(env)}
		argv, err := s.Command(server)
		switch {
		case err != nil && !errors.As(err, new(*UnclearError)):
			t.Errorf("got %v", err)
		case err == nil && argv != nil && !server.is(argv[0]):
			t.Errorf("got %q", argv)
		}
	})
}
