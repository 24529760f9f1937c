package selinux

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const db = "system_u:object_r:mysqld_db_t:s0"

// kernel is a directory in the place of selinuxfs.
func kernel(t *testing.T, enforce string) FS {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "enforce"), []byte(enforce), 0o644); err != nil {
		t.Fatal(err)
	}
	return FS(dir)
}

// labelled makes a directory with a label. Without SELinux in the kernel, only root
// may set one.
func labelled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Setxattr(dir, Attribute, []byte(db+"\x00"), 0); err != nil {
		t.Skip("a label cannot be set here: ", err)
	}
	return dir
}

func TestALabelIsGivenAsItIsRead(t *testing.T) {
	from, to := labelled(t), t.TempDir()
	label, err := kernel(t, "1").Of(from)
	if err != nil || label.String() != db {
		t.Fatalf("got %q, %v", label, err)
	}
	dir, err := os.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := label.Give(dir); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	n, err := unix.Getxattr(to, Attribute, got)
	if err != nil || string(got[:n]) != db+"\x00" {
		t.Errorf("it has %q, %v", got[:n], err)
	}
}

func TestWhatIsNotThereHasTheLabelOfWhatIsAboveIt(t *testing.T) {
	from := labelled(t)
	label, err := kernel(t, "0").Of(filepath.Join(from, "not", "there"))
	if err != nil || label.String() != db {
		t.Errorf("got %q, %v", label, err)
	}
	if label, err := kernel(t, "1").Of(filepath.Join(strings.Repeat("x", 300), "there")); err == nil {
		t.Errorf("a name that is too long has the label %q", label)
	}
}

func TestWithoutSELinuxNothingHappens(t *testing.T) {
	from := labelled(t)
	off := FS(t.TempDir())
	label, err := off.Of(from)
	if err != nil || label != "" || off.Enforces() {
		t.Errorf("got %q, %v, and it enforces: %v", label, err, off.Enforces())
	}
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := label.Give(dir); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Fgetxattr(int(dir.Fd()), Attribute, nil); err == nil {
		t.Errorf("it has a label of %d bytes", n)
	}
	// A filesystem without labels, under a kernel with SELinux.
	if label, err := kernel(t, "1").Of("/proc/self"); err != nil || label != "" {
		t.Errorf("got %q, %v", label, err)
	}
}

func TestOnlyAnEnforcingKernelEnforces(t *testing.T) {
	for enforce, want := range map[string]bool{"1": true, "0": false} {
		if got := kernel(t, enforce).Enforces(); got != want {
			t.Errorf("%q enforces: %v", enforce, got)
		}
	}
}

func TestALabelThatCannotBeGivenIsToldByName(t *testing.T) {
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()
	if err := Label(db + "\x00").Give(pipe); err == nil || !strings.HasPrefix(err.Error(), "cannot give |0 the SELinux label "+db+": ") {
		t.Errorf("got %v", err)
	}
}
