package mycnf

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func help(t testing.TB, name string) Help {
	t.Helper()
	text, err := os.ReadFile("../testdata/" + name + "-help.txt")
	if err != nil {
		t.Fatal(err)
	}
	return ParseHelp(text)
}

func TestAHelpIsRead(t *testing.T) {
	h := help(t, "mysqld")
	if h.Version != "9.7.4-2" || !slices.Equal(h.Groups, []string{"mysql_cluster", "mysqld", "server", "mysqld-9.7"}) ||
		h.Values["datadir"] != "/var/lib/mysql/" || h.Values["log-bin"] != "binlog" {
		t.Errorf("got %q, %q, %q", h.Version, h.Groups, h.Values)
	}
	if _, there := h.Values["innodb-data-home-dir"]; there {
		t.Error("a variable without a value has one")
	}
	if h.long["log-bin"] != mayHave || h.long["datadir"] != mustHave || h.long["skip-grant-tables"] != noArg || h.short['h'] != mustHave {
		t.Errorf("options are read wrong")
	}
	percona := ParseHelp([]byte("mysqld  Ver 8.0.36-28 for Linux on x86_64 (Percona Server (GPL), Release 28, Revision 47601f19)\n"))
	if percona.Version != "8.0.36-28 Percona" {
		t.Errorf("got %q", percona.Version)
	}
}

func TestOptionsThatSayWhichFilesAreReadStandFirst(t *testing.T) {
	for args, want := range map[string]string{
		"":                            "",
		"--datadir=/x":                "",
		"--defaults-file=/a --port=1": "--defaults-file=/a",
		"--defaults-extra-file=/a --defaults-group-suffix=.b --no-login-paths x": "--defaults-extra-file=/a --defaults-group-suffix=.b --no-login-paths",
		"--no-defaults":               "--no-defaults",
		"--port=1 --defaults-file=/a": "",
		"--defaults-file /a":          "",
	} {
		if got := strings.Join(Defaults(strings.Fields(args)), " "); got != want {
			t.Errorf("%s: got %s", args, got)
		}
	}
}

// Whatever stands in the files and on the command line, an answer gives values
// only to what was asked for, and an option that begins like datadir and is not
// written in full never passes unnoticed.
func FuzzVariables(f *testing.F) {
	f.Add("--datadir=/x\n--user=mysql", "-h\x00/y\x00--loose-log_bin=/z")
	f.Add("--skip-datadir", "--\x00--datad=/x")
	h := help(f, "mariadbd")
	wanted := []string{"datadir", "log-bin"}
	f.Fuzz(func(t *testing.T, file, args string) {
		lines, argv := strings.Split(file, "\n"), strings.Split(args, "\x00")
		values, ok := h.Variables(wanted, lines, argv)
		for name := range values {
			if !slices.Contains(wanted, name) {
				t.Errorf("a value of %q", name)
			}
		}
		for _, a := range slices.Concat(lines, argv) {
			if ok && strings.HasPrefix(a, "--datadi=") && !strings.Contains(args, "\x00"+a) {
				t.Errorf("%q passes", a)
			}
		}
	})
}
