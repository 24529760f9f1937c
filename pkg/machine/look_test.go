package machine

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/host"
)

// tool runs a program, and returns what it prints.
func tool(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/sbin:"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Skipf("no loop devices here: %v: %v\n%s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

// A person is told what the directories of the role hold before anything is mounted
// for it, and not a byte of the disk changes.
func TestALookTellsWhatTheDirectoriesHold(t *testing.T) {
	image, root := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.ext4", "-q", image)
	device := tool(t, "losetup", "--find", "--show", image)
	t.Cleanup(func() { tool(t, "losetup", "--detach", device) })
	tool(t, "mount", device, root)
	for name, text := range map[string]string{
		"pg/PG_VERSION": "15\n", "maria/mysql_upgrade_info": "10.11.6-MariaDB", "maria/ibdata1": "", "redis/dump.rdb": "REDIS0010", "site/index.html": "a page",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, "umount", root)
	before := sum(t, image)
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		t.Fatal(err)
	}
	inside := []host.Data{
		{Name: "pg", Engine: "postgres", Owner: "root", Dir: "pg"},
		{Name: "maria", Engine: "mariadb", Owner: "root", Dir: "maria"},
		{Name: "redis", Engine: "redis", Owner: "root", Dir: "redis"},
		{Name: "site", Engine: "none", Owner: "root", Dir: "site"},
		{Name: "all", Engine: "none", Owner: "root", Dir: "."},
		{Name: "gone", Engine: "none", Owner: "root", Dir: "gone"},
		{Name: "whose", Engine: "none", Owner: "no-such-user", Dir: "site"},
	}
	seen, err := task{Do: lookAt, Path: device, Dev: st.Rdev, Filesystem: "ext4", Inside: inside}.look()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(seen.Names)
	if want := []string{"maria", "pg", "redis", "site"}; !slices.Equal(seen.Names, want) || seen.Ledger != nil || len(seen.Inside) != len(inside) {
		t.Fatalf("got %+v", seen)
	}
	for i, want := range []struct {
		state   host.DirectoryState
		version string
		reason  string
	}{
		{host.Damaged, "15", ""},
		{host.Damaged, "", ""},
		{host.Ready, "", ""},
		{host.Ready, "", ""},
		{host.Ready, "", ""},
		{host.Absent, "", ""},
		{host.Damaged, "", "no-such-user"},
	} {
		if got := seen.Inside[i]; got.State != want.state || want.version != "" && got.Version != want.version || !strings.Contains(got.Reason, want.reason) {
			t.Errorf("%s: got %+v, want %+v", inside[i].Name, got, want)
		}
	}
	if sum(t, image) != before {
		t.Error("the disk was changed")
	}
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(src)
}
