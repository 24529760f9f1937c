package block

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeSystem makes a System of empty folders.
func fakeSystem(t *testing.T) System {
	t.Helper()
	dir := t.TempDir()
	s := System{Sys: filepath.Join(dir, "sys"), Dev: filepath.Join(dir, "dev"), Proc: filepath.Join(dir, "proc")}
	write(t, filepath.Join(s.Proc, "self/mountinfo"), "22 27 0:21 / /proc rw,relatime - proc proc rw\n")
	write(t, filepath.Join(s.Proc, "swaps"), "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
	return s
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// node makes the node of a block device that need not exist.
func (s System) node(t *testing.T, name string, major, minor uint32) {
	t.Helper()
	if err := os.MkdirAll(s.Dev, 0o755); err != nil {
		t.Fatal(err)
	}
	err := unix.Mknod(filepath.Join(s.Dev, name), unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor)))
	if err != nil {
		t.Skipf("mknod needs root: %v", err)
	}
}

func TestUsageNamesWhoUsesADiskOrItsPartitions(t *testing.T) {
	const disk, part = "nvme1n1", "nvme1n1p1"
	for _, test := range []struct {
		name       string
		make       func(s System, dir string)
		users      []string
		partitions []string
	}{
		{"nothing", func(System, string) {}, nil, nil},
		{"a holder", func(s System, dir string) {
			link(t, "../../dm-0", filepath.Join(dir, "holders/dm-0"))
		}, []string{"held by dm-0"}, nil},
		{"a holder that device mapper gave a name", func(s System, dir string) {
			link(t, "../../dm-0", filepath.Join(dir, "holders/dm-0"))
			write(t, filepath.Join(s.Sys, "block/dm-0/dm/name"), "vg-data\n")
		}, []string{"held by dm-0 (vg-data)"}, nil},
		{"a loop device", func(s System, dir string) { // that does not claim it
			s.node(t, disk, 259, 3)
			write(t, filepath.Join(s.Sys, "block/loop0/loop/backing_file"), "/var/lib/image\n")
			write(t, filepath.Join(s.Sys, "block/loop3/loop/backing_file"), filepath.Join(s.Dev, disk)+"\n")
		}, []string{"held by loop3"}, nil},
		{"a loop device on a partition", func(s System, dir string) {
			s.node(t, part, 259, 4)
			write(t, filepath.Join(dir, part, "partition"), "1\n")
			write(t, filepath.Join(dir, part, "dev"), "259:4\n")
			write(t, filepath.Join(s.Sys, "block/loop3/loop/backing_file"), filepath.Join(s.Dev, part)+"\n")
		}, []string{"held by loop3"}, []string{part}},
		{"a partition", func(s System, dir string) {
			write(t, filepath.Join(dir, part, "partition"), "1\n")
			write(t, filepath.Join(dir, part, "dev"), "259:4\n")
		}, nil, []string{part}},
		{"a partition's holder", func(s System, dir string) {
			write(t, filepath.Join(dir, part, "partition"), "1\n")
			write(t, filepath.Join(dir, part, "holders/md0"), "")
		}, []string{"held by md0"}, []string{part}},
		{"a mount", func(s System, dir string) {
			write(t, filepath.Join(s.Proc, "self/mountinfo"), `36 27 259:3 / /srv/my\040data rw,nosuid shared:7 master:1 - xfs /dev/nvme1n1 rw`+"\n")
		}, []string{"mounted at /srv/my data"}, nil},
		{"a partition's mount", func(s System, dir string) {
			write(t, filepath.Join(dir, part, "partition"), "1\n")
			write(t, filepath.Join(dir, part, "dev"), "259:4\n")
			write(t, filepath.Join(s.Proc, "self/mountinfo"), "36 27 259:4 / /boot rw - ext4 /dev/nvme1n1p1 rw\n")
		}, []string{"mounted at /boot"}, []string{part}},
		{"a btrfs", func(s System, dir string) {
			s.node(t, disk, 259, 3)
			write(t, filepath.Join(s.Proc, "self/mountinfo"), "36 27 0:51 / /srv rw - btrfs "+filepath.Join(s.Dev, disk)+" rw\n")
		}, []string{"mounted at /srv"}, nil},
		{"swap", func(s System, dir string) {
			s.node(t, disk, 259, 3)
			write(t, filepath.Join(s.Proc, "swaps"), "Filename Type Size Used Priority\n"+filepath.Join(s.Dev, disk)+" partition 16380 0 -2\n")
		}, []string{"swap is on nvme1n1"}, nil},
		{"another disk's", func(s System, dir string) {
			write(t, filepath.Join(s.Proc, "self/mountinfo"), "36 27 259:33 / /srv rw - xfs /dev/nvme2n1 rw\n37 27 0:44 / /run rw - tmpfs tmpfs rw\n")
		}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := fakeSystem(t)
			dir := filepath.Join(s.Sys, "devices/pci0000:00/nvme/nvme1", disk)
			write(t, filepath.Join(dir, "dev"), "259:3\n")
			if err := os.Mkdir(filepath.Join(dir, "holders"), 0o755); err != nil {
				t.Fatal(err)
			}
			link(t, dir, filepath.Join(s.Sys, "dev/block/259:3"))
			test.make(s, dir)
			users, partitions, err := s.Usage(259, 3)
			if err != nil || !reflect.DeepEqual(users, test.users) || !reflect.DeepEqual(partitions, test.partitions) {
				t.Errorf("used %q, partitions %q, %v; want %q, %q", users, partitions, err, test.users, test.partitions)
			}
		})
	}
}

func TestUsageThatCanNotBeToldIsAnError(t *testing.T) {
	for name, spoil := range map[string]func(s System){
		"unknown device": func(s System) { os.RemoveAll(s.Sys) },
		"no mountinfo":   func(s System) { os.Remove(filepath.Join(s.Proc, "self/mountinfo")) },
		"no swaps":       func(s System) { os.Remove(filepath.Join(s.Proc, "swaps")) },
		"odd mountinfo":  func(s System) { write(t, filepath.Join(s.Proc, "self/mountinfo"), "36 27 259:3 /\n") },
	} {
		s := fakeSystem(t)
		dir := filepath.Join(s.Sys, "devices/nvme1n1")
		write(t, filepath.Join(dir, "dev"), "259:3\n")
		link(t, dir, filepath.Join(s.Sys, "dev/block/259:3"))
		if _, _, err := s.Usage(259, 3); err != nil {
			t.Fatal(err)
		}
		spoil(s)
		if users, partitions, err := s.Usage(259, 3); err == nil {
			t.Errorf("%s: %v, %v", name, users, partitions)
		}
	}
}

func TestWhoHasOpenedADiskIsNamed(t *testing.T) {
	s := fakeSystem(t)
	s.node(t, "nvme1n1", 259, 3)
	s.node(t, "nvme2n1", 259, 9)
	process := func(pid, comm, opened string) {
		write(t, filepath.Join(s.Proc, pid, "comm"), comm+"\n")
		link(t, opened, filepath.Join(s.Proc, pid, "fd/3"))
	}
	process("812", "dd", filepath.Join(s.Dev, "nvme1n1"))
	process("900", "other", filepath.Join(s.Dev, "nvme2n1"))
	process("901", "boot\x1b[2Jagent", filepath.Join(s.Dev, "nvme1n1"))
	process("902", "a socket", "socket:[123]")
	got := s.Openers(259, 3)
	if want := []string{"opened by boot?[2Jagent (process 901)", "opened by dd (process 812)"}; !reflect.DeepEqual(sorted(got), want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := s.Openers(259, 4), []string{"opened exclusively by another program or by the kernel"}; !reflect.DeepEqual(got, want) {
		t.Errorf("where no process is seen: %q, want %q", got, want)
	}
}

func sorted(words []string) []string {
	slices.Sort(words)
	return words
}
