package block

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

const serial = "vol0123456789abcdef0"

// A machine is a System with NVMe disks. Its layouts are those of Linux 6.1.
type machine struct {
	System
	t     *testing.T
	minor uint32

	mu    sync.Mutex
	disks map[string]identity // by path of their nodes: what they say of themselves
}

func newMachine(t *testing.T) *machine {
	m := &machine{System: fakeSystem(t), t: t, disks: map[string]identity{}}
	m.identify = func(path string) (identity, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		id, ok := m.disks[path]
		if !ok {
			return identity{}, &os.PathError{Op: "open", Path: path, Err: unix.ENXIO}
		}
		return id, nil
	}
	return m
}

// controller makes /sys/class/nvme/NAME, a link to its device as in the kernel.
func (m *machine) controller(name, serial string) (dir string) {
	dir = filepath.Join(m.Sys, "devices/pci0000:00/0000:00:1f.0/nvme", name)
	write(m.t, filepath.Join(dir, "serial"), fmt.Sprintf("%-20s\n", serial))
	write(m.t, filepath.Join(dir, "state"), "live\n")
	write(m.t, filepath.Join(dir, "ng"+strings.TrimPrefix(name, "nvme")+"n1/dev"), "242:0\n")
	link(m.t, dir, filepath.Join(m.Sys, "class/nvme", name))
	return dir
}

// namespace makes a disk below a controller or a subsystem.
func (m *machine) namespace(parent, name, serial string) {
	m.minor++
	dir := filepath.Join(parent, name)
	write(m.t, filepath.Join(dir, "size"), "2097152\n")
	write(m.t, filepath.Join(dir, "dev"), fmt.Sprintf("259:%d\n", m.minor))
	link(m.t, dir, filepath.Join(m.Sys, "block", name))
	node := filepath.Join(m.Dev, name)
	write(m.t, node, "")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.disks[node] = identity{serial: serial, model: "Amazon Elastic Block Store", major: 259, minor: m.minor}
}

func (m *machine) udev(link_, name string) {
	link(m.t, "../../"+name, filepath.Join(m.Dev, "disk/by-id", link_))
}

func (m *machine) pull(name string) {
	os.RemoveAll(filepath.Join(m.Sys, "devices/pci0000:00/0000:00:1f.0/nvme", name))
	os.Remove(filepath.Join(m.Sys, "class/nvme", name))
	os.Remove(filepath.Join(m.Sys, "block", name+"n1"))
	os.Remove(filepath.Join(m.Dev, name+"n1"))
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.disks, filepath.Join(m.Dev, name+"n1"))
}

func TestFind(t *testing.T) {
	m := newMachine(t)
	m.namespace(m.controller("nvme0", "vol0aaa"), "nvme0n1", "vol0aaa")
	m.namespace(m.controller("nvme1", serial), "nvme1n1", serial)
	m.udev("nvme-Amazon_Elastic_Block_Store_"+serial, "nvme1n1")
	d, err := m.Find(t.Context(), serial)
	want := Disk{
		Path: filepath.Join(m.Dev, "nvme1n1"), Link: filepath.Join(m.Dev, "disk/by-id/nvme-Amazon_Elastic_Block_Store_"+serial),
		Name: "nvme1n1", Serial: serial, Model: "Amazon Elastic Block Store", Size: GiB, Major: 259, Minor: 2,
	}
	if err != nil || d != want {
		t.Errorf("%+v, %v; want %+v", d, err, want)
	}
	if d.Dev() != unix.Mkdev(259, 2) {
		t.Errorf("its device number is %#x", d.Dev())
	}
	if _, err := m.Find(t.Context(), ""); err == nil {
		t.Error("a disk without a serial number is found")
	}
}

func TestFindSeesThroughMultipath(t *testing.T) {
	m := newMachine(t)
	subsystem := filepath.Join(m.Sys, "devices/virtual/nvme-subsystem/nvme-subsys3")
	for _, c := range []string{"nvme4", "nvme5"} { // two paths to one disk
		dir := m.controller(c, serial)
		write(t, filepath.Join(dir, "nvme3c"+strings.TrimPrefix(c, "nvme")+"n1/hidden"), "1\n")
	}
	if _, err := m.Find(t.Context(), serial); !errors.Is(err, ErrAbsent) {
		t.Errorf("before its head is there: %v", err)
	}
	m.namespace(subsystem, "nvme3n1", serial)
	d, err := m.Find(t.Context(), serial)
	if err != nil || d.Name != "nvme3n1" || d.Path != filepath.Join(m.Dev, "nvme3n1") {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestFindRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(m *machine)
		want string // with $dev for the folder
		is   func(err error) bool
	}{
		{"no controller at all", func(m *machine) {}, "serial " + serial + ": no NVMe controller reports it: no such disk", isAbsent},
		{"only others", func(m *machine) {
			m.namespace(m.controller("nvme0", serial+"1"), "nvme0n1", serial+"1")
			m.namespace(m.controller("nvme1", serial[:19]), "nvme1n1", serial[:19])
		}, "serial " + serial + ": no NVMe controller reports it: no such disk", isAbsent},
		{"a controller without a disk", func(m *machine) {
			m.controller("nvme0", serial)
		}, "serial " + serial + ": its NVMe controller has no disk yet: no such disk", isAbsent},
		{"a disk without a node", func(m *machine) {
			m.namespace(m.controller("nvme0", serial), "nvme0n1", serial)
			delete(m.disks, filepath.Join(m.Dev, "nvme0n1"))
		}, "serial " + serial + ": no such disk: open $dev/nvme0n1: no such device or address", isAbsent},
		{"a disk without size", func(m *machine) {
			m.namespace(m.controller("nvme0", serial), "nvme0n1", serial)
			write(m.t, filepath.Join(m.Sys, "block/nvme0n1/size"), "0\n")
		}, "serial " + serial + ": no such disk: $dev/nvme0n1 has no size yet", isAbsent},
		{
			"two disks", func(m *machine) {
				m.namespace(m.controller("nvme0", serial), "nvme0n1", serial)
				m.namespace(m.controller("nvme7", serial), "nvme7n1", serial)
			}, "serial " + serial + " is reported by several disks, $dev/nvme0n1 and $dev/nvme7n1: cannot tell which one is meant; unplug all but one",
			func(err error) bool { var e *DuplicateError; return errors.As(err, &e) && len(e.Disks) == 2 },
		},
		{
			"two namespaces", func(m *machine) {
				c := m.controller("nvme0", serial)
				m.namespace(c, "nvme0n1", serial)
				m.namespace(c, "nvme0n2", serial)
			}, "serial " + serial + " is that of controller nvme0 with 2 namespaces, $dev/nvme0n1 and $dev/nvme0n2: cannot tell which one is meant",
			func(err error) bool { var e *NamespacesError; return errors.As(err, &e) && e.Controller == "nvme0" },
		},
		{"a disk that says another serial", func(m *machine) {
			m.namespace(m.controller("nvme0", serial), "nvme0n1", "vol0bbb")
		}, `sysfs gives $dev/nvme0n1 the serial ` + serial + `, the disk itself says "vol0bbb"`, isNotAbsent},
		{"a node of another disk", func(m *machine) {
			m.namespace(m.controller("nvme0", serial), "nvme0n1", serial)
			write(m.t, filepath.Join(m.Sys, "block/nvme0n1/dev"), "259:77\n")
		}, "$dev/nvme0n1 is device 259:1, not 259:77 as sysfs says of the disk with serial " + serial, isNotAbsent},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			test.make(m)
			d, err := m.Find(t.Context(), serial)
			want := strings.ReplaceAll(test.want, "$dev", m.Dev)
			if err == nil || err.Error() != want || !test.is(err) || d != (Disk{}) {
				t.Errorf("%+v, %v; want %s", d, err, want)
			}
		})
	}
}

func isAbsent(err error) bool    { return errors.Is(err, ErrAbsent) }
func isNotAbsent(err error) bool { return !errors.Is(err, ErrAbsent) }

func TestFindOverlooksAControllerThatIsLeaving(t *testing.T) {
	for _, state := range []string{"dead", "deleting", "deleting (no IO)"} {
		m := newMachine(t)
		old := m.controller("nvme0", serial)
		write(t, filepath.Join(old, "state"), state+"\n")
		m.namespace(old, "nvme0n1", serial)
		if _, err := m.Find(t.Context(), serial); !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", state, err)
		}
		m.namespace(m.controller("nvme1", serial), "nvme1n1", serial)
		if d, err := m.Find(t.Context(), serial); err != nil || d.Name != "nvme1n1" {
			t.Errorf("%s: %+v, %v", state, d, err)
		}
	}
}

func TestFindDoesNotWaitForADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.namespace(m.controller("nvme0", serial), "nvme0n1", serial)
		release := make(chan struct{})
		defer close(release)
		m.identify = func(string) (identity, error) { <-release; return identity{}, nil }
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := m.Find(ctx, serial)
		want := "cannot identify the disk with serial " + serial + ": " + filepath.Join(m.Dev, "nvme0n1") + " does not answer: context deadline exceeded"
		if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

func TestTheLinkIsTheOneThatComesBackWithTheDisk(t *testing.T) {
	const model = "nvme-Amazon_Elastic_Block_Store_"
	for _, test := range []struct {
		name  string
		links map[string]string
		want  string
	}{
		{"none", nil, ""},
		{"plain before others", map[string]string{
			model + serial + "_1": "nvme0n1", model + serial: "nvme0n1", model + serial + "-ns-1": "nvme0n1",
			"nvme-nvme.1d0f-766f6c-416d-00000001": "nvme0n1",
		}, model + serial},
		{"with a namespace", map[string]string{model + serial + "_1": "nvme0n1", model + serial + "-ns-1": "nvme0n1"}, model + serial + "_1"},
		{"of amazon-ec2-utils", map[string]string{model + serial + "-ns-1": "nvme0n1"}, model + serial + "-ns-1"},
		{"no serial", map[string]string{"nvme-nvme.1d0f-766f6c-416d-00000001": "nvme0n1", "wwn-0x1": "nvme0n1"}, ""},
		{"stale", map[string]string{model + serial: "nvme9n1", model + serial + "_1": "nvme0n1"}, model + serial + "_1"},
		{"of a partition", map[string]string{model + serial + "-part1": "nvme0n1p1"}, ""},
		{"of a longer serial", map[string]string{model + serial + "f": "nvme0n1"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t)
			c := m.controller("nvme0", serial)
			m.namespace(c, "nvme0n1", serial)
			write(t, filepath.Join(m.Dev, "nvme9n1"), "")
			write(t, filepath.Join(m.Dev, "nvme0n1p1"), "")
			for name, to := range test.links {
				m.udev(name, to)
			}
			d, err := m.Find(t.Context(), serial)
			if err != nil {
				t.Fatal(err)
			}
			if want := filepath.Join(m.Dev, "disk/by-id", test.want); test.want == "" && d.Link != "" || test.want != "" && d.Link != want {
				t.Errorf("it is %q, want %q", d.Link, test.want)
			}
		})
	}
	if got := linkRank("nvme-QEMU_NVMe_Ctrl_a_b_c", "a b/c"); got != 1 {
		t.Errorf("a serial with blanks has rank %d", got)
	}
}

func TestWaitForReturnsOnceTheDiskAndItsLinkAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		events := make(chan Event, 10)
		got := make(chan Disk, 1)
		go func() {
			d, err := m.waitFor(t.Context(), serial, events)
			if err != nil {
				t.Error(err)
			}
			got <- d
		}()
		step := func(do func(), event Event) {
			synctest.Wait()
			select {
			case d := <-got:
				t.Fatalf("it is there too early: %+v", d)
			default:
			}
			do()
			events <- event
		}
		start := time.Now()
		step(func() {}, Event{Action: "add", Name: "sda"})
		step(func() { m.namespace(m.controller("nvme1", serial), "nvme1n1", serial) }, Event{Action: "add", Name: "nvme1n1"})
		step(func() { m.udev("nvme-QEMU_NVMe_Ctrl_"+serial, "nvme1n1") }, Event{Action: "add", Name: "nvme1n1", Udev: true})
		if d := <-got; d.Name != "nvme1n1" || d.Link == "" {
			t.Errorf("%+v", d)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %v although it was told", took)
		}
	})
}

func TestWaitForNeedsNoEvents(t *testing.T) {
	for _, events := range []chan Event{nil, make(chan Event)} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t)
			if events != nil {
				events = make(chan Event)
				close(events)
			}
			go func() {
				time.Sleep(10500 * time.Millisecond)
				m.namespace(m.controller("nvme1", serial), "nvme1n1", serial)
				m.udev("nvme-QEMU_NVMe_Ctrl_"+serial, "nvme1n1")
			}()
			start := time.Now()
			d, err := m.waitFor(t.Context(), serial, events)
			if err != nil || d.Name != "nvme1n1" || time.Since(start) != 11*time.Second {
				t.Errorf("after %v: %+v, %v", time.Since(start), d, err)
			}
		})
	}
}

// The net below events that got lost is wide: to look costs time.
func TestWaitForLooksNowAndThenWhereNoEventComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		go func() {
			time.Sleep(11 * time.Second)
			m.namespace(m.controller("nvme1", serial), "nvme1n1", serial)
			m.udev("nvme-QEMU_NVMe_Ctrl_"+serial, "nvme1n1")
		}()
		start := time.Now()
		d, err := m.waitFor(t.Context(), serial, make(chan Event))
		if err != nil || d.Name != "nvme1n1" || time.Since(start) != 20*time.Second {
			t.Errorf("after %v: %+v, %v", time.Since(start), d, err)
		}
	})
}

func TestWaitForGivesUpAtItsDeadlineAndSaysWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		_, err := m.waitFor(ctx, serial, nil)
		want := "serial " + serial + ": no NVMe controller reports it: no such disk (gave up: context deadline exceeded)"
		if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrAbsent) {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

func TestWaitForSaysThatUdevMadeNoLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.namespace(m.controller("nvme1", serial), "nvme1n1", serial)
		start := time.Now()
		_, err := m.waitFor(t.Context(), serial, nil)
		if !errors.Is(err, ErrNoLink) || time.Since(start) != linkWithin || !strings.HasPrefix(err.Error(), "udev has not made a link to "+m.Dev+"/nvme1n1 (serial "+serial+") in "+m.Dev+"/disk/by-id for 30s: ") {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestWaitForRefusesAtOnceWhatTimeDoesNotMend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		m.namespace(m.controller("nvme1", serial), "nvme1n1", serial)
		m.namespace(m.controller("nvme2", serial), "nvme2n1", serial)
		start := time.Now()
		_, err := m.waitFor(t.Context(), serial, nil)
		var duplicate *DuplicateError
		if !errors.As(err, &duplicate) || time.Since(start) > 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestWaitForOutlivesADiskThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t)
		go func() {
			for range 3 {
				m.namespace(m.controller("nvme1", serial), "nvme1n1", serial)
				time.Sleep(linkWithin - 2*time.Second)
				m.pull("nvme1")
				time.Sleep(2 * time.Second)
			}
			m.namespace(m.controller("nvme1", serial), "nvme1n1", serial)
			m.udev("nvme-QEMU_NVMe_Ctrl_"+serial, "nvme1n1")
		}()
		d, err := m.waitFor(t.Context(), serial, nil)
		if err != nil || !reflect.DeepEqual(d.Serial, serial) {
			t.Errorf("%+v, %v", d, err)
		}
	})
}

func TestTheHostsDiskIsNotFoundByAWrongSerial(t *testing.T) {
	if _, err := Host().Find(t.Context(), "no-such-serial"); !errors.Is(err, ErrAbsent) {
		t.Error(err)
	}
}
