// Package syntax knows what names look like on the machine: paths, users,
// directories, credentials of systemd and serial numbers of disks. It looks at
// no machine.
//
// The errors of its checks continue after the name of what is checked and a
// colon, as in "owner: a user's number". They never quote the value.
package syntax

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/unit"
)

var errEmpty = errors.New("must not be empty")

// A name is a text of certain characters, up to a length in bytes. The length
// is not part of the pattern: a bounded repetition takes a millisecond to
// compile, and every program that reads roles would take it at its start.
type name struct {
	pattern *regexp.Regexp
	most    int
}

func (n name) fits(text string) bool { return len(text) <= n.most && n.pattern.MatchString(text) }

// pathChars are the characters that a path may have: those that need no
// quoting in a unit, a command or a table of mounts.
var pathChars = regexp.MustCompile(`^[a-zA-Z0-9/_.+@:-]+$`)

// maxPath is Linux's PATH_MAX without the terminating zero.
const maxPath = 4095

// CheckPath refuses a text that is not an absolute path without detours, or
// that would need quoting.
func CheckPath(p string) error {
	switch {
	case !path.IsAbs(p):
		return fmt.Errorf("not an absolute path")
	case path.Clean(p) != p:
		return fmt.Errorf("write the path without . and .., double slashes and a slash at the end: %s", path.Clean(p))
	case !pathChars.MatchString(p):
		return fmt.Errorf("only letters, digits and / _ . + @ : - are allowed in a path")
	case len(p) > maxPath:
		return fmt.Errorf("too long: %d characters; Linux allows %d", len(p), maxPath)
	}
	return nil
}

// reserved are the directories that hold the system itself. A mount there, or
// below, hides it or is hidden by it; the links to /usr are among them, as a
// mount there goes elsewhere than it says.
var reserved = []string{
	"/proc", "/sys", "/dev", "/run", "/etc", "/usr", "/boot",
	"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
}

// state is where bootagent keeps its own files, which no mount may hide.
const state = "/var/lib/bootagent"

// CheckMountPoint refuses a path where nothing may be mounted.
func CheckMountPoint(p string) error {
	if err := CheckPath(p); err != nil {
		return err
	}
	switch {
	case p == "/":
		return fmt.Errorf("/ is not allowed")
	case len(unit.MountAt(p)) > unit.MaxName:
		return fmt.Errorf("too long: the name of its mount unit would have more than %d characters", unit.MaxName)
	case Overlap(p, state):
		return fmt.Errorf("bootagent keeps its state in %s; choose a path that is neither in it nor above it", state)
	}
	for _, r := range reserved {
		if within(p, r) {
			return fmt.Errorf("%s belongs to the system; choose a path outside of it", r)
		}
	}
	return nil
}

// within reports whether a clean path is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// Overlap reports whether one of two clean paths is the other or below it.
func Overlap(a, b string) bool { return within(a, b) || within(b, a) }

// A Place is a path that something is mounted on, and what: `the mount point
// of volume "data"`.
type Place struct{ Path, What string }

// Apart refuses a clean path that overlaps one of others.
func Apart(path string, others []Place) error {
	for _, other := range others {
		switch {
		case path == other.Path:
			return fmt.Errorf("this is also %s", other.What)
		case within(path, other.Path):
			return fmt.Errorf("this is below %s, %s", other.What, other.Path)
		case within(other.Path, path):
			return fmt.Errorf("this is above %s, %s", other.What, other.Path)
		}
	}
	return nil
}

// dirName is a directory that data may be in. Names that begin with a dot are
// bootagent's own unfinished work.
var dirName = name{regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.+@:-]*$`), 128}

// CheckDir refuses a text that is not the name of one directory of a volume
// that data may be in.
func CheckDir(dir string) error {
	switch {
	case slices.Contains([]string{".", "/", "./"}, dir):
		return fmt.Errorf("data can't be the root of the volume, which also holds lost+found; name a directory below it, such as mysql, and bind it to where the engine looks")
	case dir == "lost+found":
		return fmt.Errorf("lost+found belongs to the filesystem; name another directory")
	case strings.HasPrefix(dir, "/"):
		return fmt.Errorf("a path; write the name of one directory of the volume, such as mysql")
	case !dirName.fits(dir):
		return fmt.Errorf("not the name of one directory: letters, digits and _ . + @ : -, beginning with a letter, digit or _, at most %d", dirName.most)
	}
	return nil
}

// userName is a user name that systemd accepts everywhere
// (https://systemd.io/USER_NAMES).
var userName = name{regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_-]*$`), 31}

// CheckUser refuses a text that is not the name of a user.
func CheckUser(owner string) error {
	user, _, group := strings.Cut(owner, ":")
	switch {
	case userName.fits(owner):
		return nil
	case owner != "" && strings.Trim(owner, "0123456789") == "":
		return fmt.Errorf("a user's number; write the user's name, such as mysql")
	case group && userName.fits(user):
		return fmt.Errorf("a user and a group; write the user's name alone")
	}
	return fmt.Errorf("not the name of a user: letters, digits, _ and -, beginning with a letter or _, at most %d", userName.most)
}

// CheckGroup refuses a text that is not the name of a group.
func CheckGroup(group string) error {
	switch {
	case userName.fits(group):
		return nil
	case group != "" && strings.Trim(group, "0123456789") == "":
		return fmt.Errorf("a group's number; write the group's name, such as mysql")
	}
	return fmt.Errorf("not the name of a group: letters, digits, _ and -, beginning with a letter or _, at most %d", userName.most)
}

// credentialName is what a credential can be called: less than systemd allows
// (credential_name_valid), so that it is a word in a unit file and not hidden
// as a file.
var credentialName = name{regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$`), 64}

// CheckCredential refuses a text that is not the name of a credential.
func CheckCredential(text string) error {
	if !credentialName.fits(text) {
		return fmt.Errorf("not the name of a credential: letters, digits and _ . -, beginning with a letter, digit or _, at most %d", credentialName.most)
	}
	return nil
}

// maxSerial is the length of the field in which an NVMe controller reports its
// serial number (NVMe base specification, identify controller, SN).
const maxSerial = 20

// CheckSerial refuses a text that can't be the serial number of a disk, or
// can't be part of the name of a link below /dev/disk/by-id.
func CheckSerial(serial string) error {
	switch {
	case serial == "":
		return errEmpty
	case strings.HasPrefix(serial, "vol-"):
		return fmt.Errorf("a volume ID, not a serial number: the serial number of an EBS volume has no dash after vol")
	case strings.HasPrefix(serial, "/dev/"):
		return fmt.Errorf("a device path, not a serial number: device paths change from boot to boot")
	}
	return CheckSerialPart(serial)
}

// uuid is a UUID as blkid(8) and mkfs print it.
var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// CheckUUID refuses a text that can't be the UUID of a filesystem.
func CheckUUID(text string) error {
	switch {
	case text == "":
		return errEmpty
	case uuid.MatchString(strings.ToLower(text)) && !uuid.MatchString(text):
		return fmt.Errorf("a UUID is written in lower case, as blkid prints it")
	case !uuid.MatchString(text):
		return fmt.Errorf("not a UUID such as 0f0b9c3e-7d1f-4b64-8f4e-5b8a3f1b2c3d, as blkid prints it")
	}
	return nil
}

// CheckUUIDPart refuses a text that can't be part of a UUID.
func CheckUUIDPart(text string) error {
	if strings.Trim(text, "0123456789abcdef-") != "" {
		return fmt.Errorf("a UUID has only the characters 0 to 9, a to f and - in it")
	}
	return nil
}

// maxLabel is how long the label of a filesystem may be, in bytes: that of ext4,
// mke2fs(8). XFS has 12.
const maxLabel = 16

// CheckLabel refuses a text that can't be the label of a filesystem that a role
// names.
func CheckLabel(label string) error {
	if label == "" {
		return errEmpty
	}
	return CheckLabelPart(label)
}

// CheckLabelPart refuses a text that can't be part of a label.
func CheckLabelPart(text string) error {
	for _, r := range text {
		if r <= ' ' || r > '~' || strings.ContainsRune(`*?$\{}"'`+"`", r) {
			return fmt.Errorf(`only printable ASCII characters are allowed, without spaces, quotes and * ? $ \ { }`)
		}
	}
	if len(text) > maxLabel {
		return fmt.Errorf("too long: %d characters; the label of a filesystem has at most 16 (ext4) or 12 (XFS)", len(text))
	}
	return nil
}

// CheckSerialPart refuses a text that can't be part of a serial number.
func CheckSerialPart(text string) error {
	for _, r := range text {
		if r <= ' ' || r > '~' || strings.ContainsRune(`/*?$\{}"'`+"`", r) {
			return fmt.Errorf(`only printable ASCII characters are allowed, without spaces, quotes and / * ? $ \ { }`)
		}
	}
	switch {
	case strings.Contains(text, ".."):
		return fmt.Errorf(".. is not allowed")
	case len(text) > maxSerial:
		return fmt.Errorf("too long: %d characters; the serial number of an NVMe disk has at most %d", len(text), maxSerial)
	}
	return nil
}
