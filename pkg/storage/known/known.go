// Package known tells events of a volume's disk that say something new from those that
// do not.
package known

import (
	"fmt"
	"path"
	"sync"

	"bootagent/pkg/host"
)

// Known is what is known of a volume's disk, by which an event that says
// something new is told from one that does not. The steps of the volume and the
// events of disks both use it.
type Known struct {
	mu     sync.Mutex
	serial string // "" while it is not known which disk is meant
	name   string // of the disk, while it is there
	found  string // how the disk was found
	holds  string // what udev saw on it
}

// Serial is the serial number of the disk that is meant, or "".
func (k *Known) Serial() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.serial
}

// Is says which disk is meant.
func (k *Known) Is(serial string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.serial != serial {
		k.serial, k.name, k.found, k.holds = serial, "", "", ""
	}
}

// Seen says how the disk was found.
func (k *Known) Seen(d host.Disk, there bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note(d, there, err)
}

func (k *Known) note(d host.Disk, there bool, err error) {
	k.name, k.found = "", found(d, there, err)
	if there && err == nil {
		k.name = path.Base(d.Path)
	}
}

// found is all that tells how a disk was found.
func found(d host.Disk, there bool, err error) string {
	switch {
	case err != nil:
		return "error: " + err.Error()
	case !there:
		return "absent"
	}
	return fmt.Sprintf("%+v", d)
}

// Concerns reports whether an event may be about the disk: it says so, or does
// not say which disk it is about.
func (k *Known) Concerns(e host.DiskEvent) (serial string, about bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.serial, k.serial != "" && (e.Serial == "" && (k.name == "" || e.Name == "" || e.Name == k.name) ||
		e.Serial == k.serial || e.Name == k.name && k.name != "")
}

// Change notes how the disk is found now, and says what of that is new, or "".
func (k *Known) Change(serial string, e host.DiskEvent, d host.Disk, there bool, err error) (why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.serial != serial {
		return "" // another volume is meant by now, and its own step finds its disk
	}
	before, now := k.found, found(d, there, err)
	k.note(d, there, err)
	holds := k.holds
	if e.Holds != "" && e.Name == k.name {
		k.holds = e.Holds
	}
	switch {
	case before == "" && now == "absent":
		return "" // no step has looked before, and there is nothing
	case now != before && !there:
		return "disk " + serial + " is gone"
	case now != before:
		return "disk " + serial + " is there, and not as it was"
	case k.holds != holds:
		return "disk " + serial + " holds something else"
	}
	return ""
}
