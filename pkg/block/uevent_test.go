package block

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernelMessage is what Linux 6.1 sent for a hot-plugged NVMe disk.
func kernelMessage(properties ...string) []byte {
	return []byte("add@/devices/pci0000:00/0000:00:05.0/nvme/nvme1/nvme1n1\x00" + strings.Join(properties, "\x00") + "\x00")
}

var diskAdded = []string{
	"ACTION=add", "DEVPATH=/devices/pci0000:00/0000:00:05.0/nvme/nvme1/nvme1n1", "SUBSYSTEM=block",
	"MAJOR=259", "MINOR=3", "DEVNAME=nvme1n1", "DEVTYPE=disk", "DISKSEQ=5", "SEQNUM=1632",
}

// udevMessage is what udevd sends on: monitor_netlink_header of systemd, then
// the properties, with the path of the node.
func udevMessage(properties ...string) []byte {
	text := strings.Join(properties, "\x00") + "\x00"
	msg := append([]byte("libudev\x00"), udevMagic...)
	for _, v := range []uint32{40, 40, uint32(len(text)), 0, 0, 0, 0} { // header, offset, length; filters
		msg = binary.NativeEndian.AppendUint32(msg, v)
	}
	return append(msg, text...)
}

func TestParseEvent(t *testing.T) {
	node := append(append([]string{}, diskAdded[:5]...), "DEVNAME=/dev/nvme1n1", "DEVTYPE=disk")
	told := append(append([]string{}, node...), "ID_SERIAL_SHORT=vol1", "ID_PART_TABLE_TYPE=gpt", "ID_FS_TYPE=xfs", "ID_MODEL=x")
	gone := append([]string{"ACTION=remove"}, told[1:]...)
	part := []string{"ACTION=add", "DEVPATH=/devices/nvme/nvme1/nvme1n1/nvme1n1p1", "SUBSYSTEM=block", "DEVNAME=/dev/nvme1n1p1", "DEVTYPE=partition", "ID_FS_TYPE=xfs"}
	for _, test := range []struct {
		name string
		msg  []byte
		want Event
		ok   bool
	}{
		{"the kernel's", kernelMessage(diskAdded...), Event{Action: "add", Name: "nvme1n1", Disk: "nvme1n1", Type: "disk"}, true},
		{"udevd's", udevMessage(node...), Event{Action: "add", Name: "nvme1n1", Disk: "nvme1n1", Type: "disk", Holds: "holds ", Udev: true}, true},
		{
			"udevd's with what it knows", udevMessage(told...),
			Event{Action: "add", Name: "nvme1n1", Disk: "nvme1n1", Type: "disk", Serial: "vol1", Holds: "holds ID_FS_TYPE=xfs ID_PART_TABLE_TYPE=gpt", Udev: true},
			true,
		},
		{"of a disk that is gone", udevMessage(gone...), Event{Action: "remove", Name: "nvme1n1", Disk: "nvme1n1", Type: "disk", Serial: "vol1", Udev: true}, true},
		{"of a partition", udevMessage(part...), Event{Action: "add", Name: "nvme1n1p1", Disk: "nvme1n1", Type: "partition", Udev: true}, true},
		{"of another subsystem", kernelMessage("ACTION=add", "SUBSYSTEM=net", "DEVNAME=eth0"), Event{}, false},
		{"without a name", kernelMessage("ACTION=add", "SUBSYSTEM=block"), Event{}, false},
		{"empty", nil, Event{}, false},
		{"not an event", []byte("hello\x00ACTION=add\x00SUBSYSTEM=block\x00DEVNAME=a\x00"), Event{}, false},
		{"udevd's without magic", append([]byte("libudev\x00abcd"), udevMessage(node...)[12:]...), Event{}, false},
		{"udevd's cut off", udevMessage(node...)[:60], Event{}, false},
		{"udevd's header alone", []byte("libudev\x00"), Event{}, false},
	} {
		if got, ok := parseEvent(test.msg); ok != test.ok || ok && got != test.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", test.name, got, ok, test.want, test.ok)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add(kernelMessage(diskAdded...))
	f.Add(udevMessage(diskAdded...))
	f.Add([]byte("libudev\x00\xfe\xed\xca\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		if event, ok := parseEvent(msg); ok && (event.Name == "" || event.Action == "" || event.Lost) {
			t.Errorf("%q is %+v", msg, event)
		}
	})
}

// send sends a message as a program to a group of the uevent socket.
func send(t *testing.T, group uint32, msg []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: group}); err != nil {
		t.Skipf("cannot send uevents: %v", err)
	}
}

// trigger has the kernel send an event for a loop device.
func trigger(t *testing.T, action string) (device string) {
	t.Helper()
	paths, _ := filepath.Glob("/sys/block/loop*/uevent")
	if len(paths) == 0 {
		t.Skip("there is no loop device to send an event for")
	}
	if err := os.WriteFile(paths[0], []byte(action), 0); err != nil {
		t.Skipf("cannot make the kernel send an event: %v", err)
	}
	return filepath.Base(filepath.Dir(paths[0]))
}

func listen(t *testing.T, ctx context.Context) <-chan Event {
	t.Helper()
	events, err := Listen(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// expect returns the first event of a device; other things happen on a machine.
func expect(t *testing.T, events <-chan Event, want Event) {
	t.Helper()
	timeout := time.After(5 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the events ended")
			}
			if e == want {
				return
			}
			if e.Name == "forged" {
				t.Fatalf("a forged event came through: %+v", e)
			}
		case <-timeout:
			t.Fatalf("no %+v came", want)
		}
	}
}

func TestListenHearsTheKernelAndUdevAndNobodyElse(t *testing.T) {
	events := listen(t, t.Context())
	send(t, groupKernel, kernelMessage("ACTION=add", "SUBSYSTEM=block", "DEVNAME=forged"))
	send(t, groupUdev, kernelMessage("ACTION=add", "SUBSYSTEM=block", "DEVNAME=forged"))
	send(t, groupKernel, udevMessage("ACTION=add", "SUBSYSTEM=block", "DEVNAME=/dev/forged"))
	send(t, groupUdev, udevMessage("ACTION=add", "SUBSYSTEM=block", "DEVNAME=/dev/nvme77n1", "DEVTYPE=disk"))
	expect(t, events, Event{Action: "add", Name: "nvme77n1", Disk: "nvme77n1", Type: "disk", Holds: "holds ", Udev: true})
	device := trigger(t, "change")
	expect(t, events, Event{Action: "change", Name: device, Disk: device, Type: "disk"})
}

func TestListenTellsThatEventsWereLost(t *testing.T) {
	events := listen(t, t.Context())
	padding := "PADDING=" + strings.Repeat("x", 8000)
	for range 8 * int(receiveBuffer) / 8000 {
		send(t, groupUdev, udevMessage("ACTION=change", "SUBSYSTEM=block", "DEVNAME=/dev/nvme77n1", padding))
	}
	expect(t, events, Event{Lost: true})
	for quiet := false; !quiet; { // what is left in the socket
		select {
		case <-events:
		case <-time.After(100 * time.Millisecond):
			quiet = true
		}
	}
	device := trigger(t, "change")
	expect(t, events, Event{Action: "change", Name: device, Disk: device, Type: "disk"}) // and it goes on
}

// Whoever listens has to know that nothing comes any more, and why.
func TestTheLastEventOfASocketThatFailsSaysWhy(t *testing.T) {
	socket, err := openUevents()
	if err != nil {
		t.Fatal(err)
	}
	events := follow(t.Context(), socket)
	socket.Close()
	timeout := time.After(5 * time.Second)
	var last Event
	for {
		select {
		case e, ok := <-events:
			if ok {
				last = e
				continue
			}
			if !last.Lost || last.Err == nil || !strings.Contains(last.Err.Error(), "cannot receive uevents: ") {
				t.Errorf("the last event is %+v", last)
			}
			return
		case <-timeout:
			t.Fatal("it goes on")
		}
	}
}

func TestListenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	events := listen(t, ctx)
	cancel()
	timeout := time.After(5 * time.Second)
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-timeout:
			t.Fatal("it goes on")
		}
	}
}
