package datadir

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A copy of the image of a mounted filesystem is what a machine finds on the
// disk after it lost its power.
func TestPublishedDataSurvivesACrash(t *testing.T) {
	if lack := lacksForMount(); lack != "" {
		if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
			t.Fatal(lack)
		}
		t.Skip(lack)
	}
	dir := t.TempDir()
	image, root := filepath.Join(dir, "disk"), filepath.Join(dir, "root")
	ok(t, os.Mkdir(root, 0o755))
	command(t, "truncate", "--size=32M", image)
	command(t, "mkfs.ext4", "-q", image)
	mount(t, image, root)
	staging, path := filepath.Join(root, "mysql.initializing-1"), filepath.Join(root, "mysql")
	ok(t, os.Mkdir(staging, 0o700))
	write(t, filepath.Join(staging, "ibdata1"), "data")
	ok(t, Publish(staging, path))

	after, found := image+".after", filepath.Join(dir, "found")
	command(t, "cp", "--sparse=always", image, after)
	ok(t, os.Mkdir(found, 0o755))
	mount(t, after, found)
	if text, err := os.ReadFile(filepath.Join(found, "mysql", "ibdata1")); err != nil || string(text) != "data" {
		t.Errorf("got %q, %v", text, err)
	}
}

// lacksForMount says what is missing here to mount an image, "" for nothing.
func lacksForMount() string {
	if os.Getuid() != 0 {
		return "mounting needs root"
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return "mkfs.ext4 is missing: apt-get install e2fsprogs"
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "mounting an image needs a loop device: " + err.Error()
	}
	return ""
}

func mount(t *testing.T, image, where string) {
	t.Helper()
	command(t, "mount", "-t", "ext4", "-o", "loop", image, where)
	t.Cleanup(func() { command(t, "umount", where) })
}

func command(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}
