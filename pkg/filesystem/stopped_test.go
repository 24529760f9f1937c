package filesystem

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFilesystemThatTakesNoWritesTellsWhy(t *testing.T) {
	onEach(t, func(t *testing.T, image, root string) {
		is := func(want string) {
			t.Helper()
			if why, err := Stopped(root); why != want || err != nil {
				t.Errorf("got %q, %v; want %q", why, err, want)
			}
		}
		is("")
		succeed(t, "mount", "-o", "remount,ro", root)
		is("it is read-only")
		succeed(t, "mount", "-o", "remount,rw", root)
		is("")

		// An error, as one of the disk's would be.
		device := strings.TrimSpace(succeed(t, "findmnt", "--noheadings", "--output", "SOURCE", root))
		if trigger := filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error"); exists(trigger) {
			succeed(t, "mount", "-o", "remount,errors=remount-ro", root)
			if err := os.WriteFile(trigger, []byte("a test"), 0); err != nil {
				t.Fatal(err)
			}
			why, err := Stopped(root)
			if why != "it is read-only" && why != "the kernel has found errors in it: 1" || err != nil { // by the kernel's version
				t.Errorf("got %q, %v", why, err)
			}
			succeed(t, "umount", root)
			succeed(t, "sh", "-c", `e2fsck -p "$0" || [ $? = 1 ]`, image) // what the agent runs before a mount
			succeed(t, "mount", "-o", "loop,errors=remount-ro", image, root)
		} else {
			succeed(t, "xfs_io", "-x", "-c", "shutdown", root)
			is("it has shut itself down after an error")
			succeed(t, "umount", root)
			succeed(t, "mount", "-o", "loop", image, root)
		}
		is("")
		succeed(t, "umount", root)
		is("")
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
