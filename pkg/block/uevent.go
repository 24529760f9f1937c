package block

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An Event says that something happened to a disk or a partition. It is only a
// reason to look at the disk: what it says may be out of date.
type Event struct {
	Action string // "add", "remove", "change"; "" if Lost
	Name   string // the kernel's, of the disk or partition
	Disk   string // the disk, or that of the partition
	Type   string // "disk" or "partition"
	Serial string // of the disk, if udev has asked for it
	Holds  string // the filesystem and partition table that udev found on the disk; "" if it did not report them
	Udev   bool   // it comes from udevd, which has made the links
	Lost   bool   // the kernel dropped events: look at everything again
	Err    error  // why no more events come; set on the last event, which is Lost
}

// Multicast groups of NETLINK_KOBJECT_UEVENT. udevd's messages are as in
// systemd's src/libsystemd/sd-device/device-monitor.c.
const (
	groupKernel = 1 // the kernel's own
	groupUdev   = 2 // sent on by udevd, when its rules have run
)

// receiveBuffer is how many bytes of events may wait before the kernel drops some.
// The coldplug of a boot is a few hundred events, of less than 1 KiB each.
const receiveBuffer = int(2 * MiB)

// Listen returns the events of block devices from now on: each event when the
// kernel sends it, and again when udevd has processed it. It must run in the network
// namespace of the host. The channel is closed when the context ends, or if the
// socket fails; then the last event has the Err.
func Listen(ctx context.Context) (<-chan Event, error) {
	socket, err := openUevents()
	if err != nil {
		return nil, fmt.Errorf("cannot listen for uevents: %w", err)
	}
	return follow(ctx, socket), nil
}

func follow(ctx context.Context, socket *os.File) <-chan Event {
	context.AfterFunc(ctx, func() { socket.Close() })
	events := make(chan Event, 64)
	go func() {
		defer close(events)
		defer socket.Close()
		buf := make([]byte, 16*KiB)
		for {
			event, ok, err := receive(socket, buf)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				event, ok = Event{Lost: true, Err: fmt.Errorf("cannot receive uevents: %w", err)}, true
			}
			if !ok {
				continue
			}
			select {
			case events <- event:
			case <-ctx.Done():
				return
			}
			if event.Err != nil {
				return
			}
		}
	}()
	return events
}

func openUevents() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	socket := os.NewFile(uintptr(fd), "uevents")
	// To go beyond the limit needs CAP_NET_ADMIN. With a smaller buffer more
	// events are dropped, which the kernel reports.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		socket.Close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groupKernel | groupUdev}); err != nil {
		socket.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return socket, nil
}

// receive waits for one message. It is not ok if the message is no event of a
// block device.
func receive(socket *os.File, buf []byte) (event Event, ok bool, err error) {
	conn, err := socket.SyscallConn()
	if err != nil {
		return Event{}, false, err
	}
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	var n, oobn, flags int
	var from unix.Sockaddr
	var recvErr error
	err = conn.Read(func(fd uintptr) bool {
		n, oobn, flags, from, recvErr = unix.Recvmsg(int(fd), buf, oob, 0)
		return recvErr != unix.EAGAIN && recvErr != unix.EINTR
	})
	switch {
	case err != nil:
		return Event{}, false, err
	case recvErr == unix.ENOBUFS:
		return Event{Lost: true}, true, nil
	case recvErr != nil:
		return Event{}, false, os.NewSyscallError("recvmsg", recvErr)
	case flags&unix.MSG_TRUNC != 0:
		return Event{Lost: true}, true, nil
	}
	sender, isNetlink := from.(*unix.SockaddrNetlink)
	if !isNetlink || !fromRoot(oob[:oobn]) {
		return Event{}, false, nil
	}
	event, ok = parseEvent(buf[:n])
	// Only the kernel sends to its own group with port 0.
	fromKernel := sender.Groups == groupKernel && sender.Pid == 0
	return event, ok && (fromKernel || event.Udev && sender.Groups == groupUdev), nil
}

// fromRoot tells whether the sender of a message is root, as the kernel reports.
func fromRoot(oob []byte) bool {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if cred, err := unix.ParseUnixCredentials(&m); err == nil {
			return cred.Uid == 0
		}
	}
	return false
}

// udevHeader is the size of the start of a message of udevd: "libudev\0"; a magic
// number in network byte order; then in host byte order the size of the header, and
// the offset and length of the properties.
const udevHeader = 8 + 4 + 4 + 4 + 4

var udevMagic = []byte{0xfe, 0xed, 0xca, 0xfe}

// parseEvent parses a message. It is not ok if it is not about a block device.
func parseEvent(msg []byte) (event Event, ok bool) {
	var properties []byte
	isUdev := bytes.HasPrefix(msg, []byte("libudev\x00"))
	if isUdev {
		if len(msg) < udevHeader || !bytes.Equal(msg[8:12], udevMagic) {
			return Event{}, false
		}
		from := uint64(binary.NativeEndian.Uint32(msg[16:]))
		length := uint64(binary.NativeEndian.Uint32(msg[20:]))
		if from < udevHeader || from+length > uint64(len(msg)) {
			return Event{}, false
		}
		properties = msg[from : from+length]
	} else {
		// From the kernel: "add@/devices/...", then the properties.
		summary, rest, found := bytes.Cut(msg, []byte{0})
		if !found || !bytes.ContainsRune(summary, '@') {
			return Event{}, false
		}
		properties = rest
	}
	event.Udev = isUdev
	subsystem, device := "", ""
	var holds []string
	for line := range strings.SplitSeq(string(properties), "\x00") {
		key, value, _ := strings.Cut(line, "=")
		switch key {
		case "DEVPATH":
			device = value
		case "ID_SERIAL_SHORT":
			event.Serial = value
		case "ID_FS_TYPE", "ID_FS_UUID", "ID_PART_TABLE_TYPE", "ID_PART_TABLE_UUID":
			holds = append(holds, line)
		case "ACTION":
			event.Action = value
		case "SUBSYSTEM":
			subsystem = value
		case "DEVNAME":
			event.Name = strings.TrimPrefix(value, "/dev/")
		case "DEVTYPE":
			event.Type = value
		}
	}
	// A partition is below its disk: /devices/.../nvme1n1/nvme1n1p1.
	if event.Disk = event.Name; event.Type == "partition" {
		event.Disk = path.Base(path.Dir(device))
	} else if isUdev && event.Action != "remove" {
		slices.Sort(holds)
		event.Holds = "holds " + strings.Join(holds, " ")
	}
	return event, subsystem == "block" && event.Action != "" && event.Name != ""
}
