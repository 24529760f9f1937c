package guard

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bootagent/pkg/systemd/unitfile"
)

const (
	mariadbGuard = "/etc/systemd/system/mariadb.service.d/50-held-by-bootagent.conf"
	socketGuard  = "/etc/systemd/system/mariadb.socket.d/50-held-by-bootagent.conf"
	nginxGuard   = "/etc/systemd/system/nginx.service.d/50-held-by-bootagent.conf"
)

// image has a database with a socket, and a web server.
func image() machine {
	return machine{
		"usr/lib/systemd/system/mariadb.service": service,
		"usr/lib/systemd/system/mariadb.socket":  "[Socket]\nListenStream=3306\n",
		"usr/lib/systemd/system/nginx.service":   service,
		"usr/lib/systemd/system/" + metadataUnit: "[Socket]\nListenStream=" + MetadataSocket + "\n",
	}
}

func install_(t *testing.T, root string, holds ...Hold) string {
	t.Helper()
	changes, err := Install(root, holds)
	if err != nil {
		t.Fatal(err)
	}
	return inWords(changes)
}

func inWords(changes []Change) string {
	var words []string
	for _, c := range changes {
		words = append(words, string(c.Done)+" "+strings.TrimSuffix(filepath.Base(filepath.Dir(c.Path)), ".d"))
	}
	return strings.Join(words, ", ")
}

// files gives every file below a directory with its text, and its mode.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text := ""
		if info.Mode().IsRegular() {
			read, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(read)
		}
		all = append(all, fmt.Sprintf("%s %v\n%s", strings.TrimPrefix(path, dir), info.Mode(), text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInstallAddsChangesAndRemoves(t *testing.T) {
	root := image().root(t)
	before := files(t, root)

	if got, want := install_(t, root, hold("mariadb.service"), hold("nginx.service")),
		"added mariadb.service, added mariadb.socket, added nginx.service"; got != want {
		t.Errorf("first: %s, not %s", got, want)
	}
	text, err := os.ReadFile(root + mariadbGuard)
	if err != nil || string(text) != hold("mariadb.service").Text() {
		t.Errorf("installed is %q, %v", text, err)
	}
	if got, want := install_(t, root, Hold{Unit: "nginx.service", Service: "nginx.service", IMDS: true}),
		"changed nginx.service, removed mariadb.service, removed mariadb.socket"; got != want {
		t.Errorf("then: %s, not %s", got, want)
	}
	if _, err := os.Stat(filepath.Dir(root + mariadbGuard)); err == nil {
		t.Error("the directory of a removed guard is left")
	}
	changes, err := Remove(root)
	if got, want := inWords(changes), "removed nginx.service"; got != want || err != nil {
		t.Errorf("at last: %s, %v, not %s", got, err, want)
	}
	if after := files(t, root); !slices.Equal(before, after) {
		t.Errorf("removing left %q of %q", after, before)
	}
}

func TestInstallAgainTouchesNothing(t *testing.T) {
	root := image().root(t)
	install_(t, root, hold("mariadb.service"))
	old := time.Unix(1000, 0)
	for _, file := range []string{root + mariadbGuard, filepath.Dir(root + mariadbGuard)} {
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if got := install_(t, root, hold("mariadb.service")); got != "" {
		t.Errorf("changes: %s", got)
	}
	for _, file := range []string{root + mariadbGuard, filepath.Dir(root + mariadbGuard)} {
		if info, err := os.Stat(file); err != nil || !info.ModTime().Equal(old) {
			t.Errorf("%s was written again", file)
		}
	}
}

func TestInstallRevertsEdits(t *testing.T) {
	root := image().root(t)
	install_(t, root, hold("mariadb.service"))
	edited := strings.Replace(hold("mariadb.service").Text(), "Assert", "#Assert", 1)
	if err := os.WriteFile(root+mariadbGuard, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := install_(t, root, hold("mariadb.service")), "changed mariadb.service"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

// A crash may come before any of the steps of writing; what it leaves is a
// file that systemd does not read, and the next run takes it away.
func TestInstallMendsWhatACrashLeft(t *testing.T) {
	root := image().root(t)
	half := filepath.Join(filepath.Dir(root+mariadbGuard), tempName)
	gone := filepath.Join(root, unitfile.AdminDir, "redis.service.d", tempName)
	for _, file := range []string{half, gone} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("# Made by boo"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.HasPrefix(tempName, ".") || strings.HasSuffix(tempName, ".conf") {
		t.Errorf("systemd would read %s", tempName)
	}
	install_(t, root, hold("mariadb.service"))
	for _, file := range []string{half, gone} {
		if _, err := os.Lstat(file); err == nil {
			t.Errorf("%s is left", file)
		}
	}
	if text, err := os.ReadFile(root + mariadbGuard); err != nil || string(text) != hold("mariadb.service").Text() {
		t.Errorf("installed is %q, %v", text, err)
	}
}

func TestAGuardIsReadableWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	root := image().root(t)
	install_(t, root, hold("mariadb.service"))
	for path, want := range map[string]fs.FileMode{mariadbGuard: 0o644, filepath.Dir(mariadbGuard): 0o755} {
		if info, err := os.Stat(root + path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
}

func TestForeignFilesAreNeverTouched(t *testing.T) {
	for name, plant := range map[string]func(string) error{
		"another's file": func(file string) error {
			return os.WriteFile(file, []byte("[Unit]\nDescription=mine\n"), 0o644)
		},
		"a guard without its first line": func(file string) error {
			_, text, _ := strings.Cut(hold("mariadb.service").Text(), "\n")
			return os.WriteFile(file, []byte(text), 0o644)
		},
		"an empty file":       func(file string) error { return os.WriteFile(file, nil, 0o644) },
		"a link to /dev/null": func(file string) error { return os.Symlink("/dev/null", file) },
		"a link to a guard": func(file string) error {
			if err := os.WriteFile(file+".txt", []byte(hold("mariadb.service").Text()), 0o644); err != nil {
				return err
			}
			return os.Symlink(file+".txt", file)
		},
		"a pipe":      func(file string) error { return syscall.Mkfifo(file, 0o644) },
		"a directory": func(file string) error { return os.MkdirAll(filepath.Join(file, "x"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			root := image().root(t)
			if err := os.MkdirAll(filepath.Dir(root+mariadbGuard), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := plant(root + mariadbGuard); err != nil {
				t.Fatal(err)
			}
			before := files(t, filepath.Dir(root+mariadbGuard))

			changes, err := Install(root, []Hold{hold("mariadb.service"), hold("nginx.service")})
			words := "cannot hold mariadb.service: " + root + mariadbGuard +
				" is in the place of a guard, but bootagent did not make it; move it away: mv "
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("the error is %v, without %q", err, words)
			}
			if got, want := inWords(changes), "added mariadb.socket, added nginx.service"; got != want {
				t.Errorf("changes: %s, not %s", got, want)
			}
			changes, err = Remove(root)
			if err == nil || !strings.Contains(err.Error(), "cannot remove the guard of mariadb.service: "+root+mariadbGuard) {
				t.Errorf("the error is %v", err)
			}
			if got, want := inWords(changes), "removed mariadb.socket, removed nginx.service"; got != want {
				t.Errorf("changes: %s, not %s", got, want)
			}
			if after := files(t, filepath.Dir(root+mariadbGuard)); !slices.Equal(before, after) {
				t.Errorf("%q became %q", before, after)
			}
		})
	}
}

func TestDropInsBesideAGuardStay(t *testing.T) {
	m := image()
	m["etc/systemd/system/mariadb.service.d/override.conf"] = "[Service]\nLimitNOFILE=1\n"
	m["etc/systemd/system/other.service.d/10.conf"] = "[Unit]\n"
	m["etc/systemd/system/stray.d"] = "a file"
	root := m.root(t)
	before := files(t, root)
	install_(t, root, hold("mariadb.service"))
	if _, err := Remove(root); err != nil {
		t.Fatal(err)
	}
	if after := files(t, root); !slices.Equal(before, after) {
		t.Errorf("left is %q of %q", after, before)
	}
}

func TestNothingIsLetLooseByAMistake(t *testing.T) {
	root := image().root(t)
	install_(t, root, hold("mariadb.service"), hold("nginx.service"))
	changes, err := Install(root, []Hold{hold("nginx.service"), {Unit: "nginx.service", Service: "mariadb.service"}})
	if err == nil || !strings.Contains(err.Error(), "cannot hold nginx.service for both mariadb.service and nginx.service") {
		t.Errorf("the error is %v", err)
	}
	for _, c := range changes {
		if c.Done == Removed {
			t.Errorf("%v", c)
		}
	}
	if _, err := os.Stat(root + mariadbGuard); err != nil {
		t.Error(err)
	}
}

func TestWithoutRolesGuardsStay(t *testing.T) {
	root := image().root(t)
	if got := install_(t, root); got != "" {
		t.Errorf("changes: %s", got)
	}
	install_(t, root, hold("mariadb.service"))
	changes, err := Install(root, nil)
	words := "no role names a unit, so the guards of mariadb.service, mariadb.socket stay; to remove them: bootagent guard remove --root "
	if err == nil || !strings.Contains(err.Error(), words) || changes != nil {
		t.Errorf("changes: %v; the error is %v, without %q", changes, err, words)
	}
	if _, err := os.Stat(root + mariadbGuard); err != nil {
		t.Error(err)
	}
}

func TestAnImageIsNeverLeft(t *testing.T) {
	outside := t.TempDir()
	root := machine{
		"etc/systemd/system":                     "-> /units",
		"units/mariadb.service.d":                "-> " + outside,
		"usr/lib/systemd/system/mariadb.service": service,
	}.root(t)
	install_(t, root, hold("mariadb.service"))
	if left := files(t, outside); len(left) > 0 {
		t.Errorf("written outside of the image: %q", left)
	}
	if _, err := os.Stat(filepath.Join(root, outside, fileName)); err != nil {
		t.Error(err)
	}
}

func TestAMissingRootIsAnError(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "mnt")
	if _, err := Install(missing, []Hold{hold("mariadb.service")}); err == nil {
		t.Error("installed into nothing")
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("the root was made")
	}
	if _, err := Check(missing, nil); err == nil {
		t.Error("nothing to complain about nothing")
	}
	if _, err := Show(missing); err == nil {
		t.Error("nothing to show of nothing")
	}
}
