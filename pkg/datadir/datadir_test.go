package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/account"
	"bootagent/pkg/selinux"
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

func TestNothingIsMadeForAnOwnerThatTheMachineLacks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	if err := Create(path, Access{Owner: "nosuchuser"}); err == nil || !strings.Contains(err.Error(), "nosuchuser") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there is something now")
	}
}

// A directory that was filled by mistake, or on purpose, takes no memory.
func TestADirectoryOfVeryManyFilesIsListedInBounds(t *testing.T) {
	dir := t.TempDir()
	for i := range NamesMax + 100 {
		ok(t, os.Symlink("x", filepath.Join(dir, fmt.Sprintf("a%d", i))))
	}
	names, err := Names(dir)
	if len(names) != NamesMax || !errors.Is(err, ErrMany) {
		t.Errorf("got %d names, %v", len(names), err)
	}
}

func TestNamesFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	names, err := Names(dir)
	if err != nil || len(names) != 1 {
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
	u, err := account.ByName(owner)
	ok(t, err)
	path := filepath.Join(t.TempDir(), "mysql.initializing-1")
	ok(t, Create(path, Access{Owner: owner}))
	info, err := os.Lstat(path)
	ok(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode() != fs.ModeDir|0o700 || stat.Uid != u.UID || stat.Gid != u.GID {
		t.Errorf("it is %v of %d:%d, want a directory of mode 0700 of %d:%d", info.Mode(), stat.Uid, stat.Gid, u.UID, u.GID)
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
			if err := Create(path, Access{Owner: me(t)}); !errors.Is(err, fs.ErrExist) {
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
	ok(t, Create(path, Access{Owner: me(t)}))
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		t.Errorf("got %v, %v", info, err)
	}
	elsewhere := t.TempDir()
	ok(t, os.Symlink(elsewhere, path+"x.new"))
	if err := Create(path+"x", Access{Owner: me(t)}); err == nil {
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

func TestADirectoryGetsItsGroupAndItsMode(t *testing.T) {
	me := me(t)
	path := filepath.Join(t.TempDir(), "new")
	ok(t, Create(path, Access{Owner: me, Mode: "2751"}))
	info, err := os.Stat(path)
	ok(t, err)
	if got := Digits(info.Mode()); got != "2751" {
		t.Errorf("it has mode %s", got)
	}

	// Give changes the directory alone.
	ok(t, os.WriteFile(filepath.Join(path, "file"), nil, 0o640))
	ok(t, Give(path, Access{Owner: me, Mode: "0750"}))
	info, err = os.Stat(path)
	ok(t, err)
	if got := Digits(info.Mode()); got != "0750" {
		t.Errorf("it has mode %s", got)
	}
	info, err = os.Stat(filepath.Join(path, "file"))
	ok(t, err)
	if got := Digits(info.Mode()); got != "0640" {
		t.Errorf("a file in it has mode %s", got)
	}
	link := path + "-link"
	ok(t, os.Symlink(path, link))
	if err := Give(link, Access{Owner: me}); err == nil {
		t.Error("a link was followed")
	}
	if err := Give(path, Access{Owner: me, Group: "nosuchgroup"}); err == nil || !strings.Contains(err.Error(), "nosuchgroup") {
		t.Errorf("got %v", err)
	}
}

// A label is given to the directory itself. What is in it keeps its own.
func TestADirectoryGetsItsLabelAndWhatIsInItKeepsItsOwn(t *testing.T) {
	const label = selinux.Label("system_u:object_r:mysqld_db_t:s0")
	of := func(path string) string {
		value := make([]byte, 100)
		n, err := unix.Lgetxattr(path, selinux.Attribute, value)
		if err != nil {
			return ""
		}
		return string(value[:n])
	}
	dir := t.TempDir()
	if err := unix.Setxattr(dir, selinux.Attribute, []byte("system_u:object_r:var_t:s0"), 0); err != nil {
		t.Skip("a label cannot be set here: ", err)
	}
	made := filepath.Join(dir, "mysql")
	ok(t, Create(made, Access{Owner: me(t), Label: label}))
	if got := of(made); got != string(label) {
		t.Errorf("a new directory has the label %q", got)
	}
	write(t, filepath.Join(dir, "file"), "")
	before := of(filepath.Join(dir, "file"))
	ok(t, Give(dir, Access{Owner: me(t), Label: label}))
	if got, file := of(dir), of(filepath.Join(dir, "file")); got != string(label) || file != before {
		t.Errorf("it has the label %q, and a file in it %q", got, file)
	}

	// Two directories with different labels are the same to a copy.
	replica := t.TempDir()
	ok(t, Create(filepath.Join(replica, "mysql"), Access{Owner: me(t)}))
	ok(t, os.Chmod(replica, 0o700))
	write(t, filepath.Join(replica, "file"), "")
	if differs, err := Compare(t.Context(), dir, replica); err != nil || strings.Contains(differs, "attribute") {
		t.Errorf("they differ: %q, %v", differs, err)
	}
}
