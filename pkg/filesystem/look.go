package filesystem

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/datadir"
	"bootagent/pkg/selinux"
)

// lostAndFound is the directory where a checker puts what has lost its name.
// mkfs.ext4 makes it, and leaves it empty; xfs_repair(8) makes it when it has to.
const lostAndFound = "lost+found"

// ErrUnmountable is in an error of Look or Introduce if the kernel did not mount
// the filesystem.
var ErrUnmountable = errors.New("the kernel cannot mount it")

// Look returns the ledger of the filesystem on a device with the number dev, or
// nil, and the names in its root directory that mkfs does not leave there. Inside is
// called meanwhile, with the path of that directory, unless it is nil. Look does not
// change a byte of the device, not even to replay the log.
func Look(device string, dev uint64, fstype string, inside func(root string)) (ledger []byte, names []string, err error) {
	err = hold(device, dev, fstype, true, func(root string) (err error) {
		if ledger, err = ReadLedger(root); err != nil {
			return err
		}
		if inside != nil {
			inside(root)
		}
		names, err = made(root, fstype)
		return err
	})
	return ledger, names, err
}

// Introduce writes the ledger of the filesystem on a device with the number dev, and
// brings it to its final place on the device. It writes nothing if the ledger that is
// there, once the log is replayed, is not the one that is replaced, which is named by
// its SHA-256 in hexadecimal digits, and "" is none; or, if the filesystem is to be just
// made, if there is a name in the root directory that mkfs does not leave there. The
// root directory of one that was just made gets a label. Its caller looks afterwards.
func Introduce(device string, dev uint64, fstype string, ledger []byte, instead string, just bool, label selinux.Label) error {
	return hold(device, dev, fstype, false, func(root string) error {
		there, err := ReadLedger(root)
		if err != nil || digest(there) != instead {
			return err
		}
		if just {
			if names, err := made(root, fstype); err != nil || len(names) > 0 {
				return err
			}
			if err := labelRoot(root, label); err != nil {
				return err
			}
		}
		return WriteLedger(root, ledger)
	})
}

// digest names a ledger by its bytes; "" is none.
func digest(ledger []byte) string {
	if len(ledger) == 0 {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(ledger))
}

func labelRoot(root string, label selinux.Label) error {
	dir, err := os.Open(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	return label.Give(dir)
}

// made returns the names in a root directory that mkfs does not leave there.
func made(root, fstype string) ([]string, error) {
	names, err := datadir.Names(root)
	if errors.Is(err, datadir.ErrMany) {
		err = nil // as many as are listed say enough
	}
	if err != nil || fstype == "xfs" || !slices.Contains(names, lostAndFound) {
		return names, err
	}
	inside, err := datadir.Names(filepath.Join(root, lostAndFound))
	if err != nil || len(inside) > 0 {
		return names, err
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == lostAndFound }), nil
}

// The kernel may still unmount what a process held that has just ended. Then the
// filesystem is busy for a moment.
const (
	busyTries = 40
	busyRest  = 50 * time.Millisecond
)

// hold mounts a filesystem for as long as do takes, and attaches the mount to no
// directory. So nobody else can enter it or learn of it: systemd makes no unit for
// it, and no program that watches for mounts, such as xfs_healer_start(8), starts
// anything on it. The kernel unmounts it when the process ends, however that
// happens.
func hold(device string, dev uint64, fstype string, readOnly bool, do func(root string) error) error {
	mount, err := mountDetached(device, fstype, readOnly)
	for try := 1; errors.Is(err, unix.EBUSY) && try < busyTries; try++ {
		time.Sleep(busyRest)
		mount, err = mountDetached(device, fstype, readOnly)
	}
	if err != nil {
		return fmt.Errorf("cannot mount the %s filesystem on %s: %w", fstype, device, errors.Join(err, ErrUnmountable))
	}
	defer unix.Close(mount) // unmounts it, and returns when that is done
	var st unix.Stat_t
	if err := unix.Fstat(mount, &st); err != nil {
		return &fs.PathError{Op: "fstat", Path: device, Err: err}
	}
	if st.Dev != dev {
		return fmt.Errorf("the device that is mounted from %s (%#x) is not the one that was read (%#x)", device, st.Dev, dev)
	}
	return do(fmt.Sprintf("/proc/self/fd/%d/.", mount))
}

// mountDetached mounts a filesystem, and returns the descriptor of its root
// (fsopen(2), fsconfig(2), fsmount(2)).
func mountDetached(device, fstype string, readOnly bool) (int, error) {
	flags, settings := []string{}, map[string]string{"source": device}
	attributes := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	switch fstype {
	case "xfs":
		// A process that still holds this filesystem from before its disk was pulled
		// keeps the UUID in use.
		flags = append(flags, "nouuid")
	case "ext4":
		settings["errors"] = "remount-ro"
	default:
		return -1, fmt.Errorf("a filesystem of type %q is not one of bootagent", fstype)
	}
	if readOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY
		flags = append(flags, "ro", withoutRecovery(fstype))
	}
	configuration, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, call("fsopen", err)
	}
	defer unix.Close(configuration)
	for key, value := range settings {
		if err := unix.FsconfigSetString(configuration, key, value); err != nil {
			return -1, told(configuration, call("fsconfig "+key, err))
		}
	}
	for _, flag := range flags {
		if err := unix.FsconfigSetFlag(configuration, flag); err != nil {
			return -1, told(configuration, call("fsconfig "+flag, err))
		}
	}
	if err := unix.FsconfigCreate(configuration); err != nil {
		return -1, told(configuration, call("fsconfig", err))
	}
	mount, err := unix.Fsmount(configuration, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return -1, told(configuration, call("fsmount", err))
	}
	return mount, nil
}

// withoutRecovery is the mount option that, with "ro", leaves even the log as it is.
func withoutRecovery(fstype string) string {
	if fstype == "xfs" {
		return "norecovery" // xfs(5)
	}
	return "noload" // ext4(5)
}

func call(name string, err error) error { return os.NewSyscallError(name, err) }

// told adds to an error what the kernel says about it: each read returns one
// message, which begins with its level and a space.
func told(configuration int, err error) error {
	buf := make([]byte, 512)
	for {
		n, readErr := unix.Read(configuration, buf)
		if readErr != nil || n <= 0 {
			return err
		}
		if message := strings.TrimSpace(string(buf[:n])); len(message) > 2 {
			err = fmt.Errorf("%w: %s", err, message[2:])
		}
	}
}
