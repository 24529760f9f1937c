package block

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Find returns the disk with a serial number: the namespace of the NVMe controller
// that has the serial number in sysfs, and that reports it again when the opened
// disk is asked. Link is "" if udev has not made one yet.
//
// The error wraps ErrAbsent if no controller has the serial number or its disk is
// not there yet. It is a *DuplicateError if several disks have it, and a
// *NamespacesError if the controller has several disks. With any other error the
// disk is there, and could not be identified.
func (s System) Find(ctx context.Context, serial string) (Disk, error) {
	name, err := s.namespace(serial)
	if err != nil {
		return Disk{}, err
	}
	d := Disk{Path: filepath.Join(s.Dev, name), Name: name, Serial: serial}
	if err := s.describe(&d); err != nil {
		return Disk{}, fmt.Errorf("serial %s: %w: %w", serial, ErrAbsent, err)
	}
	ask := s.identify
	if ask == nil {
		ask = askDevice
	}
	id, err := identifyPath(ctx, d.Path, ask)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV):
		return Disk{}, fmt.Errorf("serial %s: %w: %w", serial, ErrAbsent, err)
	case err != nil:
		return Disk{}, fmt.Errorf("cannot identify the disk with serial %s: %w", serial, err)
	case id.serial != serial:
		return Disk{}, fmt.Errorf("sysfs gives %s the serial %s, the disk itself says %q", d.Path, serial, id.serial)
	case id.major != d.Major || id.minor != d.Minor:
		return Disk{}, fmt.Errorf("%s is device %d:%d, not %d:%d as sysfs says of the disk with serial %s",
			d.Path, id.major, id.minor, d.Major, d.Minor, serial)
	}
	d.Model = id.model
	d.Link = s.link(d)
	return d, nil
}

// Serials returns the serial numbers of all NVMe controllers that are there, each once.
func (s System) Serials() ([]string, error) {
	dir := filepath.Join(s.Sys, "class/nvme")
	controllers, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []string
	for _, c := range controllers {
		path := filepath.Join(dir, c.Name())
		if serial := readLine(path, "serial"); serial != "" && !leaving(readLine(path, "state")) {
			all = append(all, serial)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// The block device of a namespace is below its controller in sysfs. With multipath
// it is hidden there, as nvme0c1n1 (subsystem 0, controller 1, namespace 1), and
// the disk to use is nvme0n1 of the subsystem.
var (
	namespaceName = regexp.MustCompile(`^nvme[0-9]+n[0-9]+$`)
	hiddenName    = regexp.MustCompile(`^(nvme[0-9]+)c[0-9]+(n[0-9]+)$`)
)

// namespace returns the kernel's name of the disk that has a serial number. With
// multipath several controllers lead to it.
func (s System) namespace(serial string) (string, error) {
	if serial == "" {
		return "", errors.New("cannot look for a disk without a serial number")
	}
	dir := filepath.Join(s.Sys, "class/nvme")
	controllers, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var disks []string
	seen := false
	for _, c := range controllers {
		path := filepath.Join(dir, c.Name())
		// A controller that is being pulled may still be listed beside the one
		// that the same disk came back under.
		if readLine(path, "serial") != serial || leaving(readLine(path, "state")) {
			continue
		}
		seen = true
		own, err := s.namespacesOf(path)
		if err != nil {
			return "", err
		}
		if len(own) > 1 {
			return "", &NamespacesError{Serial: serial, Controller: c.Name(), Disks: s.nodes(own)}
		}
		disks = append(disks, own...)
	}
	slices.Sort(disks)
	disks = slices.Compact(disks)
	switch {
	case len(disks) == 1:
		return disks[0], nil
	case len(disks) > 1:
		return "", &DuplicateError{Serial: serial, Disks: s.nodes(disks)}
	case seen:
		return "", fmt.Errorf("serial %s: its NVMe controller has no disk yet: %w", serial, ErrAbsent)
	}
	return "", fmt.Errorf("serial %s: no NVMe controller reports it: %w", serial, ErrAbsent)
}

// leaving tells whether a controller in this state goes away for good. The states
// are those of linux/drivers/nvme/host/sysfs.c.
func leaving(state string) bool {
	return state == "dead" || strings.HasPrefix(state, "deleting")
}

func (s System) namespacesOf(controller string) ([]string, error) {
	entries, err := os.ReadDir(controller)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // pulled meanwhile
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if m := hiddenName.FindStringSubmatch(name); m != nil {
			name = m[1] + m[2]
		} else if !namespaceName.MatchString(name) {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.Sys, "block", name)); err == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (s System) nodes(names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(s.Dev, name)
	}
	return paths
}

// describe fills in what sysfs knows of a disk.
func (s System) describe(d *Disk) error {
	dir := filepath.Join(s.Sys, "block", d.Name)
	sectors, err := strconv.ParseInt(readLine(dir, "size"), 10, 64)
	if err != nil || sectors <= 0 {
		return fmt.Errorf("%s has no size yet", d.Path)
	}
	d.Size = Bytes(sectors * 512) // sysfs counts in 512 bytes, whatever the disk's blocks
	if _, err := fmt.Sscanf(readLine(dir, "dev"), "%d:%d", &d.Major, &d.Minor); err != nil {
		return fmt.Errorf("%s has no device number yet", d.Path)
	}
	d.Seq, _ = strconv.ParseUint(readLine(dir, "diskseq"), 10, 64)
	return nil
}

// readLine returns a sysfs attribute without its padding, and "" if there is none,
// as while the disk is being pulled.
func readLine(dir, attr string) string {
	b, err := os.ReadFile(filepath.Join(dir, attr))
	if err != nil {
		return ""
	}
	return strings.Trim(string(b), " \n\x00")
}

// link returns the link in /dev/disk/by-id that udev makes for a disk, whatever
// number the disk has. 60-persistent-storage.rules of systemd makes
// nvme-MODEL_SERIAL and nvme-MODEL_SERIAL_NSID, amazon-ec2-utils adds
// nvme-MODEL_SERIAL-ns-NSID. Links can be stale or late: a link counts only if it
// leads to this disk now.
func (s System) link(d Disk) string {
	dir := filepath.Join(s.Dev, "disk/by-id")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	node, err := filepath.EvalSymlinks(d.Path)
	if err != nil {
		return ""
	}
	best, bestRank := "", 0
	for _, e := range entries {
		rank := linkRank(e.Name(), d.Serial)
		if rank == 0 || best != "" && rank >= bestRank {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if to, err := filepath.EvalSymlinks(path); err == nil && to == node {
			best, bestRank = path, rank
		}
	}
	return best
}

// linkRank returns the rank of a link whose name has the serial number, 1 for the
// best, and 0 for any other link.
func linkRank(link, serial string) int {
	rest, ok := strings.CutPrefix(link, "nvme-")
	if !ok {
		return 0
	}
	_, after, ok := strings.Cut(rest, "_"+udevEscape(serial))
	switch {
	case !ok:
		return 0
	case after == "":
		return 1
	case strings.HasPrefix(after, "_"):
		return 2
	case strings.HasPrefix(after, "-ns-"):
		return 3
	}
	return 0 // another serial number, which begins with this one
}

// udevEscape does what OPTIONS="string_escape=replace" of udev(7) does.
func udevEscape(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("#+-.:=@_", r)) {
			return r
		}
		return '_'
	}, s)
}

const (
	// pollEvery is how often to look although there are uevents. The kernel
	// reports when it drops some.
	pollEvery = 10 * time.Second

	// pollBlind is how often to look if there are no uevents.
	pollBlind = time.Second

	// linkWithin is how long udev may take to make the link. It takes
	// milliseconds, and seconds under the load of a boot.
	linkWithin = 30 * time.Second
)

// WaitFor returns the disk with a serial number as soon as it is there and udev
// has made its Link, for which systemd waits if a mount unit names it. It waits
// until the context ends; then the error wraps the cause of the context. The error
// wraps ErrNoLink if the disk is there and udev made no link for 30 seconds. A
// *DuplicateError or a *NamespacesError of Find is returned at once.
func (s System) WaitFor(ctx context.Context, serial string) (Disk, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := Listen(ctx)
	if err != nil {
		events = nil // without uevents, look often
	}
	return s.waitFor(ctx, serial, events)
}

func (s System) waitFor(ctx context.Context, serial string, events <-chan Event) (Disk, error) {
	var seen time.Time // when the disk was first there, without a link
	for {
		d, err := s.Find(ctx, serial)
		switch {
		case err == nil && d.Link != "":
			return d, nil
		case err == nil && seen.IsZero():
			seen = time.Now()
		case err == nil && time.Since(seen) >= linkWithin:
			return d, s.noLink(d, seen)
		case err != nil && !worthWaiting(err):
			return Disk{}, err
		case err != nil:
			seen = time.Time{}
		}
		every := pollEvery
		if events == nil {
			every = pollBlind
		}
		select {
		case _, ok := <-events:
			if !ok {
				events = nil
			}
			drain(events)
		case <-time.After(every):
		case <-ctx.Done():
			if err == nil {
				err = s.noLink(d, seen)
			}
			return Disk{}, fmt.Errorf("%w (gave up: %w)", err, context.Cause(ctx))
		}
	}
}

func (s System) noLink(d Disk, since time.Time) error {
	return fmt.Errorf("udev has not made a link to %s (serial %s) in %s for %s: %w; see what udevadm info %s and systemctl status systemd-udevd say",
		d.Path, d.Serial, filepath.Join(s.Dev, "disk/by-id"), time.Since(since).Round(time.Second), ErrNoLink, d.Path)
}

// worthWaiting tells whether an error of Find may go away without a person.
func worthWaiting(err error) bool {
	var duplicate *DuplicateError
	var namespaces *NamespacesError
	return !errors.As(err, &duplicate) && !errors.As(err, &namespaces)
}

// drain takes the events that are there already: one search answers all of them.
func drain(events <-chan Event) {
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		default:
			return
		}
	}
}
