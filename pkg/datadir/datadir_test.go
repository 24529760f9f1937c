package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	ok(t, os.WriteFile(path, []byte(text), 0o600))
}

// me is the user that the test runs as.
func me(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	ok(t, err)
	return u.Username
}

// another is a user that the test does not run as.
func another(t *testing.T) *user.User {
	t.Helper()
	name := "root"
	if os.Getuid() == 0 {
		name = "nobody"
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Skip("a second user is missing here: ", err)
	}
	return u
}

// mariadbDir makes a directory that holds what MariaDB can't start without.
func mariadbDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mysql")
	ok(t, os.MkdirAll(filepath.Join(dir, "mysql"), 0o700))
	for _, name := range []string{"ibdata1", "aria_log_control", "ib_logfile0"} {
		write(t, filepath.Join(dir, name), "data")
	}
	return dir
}

func examine(t *testing.T, dir, owner string) Report {
	t.Helper()
	r, err := Examine(Host{}, dir, "mariadb", owner, Settings{Version: "10.11.14-MariaDB-0+deb12u2"})
	ok(t, err)
	return r
}

func TestExamineTellsTheStateAndWhatToDo(t *testing.T) {
	const (
		restore = "restore the directory from a backup; bootagent changes nothing in it"
		itself  = "have it there itself, with all that belongs to it, since bootagent looks nowhere else; or " + restore
		away    = "move it away, or say another dir: for the data in the role file, then: bootagent retry"
		mysqls  = "put it on an instance of MySQL, or load a dump of it into a new MariaDB, as bootagent changes nothing in it; if it is here by mistake, " + away
	)
	remove := func(names ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				ok(t, os.RemoveAll(filepath.Join(dir, name)))
			}
		}
	}
	empty := remove("ibdata1", "mysql", "aria_log_control", "ib_logfile0")
	for name, c := range map[string]struct {
		does func(t *testing.T, dir string)
		want Report
	}{
		"whole": {remove(), Report{State: Ready}},
		"not there": {
			func(t *testing.T, dir string) { ok(t, os.RemoveAll(dir)) },
			Report{State: Absent},
		},
		"without ibdata1": {
			remove("ibdata1"),
			Report{State: Damaged, Words: "ibdata1 is missing", Hint: restore},
		},
		"without the system database": {
			remove("mysql"),
			Report{State: Damaged, Words: "mysql is missing", Hint: restore},
		},
		"without Aria's control file": {
			remove("aria_log_control"),
			Report{State: Damaged, Words: "aria_log_control is missing", Hint: restore},
		},
		"without two of them": {
			remove("ibdata1", "aria_log_control"),
			Report{State: Damaged, Words: "ibdata1 and aria_log_control are missing", Hint: restore},
		},
		"empty": {
			empty,
			Report{
				State: Foreign, Words: "it is empty",
				Hint: "if nothing belongs there, remove the empty directory, then: bootagent retry",
			},
		},
		"another program's": {
			func(t *testing.T, dir string) {
				empty(t, dir)
				write(t, filepath.Join(dir, "PG_VERSION"), "15")
				write(t, filepath.Join(dir, "postgresql.conf"), "")
			},
			Report{State: Foreign, Words: `it holds "PG_VERSION" and nothing of MariaDB's`, Hint: away},
		},
		"the system database is a file": {
			func(t *testing.T, dir string) {
				remove("mysql")(t, dir)
				write(t, filepath.Join(dir, "mysql"), "")
			},
			Report{State: Unfit, Words: "mysql in it is a file, not a directory", Hint: itself},
		},
		"the system database is a link to nowhere": {
			func(t *testing.T, dir string) {
				remove("mysql")(t, dir)
				ok(t, os.Symlink("/nowhere", filepath.Join(dir, "mysql")))
			},
			Report{State: Unfit, Words: "mysql in it is a symbolic link, not a directory", Hint: itself},
		},
		"the system database is a link to one": {
			func(t *testing.T, dir string) {
				elsewhere := filepath.Join(t.TempDir(), "mysql")
				ok(t, os.Rename(filepath.Join(dir, "mysql"), elsewhere))
				ok(t, os.Symlink(elsewhere, filepath.Join(dir, "mysql")))
			},
			Report{State: Unfit, Words: "mysql in it is a symbolic link, not a directory", Hint: itself},
		},
		"the tablespace is a link": {
			func(t *testing.T, dir string) {
				ok(t, os.Rename(filepath.Join(dir, "ibdata1"), filepath.Join(dir, "other")))
				ok(t, os.Symlink("other", filepath.Join(dir, "ibdata1")))
			},
			Report{State: Unfit, Words: "ibdata1 in it is a symbolic link, not a file", Hint: itself},
		},
		"MySQL 8's": {
			func(t *testing.T, dir string) {
				remove("aria_log_control", "ib_logfile0")(t, dir)
				write(t, filepath.Join(dir, "mysql.ibd"), "")
				write(t, filepath.Join(dir, "auto.cnf"), "")
				ok(t, os.Mkdir(filepath.Join(dir, "#innodb_redo"), 0o700))
			},
			Report{State: Foreign, Words: "it is MySQL's, and MariaDB can't read it", Hint: mysqls},
		},
		"MySQL 8's, on which MariaDB was started": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "mysql.ibd"), "") },
			Report{State: Foreign, Words: "it is MySQL's, and MariaDB can't read it", Hint: mysqls},
		},
		"MySQL 5.7's": {
			func(t *testing.T, dir string) {
				remove("aria_log_control")(t, dir)
				write(t, filepath.Join(dir, "auto.cnf"), "")
			},
			Report{State: Foreign, Words: "it is MySQL's, and MariaDB can't read it", Hint: mysqls},
		},
		"MariaDB's, on which MySQL was started": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "auto.cnf"), "") },
			Report{State: Ready},
		},
		"a newer MariaDB used it": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "mariadb_upgrade_info"), "11.8.9-MariaDB") },
			Report{
				State: Unfit, Version: "11.8.9-MariaDB", Words: "MariaDB 11.8.9-MariaDB used it, and 10.11.14-MariaDB is installed here, which is older",
				Hint: "use an image with MariaDB 11.8 or newer, since MariaDB does not go back; or load a dump that 11.8 made into a new database",
			},
		},
		"a file": {
			func(t *testing.T, dir string) {
				ok(t, os.RemoveAll(dir))
				write(t, dir, "")
			},
			Report{State: Foreign, Words: "it is a file, not a directory", Hint: away},
		},
		"a link to a directory that is whole": {
			func(t *testing.T, dir string) {
				ok(t, os.Rename(dir, dir+".elsewhere"))
				ok(t, os.Symlink(dir+".elsewhere", dir))
			},
			Report{State: Foreign, Words: "it is a symbolic link, not a directory", Hint: away},
		},
		"a socket": {
			func(t *testing.T, dir string) {
				ok(t, os.RemoveAll(dir))
				l, err := net.Listen("unix", dir)
				ok(t, err)
				t.Cleanup(func() { l.Close() })
			},
			Report{State: Foreign, Words: "it is a pipe, socket or device, not a directory", Hint: away},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mariadbDir(t)
			c.does(t, dir)
			if got := examine(t, dir, me(t)); got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestExamineChangesNothing(t *testing.T) {
	dir := mariadbDir(t)
	list := func() string {
		out, err := exec.Command("find", dir, "-printf", `%p %s %m %u %T@ %C@\n`).Output()
		ok(t, err)
		return string(out)
	}
	before := list()
	examine(t, dir, me(t))
	if after := list(); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
}

func TestAnotherOwnerIsToldWithTheCommandThatMendsIt(t *testing.T) {
	owner := another(t)
	dir := mariadbDir(t)
	got := examine(t, dir, owner.Username)
	want := Report{
		State: Unfit,
		Words: fmt.Sprintf("it belongs to user number %d, and %s has number %s on this machine", os.Getuid(), owner.Username, owner.Uid),
		Hint: fmt.Sprintf("if the data is right, give it to its user: chown -R --no-dereference --from=%d %s: -- %s",
			os.Getuid(), owner.Username, dir),
	}
	if got != want {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	if os.Getuid() != 0 {
		t.Skip("giving a directory to another user needs root")
	}
	_, command, _ := strings.Cut(got.Hint, ": ")
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if got := examine(t, dir, owner.Username); got.State != Ready {
		t.Errorf("after %s: %+v", command, got)
	}
}

// What is missing is the greater trouble: chown would not mend it.
func TestDamageIsToldBeforeTheOwner(t *testing.T) {
	dir := mariadbDir(t)
	ok(t, os.Remove(filepath.Join(dir, "ibdata1")))
	if got := examine(t, dir, another(t).Username); got.Words != "ibdata1 is missing" {
		t.Errorf("got %+v", got)
	}
}

func TestAnOwnerThatTheMachineLacksIsAnError(t *testing.T) {
	if _, err := Examine(Host{}, mariadbDir(t), "mariadb", "nosuchuser", Settings{}); err == nil || !strings.Contains(err.Error(), "nosuchuser") {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(t.TempDir(), "new")
	if err := Create(path, "nosuchuser"); err == nil {
		t.Error("Create made something for it")
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there is something now")
	}
}

// What the engine can't read stops it, in a directory that is its user's.
func TestFilesOfAnotherUserAreFound(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("giving a file to another user needs root")
	}
	stranger := another(t)
	uid, err := strconv.Atoi(stranger.Uid)
	ok(t, err)
	for name, c := range map[string]struct {
		file, inside string // that the stranger owns; and of a folder, a file in it that is its own
		found        string
	}{
		"the tablespace":                     {file: "ibdata1", found: "ibdata1"},
		"a redo log":                         {file: "ib_logfile0", found: "ib_logfile0"},
		"a binary log":                       {file: "binlog.000012", found: "binlog.000012"},
		"the system's folder":                {file: "mysql", found: "mysql"},
		"a table of the system's":            {file: "mysql/db.MAI", found: "mysql/db.MAI"},
		"a database with tables":             {file: "shop", inside: "orders.ibd", found: "shop/orders.ibd"},
		"a person's folder":                  {file: "notes", inside: "todo.txt"},
		"a person's file":                    {file: "todo.txt"},
		"what a package left":                {file: "debian-10.11.flag"},
		"what the upgrade left":              {file: "mysql_upgrade_info"},
		"lost+found":                         {file: "lost+found", inside: "x.ibd"},
		"a file in a folder that is its own": {file: "mysql/notes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mariadbDir(t)
			path := filepath.Join(dir, c.file)
			own := []string{path}
			switch _, err := os.Lstat(path); {
			case c.inside != "":
				ok(t, os.Mkdir(path, 0o755))
				write(t, filepath.Join(path, c.inside), "")
				own = append(own, filepath.Join(path, c.inside))
			case err != nil:
				write(t, path, "")
			}
			for _, p := range own {
				ok(t, os.Lchown(p, uid, uid))
			}
			got := examine(t, dir, me(t))
			if c.found == "" {
				if got.State != Ready {
					t.Errorf("got %+v", got)
				}
				return
			}
			words := fmt.Sprintf("%s in it belongs to user number %d, and %s has number 0 on this machine", c.found, uid, me(t))
			if got.State != Unfit || got.Words != words {
				t.Fatalf("got  %+v\nwant %s", got, words)
			}
			_, command, _ := strings.Cut(got.Hint, ": ")
			if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
			if got := examine(t, dir, me(t)); got.State != Ready {
				t.Errorf("after %s: %+v", command, got)
			}
		})
	}
}

// A directory that was filled by mistake, or on purpose, takes no memory, and
// what the engine needs is found in it all the same.
func TestADirectoryOfVeryManyFilesIsLookedAtInBounds(t *testing.T) {
	dir := mariadbDir(t)
	for i := range NamesMax + 100 {
		ok(t, os.Symlink("x", filepath.Join(dir, fmt.Sprintf("a%d", i))))
	}
	names, err := Names(dir)
	if len(names) != NamesMax || !errors.Is(err, ErrMany) {
		t.Errorf("got %d names, %v", len(names), err)
	}
	if got := examine(t, dir, me(t)); got.State != Ready {
		t.Errorf("got %+v", got)
	}
	ok(t, os.Remove(filepath.Join(dir, "ibdata1")))
	if got := examine(t, dir, me(t)); got.Words != "ibdata1 is missing" {
		t.Errorf("got %+v", got)
	}
}

func TestNamesFollowsNoLink(t *testing.T) {
	dir := mariadbDir(t)
	names, err := Names(dir)
	if err != nil || len(names) != 4 {
		t.Errorf("got %q, %v", names, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	ok(t, os.Symlink(dir, link))
	if names, err := Names(link); err == nil {
		t.Errorf("behind a link there are %q", names)
	}
}

func TestCreateMakesAnEmptyDirectoryForOneUser(t *testing.T) {
	owner := me(t)
	if os.Getuid() == 0 {
		owner = another(t).Username
	}
	uid, gid, err := ids(owner)
	ok(t, err)
	path := filepath.Join(t.TempDir(), "mysql.initializing-1")
	ok(t, Create(path, owner))
	info, err := os.Lstat(path)
	ok(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode() != fs.ModeDir|0o700 || stat.Uid != uid || stat.Gid != gid {
		t.Errorf("it is %v of %d:%d, want a directory of mode 0700 of %d:%d", info.Mode(), stat.Uid, stat.Gid, uid, gid)
	}
	if names, err := Names(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("beside it there are %q, %v", names, err)
	}
}

func TestCreateTakesNothingThatIsThere(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"directory":     func(path string) error { return os.Mkdir(path, 0o755) },
		"file":          func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"dangling link": func(path string) error { return os.Symlink("nowhere", path) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "there")
			ok(t, plant(path))
			before, err := os.Lstat(path)
			ok(t, err)
			if err := Create(path, me(t)); !errors.Is(err, fs.ErrExist) {
				t.Errorf("got %v", err)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) || before.Mode() != after.Mode() {
				t.Errorf("it was changed: %v, %v", after, err)
			}
		})
	}
}

// The machine may lose its power between any two steps of Create.
func TestCreateGoesOnWhereACrashLeftIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mysql.initializing-1")
	ok(t, os.Mkdir(path+".new", 0o700)) // made, and not yet its owner's
	ok(t, Create(path, me(t)))
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		t.Errorf("got %v, %v", info, err)
	}
	elsewhere := t.TempDir()
	ok(t, os.Symlink(elsewhere, path+"x.new"))
	if err := Create(path+"x", me(t)); err == nil {
		t.Error("it went through a link")
	}
}

func TestPublishGivesTheName(t *testing.T) {
	dir := t.TempDir()
	staging, path := filepath.Join(dir, "mysql.initializing-1"), filepath.Join(dir, "mysql")
	ok(t, os.Mkdir(staging, 0o700))
	write(t, filepath.Join(staging, "ibdata1"), "data")
	ok(t, Publish(staging, path))
	if text, err := os.ReadFile(filepath.Join(path, "ibdata1")); err != nil || string(text) != "data" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := os.Lstat(staging); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
}

func TestPublishReplacesNothing(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"empty directory": func(path string) error { return os.Mkdir(path, 0o700) }, // which rename(2) would replace
		"file":            func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"dangling link":   func(path string) error { return os.Symlink("nowhere", path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			staging, path := filepath.Join(dir, "mysql.initializing-1"), filepath.Join(dir, "mysql")
			ok(t, os.Mkdir(staging, 0o700))
			ok(t, plant(path))
			err := Publish(staging, path)
			if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), staging+" to "+path) {
				t.Errorf("got %v", err)
			}
			if _, err := os.Lstat(staging); err != nil {
				t.Errorf("the old name: %v", err)
			}
		})
	}
}

func TestPublishOfNothingIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := Publish(filepath.Join(dir, "a"), filepath.Join(dir, "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestSame(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	ok(t, os.Mkdir(a, 0o700))
	ok(t, os.Mkdir(b, 0o700))
	ok(t, os.Symlink(a, filepath.Join(dir, "link")))
	for path, want := range map[string]bool{"a": true, "a/": true, "link": true, "b": false, "absent": false} {
		if same, err := Same(a, dir+"/"+path); same != want || err != nil {
			t.Errorf("%s: %t, %v", path, same, err)
		}
	}
	if same, err := Same(dir+"/absent", dir+"/absent"); same || err != nil {
		t.Errorf("two that are absent: %t, %v", same, err)
	}
	write(t, filepath.Join(dir, "file"), "")
	if same, err := Same(a, dir+"/file/below"); err == nil {
		t.Errorf("where it can't tell: %t", same)
	}
}
