package engine

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"bootagent/pkg/datadir"
	"bootagent/pkg/host"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
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
	for _, name := range []string{"ibdata1", "aria_log_control", "ib_logfile0", "ib_buffer_pool"} {
		write(t, filepath.Join(dir, name), "data")
	}
	return dir
}

func examine(t *testing.T, dir, owner string) host.DirectoryReport {
	t.Helper()
	r, err := Examine(datadir.Host{}, host.Data{Engine: "mariadb", Owner: owner, Dir: dir}, host.EngineSettings{Version: "10.11.14-MariaDB-0+deb12u2"})
	ok(t, err)
	return r
}

func TestExamineTellsTheStateAndWhatToDo(t *testing.T) {
	const (
		restore = "restore the directory from a backup, then: bootagent retry; bootagent changes nothing in it"
		itself  = "put it there itself, with everything that belongs to it, because bootagent follows no links; or " + restore
		away    = "move it away, or set another dir: for the data in the role file; then: bootagent retry"
		mysqls  = "use it on an instance with MySQL (engine: mysql), or load a dump of it into a new database of MariaDB; bootagent changes nothing in it; if it is here by mistake, " + away
	)
	remove := func(names ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				ok(t, os.RemoveAll(filepath.Join(dir, name)))
			}
		}
	}
	empty := remove("ibdata1", "mysql", "aria_log_control", "ib_logfile0", "ib_buffer_pool")
	for name, c := range map[string]struct {
		does func(t *testing.T, dir string)
		want host.DirectoryReport
	}{
		"whole": {remove(), host.DirectoryReport{State: host.Ready}},
		"not there": {
			func(t *testing.T, dir string) { ok(t, os.RemoveAll(dir)) },
			host.DirectoryReport{State: host.Absent},
		},
		"without ibdata1": {
			remove("ibdata1"),
			host.DirectoryReport{State: host.Damaged, Reason: "ibdata1 is missing", Hint: restore},
		},
		"without the system database": {
			remove("mysql"),
			host.DirectoryReport{State: host.Damaged, Reason: "mysql is missing", Hint: restore},
		},
		"without Aria's control file": {
			remove("aria_log_control"),
			host.DirectoryReport{State: host.Damaged, Reason: "aria_log_control is missing", Hint: restore},
		},
		"without two of them": {
			remove("ibdata1", "aria_log_control"),
			host.DirectoryReport{State: host.Damaged, Reason: "ibdata1 and aria_log_control are missing", Hint: restore},
		},
		"empty": {
			empty,
			host.DirectoryReport{
				State: host.Foreign, Reason: "it is empty",
				Hint: "if no data belongs there, remove the empty directory, then: bootagent retry",
			},
		},
		"another program's": {
			func(t *testing.T, dir string) {
				empty(t, dir)
				write(t, filepath.Join(dir, "PG_VERSION"), "15")
				write(t, filepath.Join(dir, "postgresql.conf"), "")
			},
			host.DirectoryReport{State: host.Foreign, Reason: `it has "PG_VERSION" and no file of MariaDB`, Hint: away},
		},
		"the system database is a file": {
			func(t *testing.T, dir string) {
				remove("mysql")(t, dir)
				write(t, filepath.Join(dir, "mysql"), "")
			},
			host.DirectoryReport{State: host.Unfit, Reason: "mysql in it is a file, not a directory", Hint: itself},
		},
		"the system database is a link to nowhere": {
			func(t *testing.T, dir string) {
				remove("mysql")(t, dir)
				ok(t, os.Symlink("/nowhere", filepath.Join(dir, "mysql")))
			},
			host.DirectoryReport{State: host.Unfit, Reason: "mysql in it is a symbolic link, not a directory", Hint: itself},
		},
		"the system database is a link to one": {
			func(t *testing.T, dir string) {
				elsewhere := filepath.Join(t.TempDir(), "mysql")
				ok(t, os.Rename(filepath.Join(dir, "mysql"), elsewhere))
				ok(t, os.Symlink(elsewhere, filepath.Join(dir, "mysql")))
			},
			host.DirectoryReport{State: host.Unfit, Reason: "mysql in it is a symbolic link, not a directory", Hint: itself},
		},
		"the tablespace is a link": {
			func(t *testing.T, dir string) {
				ok(t, os.Rename(filepath.Join(dir, "ibdata1"), filepath.Join(dir, "other")))
				ok(t, os.Symlink("other", filepath.Join(dir, "ibdata1")))
			},
			host.DirectoryReport{State: host.Unfit, Reason: "ibdata1 in it is a symbolic link, not a file", Hint: itself},
		},
		"MySQL 8's": {
			func(t *testing.T, dir string) {
				remove("aria_log_control", "ib_logfile0")(t, dir)
				write(t, filepath.Join(dir, "mysql.ibd"), "")
				write(t, filepath.Join(dir, "auto.cnf"), "")
				ok(t, os.Mkdir(filepath.Join(dir, "#innodb_redo"), 0o700))
			},
			host.DirectoryReport{State: host.Foreign, Reason: "it has data of MySQL, which MariaDB cannot read", Hint: mysqls},
		},
		"MySQL 8's, on which MariaDB was started": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "mysql.ibd"), "") },
			host.DirectoryReport{State: host.Foreign, Reason: "it has data of MySQL, which MariaDB cannot read", Hint: mysqls},
		},
		"MySQL 5.7's": {
			func(t *testing.T, dir string) {
				remove("aria_log_control")(t, dir)
				write(t, filepath.Join(dir, "auto.cnf"), "")
			},
			host.DirectoryReport{State: host.Foreign, Reason: "it has data of MySQL, which MariaDB cannot read", Hint: mysqls},
		},
		"MariaDB's, on which MySQL was started": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "auto.cnf"), "") },
			host.DirectoryReport{State: host.Ready},
		},
		"a newer MariaDB used it": {
			func(t *testing.T, dir string) { write(t, filepath.Join(dir, "mariadb_upgrade_info"), "11.8.9-MariaDB") },
			host.DirectoryReport{
				State: host.Unfit, Version: "11.8.9-MariaDB", Reason: "MariaDB 11.8.9-MariaDB used it, and the version installed here is older: 10.11.14-MariaDB",
				Hint: "use an image with MariaDB 11.8 or newer, because MariaDB cannot be downgraded; or load a dump that 11.8 made into a new database",
			},
		},
		"a file": {
			func(t *testing.T, dir string) {
				ok(t, os.RemoveAll(dir))
				write(t, dir, "")
			},
			host.DirectoryReport{State: host.Foreign, Reason: "it is a file, not a directory", Hint: away},
		},
		"a link to a directory that is whole": {
			func(t *testing.T, dir string) {
				ok(t, os.Rename(dir, dir+".elsewhere"))
				ok(t, os.Symlink(dir+".elsewhere", dir))
			},
			host.DirectoryReport{State: host.Foreign, Reason: "it is a symbolic link, not a directory", Hint: away},
		},
		"a socket": {
			func(t *testing.T, dir string) {
				ok(t, os.RemoveAll(dir))
				l, err := net.Listen("unix", dir)
				ok(t, err)
				t.Cleanup(func() { l.Close() })
			},
			host.DirectoryReport{State: host.Foreign, Reason: "it is a pipe, socket or device, not a directory", Hint: away},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mariadbDir(t)
			c.does(t, dir)
			if got := examine(t, dir, me(t)); !reflect.DeepEqual(got, c.want) {
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
	want := host.DirectoryReport{
		State:  host.Unfit,
		Reason: fmt.Sprintf("it belongs to user number %d, and %s has number %s on this machine", os.Getuid(), owner.Username, owner.Uid),
		Hint: fmt.Sprintf("if this is the right data, give it to %s: chown -R --no-dereference --from=%d %s: -- %s",
			owner.Username, os.Getuid(), owner.Username, dir),
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	if os.Getuid() != 0 {
		t.Skip("giving a directory to another user needs root")
	}
	_, command, _ := strings.Cut(got.Hint, ": ")
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if got := examine(t, dir, owner.Username); got.State != host.Ready {
		t.Errorf("after %s: %+v", command, got)
	}
}

// What is missing is the greater trouble: chown would not mend it.
func TestDamageIsToldBeforeTheOwner(t *testing.T) {
	dir := mariadbDir(t)
	ok(t, os.Remove(filepath.Join(dir, "ibdata1")))
	if got := examine(t, dir, another(t).Username); got.Reason != "ibdata1 is missing" {
		t.Errorf("got %+v", got)
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
				if got.State != host.Ready {
					t.Errorf("got %+v", got)
				}
				return
			}
			words := fmt.Sprintf("%s in it belongs to user number %d, and %s has number 0 on this machine", c.found, uid, me(t))
			if got.State != host.Unfit || got.Reason != words {
				t.Fatalf("got  %+v\nwant %s", got, words)
			}
			_, command, _ := strings.Cut(got.Hint, ": ")
			if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, out)
			}
			if got := examine(t, dir, me(t)); got.State != host.Ready {
				t.Errorf("after %s: %+v", command, got)
			}
		})
	}
}

func TestAnOwnerThatTheMachineLacksIsAnError(t *testing.T) {
	d := host.Data{Engine: "mariadb", Owner: "nosuchuser", Dir: mariadbDir(t)}
	if _, err := Examine(datadir.Host{}, d, host.EngineSettings{}); err == nil || !strings.Contains(err.Error(), "nosuchuser") {
		t.Errorf("got %v", err)
	}
}

// What the engine needs is found in a directory of which not all files are
// listed.
func TestADirectoryOfVeryManyFilesIsLookedAtInBounds(t *testing.T) {
	dir := mariadbDir(t)
	for i := range datadir.NamesMax + 100 {
		ok(t, os.Symlink("x", filepath.Join(dir, fmt.Sprintf("a%d", i))))
	}
	if got := examine(t, dir, me(t)); got.State != host.Ready {
		t.Errorf("got %+v", got)
	}
	ok(t, os.Remove(filepath.Join(dir, "ibdata1")))
	if got := examine(t, dir, me(t)); got.Reason != "ibdata1 is missing" {
		t.Errorf("got %+v", got)
	}
}
