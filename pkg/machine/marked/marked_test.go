package marked

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/block"
	"bootagent/pkg/host"
)

const (
	uuid  = "a4c1e2f7-0b5d-4c39-9e68-3d7f1a2b4c5e" // of no other test
	other = "a4c1e2f7-0b5d-4c39-9e68-3d7f1a2b4c5f"
)

// image returns the path of a disk with a filesystem of real tools.
func image(t *testing.T, argv ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 320<<20)); err != nil {
		t.Fatal(err)
	}
	if len(argv) == 0 {
		return path
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	if out, err := exec.Command(argv[0], append(argv[1:], path)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// start is how a disk begins.
func start(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	head := make([]byte, 1<<20)
	if _, err := io.ReadFull(file, head); err != nil {
		t.Fatal(err)
	}
	return head
}

func TestTheDisksWithAMarkAreFound(t *testing.T) {
	xfs := image(t, "mkfs.xfs", "-q", "-m", "uuid="+uuid, "-L", "orders")
	ext4 := image(t, "mkfs.ext4", "-q", "-U", other, "-L", "orders")
	before := start(t, xfs)
	copied := image(t)
	if err := os.WriteFile(copied, before, 0o600); err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{"copy": copied, "ext4": ext4, "xfs": xfs, "blank": image(t), "pulled": "/nonexistent/nvme9n1"}
	find := func(_ context.Context, serial string) (block.Disk, error) {
		switch serial {
		case "absent":
			return block.Disk{}, fmt.Errorf("it goes: %w", block.ErrAbsent)
		case "twice":
			return block.Disk{}, &block.DuplicateError{Serial: serial}
		case "several":
			return block.Disk{}, &block.NamespacesError{Serial: serial}
		}
		return block.Disk{Serial: serial, Path: paths[serial]}, nil
	}
	for mark, want := range map[host.Mark][]string{
		{Filesystem: "xfs", UUID: uuid}:       {"copy", "xfs"},
		{Filesystem: "xfs", Label: "orders"}:  {"copy", "xfs"},
		{Filesystem: "xfs", UUID: other}:      nil,
		{Filesystem: "ext4", UUID: other}:     {"ext4"},
		{Filesystem: "ext4", Label: "orders"}: {"ext4"},
		{Filesystem: "ext4", Label: "order"}:  nil,
		{Filesystem: "ext4", UUID: uuid}:      nil,
	} {
		all, err := Find(t.Context(), []string{"absent", "blank", "copy", "ext4", "pulled", "several", "twice", "xfs"}, find, mark)
		var got []string
		for _, disk := range all {
			got = append(got, disk.Serial)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want %q", mark, got, err, want)
		}
	}
	if !slices.Equal(start(t, xfs), before) {
		t.Error("the disk was changed")
	}
}

// The model is what the disk itself says: nothing is read of it.
func TestTheDisksOfAModelAreFound(t *testing.T) {
	models := map[string]string{"a": host.InstanceStore, "b": "Amazon Elastic Block Store", "c": "", "d": host.InstanceStore, "e": host.InstanceStore + " 2"}
	find := func(_ context.Context, serial string) (block.Disk, error) {
		return block.Disk{Serial: serial, Model: models[serial], Path: t.TempDir()}, nil
	}
	all, err := Find(t.Context(), []string{"a", "b", "c", "d", "e"}, find, host.Mark{Model: host.InstanceStore})
	if err != nil || len(all) != 2 || all[0].Serial != "a" || all[1].Serial != "d" || all[0].Model != host.InstanceStore {
		t.Errorf("got %+v, %v", all, err)
	}
	stuck := func(context.Context, string) (block.Disk, error) {
		return block.Disk{}, errors.New("it does not answer")
	}
	if all, err := Find(t.Context(), []string{"a"}, stuck, host.Mark{Model: host.InstanceStore}); err == nil {
		t.Errorf("a disk that does not say its model is left out: %v", all)
	}
}

// A disk that can't be read may be one of those that are meant.
func TestADiskThatCanNotBeReadIsADoubt(t *testing.T) {
	mark := host.Mark{Filesystem: "xfs", UUID: uuid}
	at := func(path string, err error) func(context.Context, string) (block.Disk, error) {
		return func(_ context.Context, serial string) (block.Disk, error) {
			return block.Disk{Serial: serial, Path: path}, err
		}
	}
	if all, err := Find(t.Context(), []string{"dir"}, at(t.TempDir(), nil), mark); err == nil || !strings.Contains(err.Error(), "cannot tell whether disk dir has the xfs filesystem "+uuid+": cannot read the superblock") {
		t.Errorf("got %v, %v", all, err)
	}
	hangs := errors.New("it does not say which disk it is")
	if all, err := Find(t.Context(), []string{"stuck"}, at("", hangs), mark); !errors.Is(err, hangs) {
		t.Errorf("got %v, %v", all, err)
	}
}
