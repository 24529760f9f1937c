package datadir

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// checkGolden compares what people review with what they reviewed before.
func checkGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%swant\n%s", path, got, want)
	}
}

func TestCommandsAreThoseThatWereReviewed(t *testing.T) {
	ask, err := AskCommand("mariadb")
	if err != nil {
		t.Fatal(err)
	}
	initialize, err := InitializeCommand("mariadb", "/srv/data/mysql.initializing-1", "mysql")
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "testdata/commands.golden",
		"ask:\n  "+strings.Join(ask, "\n  ")+"\ninitialize:\n  "+strings.Join(initialize, "\n  ")+"\n")
	if slices.Contains(initialize, "--force") {
		t.Error("the engine is forced")
	}
}

func TestAnUnknownEngineHasNoCommands(t *testing.T) {
	if _, err := AskCommand("oracle"); err == nil {
		t.Error("AskCommand knows it")
	}
	if _, err := InitializeCommand("oracle", "/d", "root"); err == nil {
		t.Error("InitializeCommand knows it")
	}
	if _, err := Answer("oracle", nil); err == nil {
		t.Error("Answer knows it")
	}
	if _, err := Examine(Host{}, t.TempDir(), "oracle", me(t)); err == nil {
		t.Error("Examine knows it")
	}
}

// The page is what MariaDB 10.11 of Debian 12 prints, less most of its options.
func TestAnswerIsReadFromTheEnginesOwnHelp(t *testing.T) {
	page, err := os.ReadFile("testdata/mariadbd-help.txt")
	if err != nil {
		t.Fatal(err)
	}
	if dir, err := Answer("mariadb", page); err != nil || dir != "/var/lib/mysql" {
		t.Errorf("got %q, %v", dir, err)
	}
	without := strings.Replace(string(page), "\ndatadir  ", "\ndatabase ", 1)
	if dir, err := Answer("mariadb", []byte(without)); err == nil {
		t.Errorf("without the line, got %q", dir)
	}
	unset := strings.Replace(string(page), " /var/lib/mysql/\n", " (No default value)\n", 1)
	if dir, err := Answer("mariadb", []byte(unset)); err == nil {
		t.Errorf("with no value, got %q", dir)
	}
	if dir, err := Answer("mariadb", nil); err == nil {
		t.Errorf("from nothing, got %q", dir)
	}
}

func TestVersionIsWhatTheEngineWroteLast(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"10.x":            {"mysql_upgrade_info", "10.11.14-MariaDB\n", "10.11.14-MariaDB"},
		"11.x":            {"mariadb_upgrade_info", "11.4.5-MariaDB", "11.4.5-MariaDB"},
		"of Debian":       {"mysql_upgrade_info", "10.11.14-MariaDB-0+deb12u2", "10.11.14-MariaDB"},
		"no version":      {"mysql_upgrade_info", "<script>", ""},
		"empty":           {"mysql_upgrade_info", "", ""},
		"endless":         {"mysql_upgrade_info", strings.Repeat("9", 1<<20), strings.Repeat("9", 64)},
		"of another name": {"upgrade_info", "10.11.14-MariaDB", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mariadbDir(t)
			write(t, filepath.Join(dir, c.file), c.text)
			if r := examine(t, dir, me(t)); r.State != Ready || r.Version != c.want {
				t.Errorf("%s with version %q, want %q", r.State, r.Version, c.want)
			}
		})
	}
	t.Run("both, after an upgrade", func(t *testing.T) {
		dir := mariadbDir(t)
		write(t, filepath.Join(dir, "mysql_upgrade_info"), "10.11.14-MariaDB")
		write(t, filepath.Join(dir, "mariadb_upgrade_info"), "11.4.5-MariaDB")
		if r := examine(t, dir, me(t)); r.Version != "11.4.5-MariaDB" {
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
			go func() { read <- mariadbVersion(Host{}, dir) }()
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
