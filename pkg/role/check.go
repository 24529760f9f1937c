package role

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The checks of this file give an error that goes on from the name of what is
// wrong: "serial" + " is empty". None of them quotes the value, which may come
// from the user-data.

// maxUnitName is the longest name of a unit (systemd.unit(5)); maxHeldName is
// the longest of one that is held, whose grant has a name that is longer.
const (
	maxUnitName = 255
	maxHeldName = maxUnitName - len("bootagent-grant-")
)

// unitChars are the characters of a unit name without its type, by
// systemd.unit(5); an @ separates a template from its instance.
var unitChars = regexp.MustCompile(`^[a-zA-Z0-9:_.\\@-]+$`)

// heldTypes are the types of units that can be held without holding up the
// boot itself: a target or a mount orders too much else.
var heldTypes = []string{".service", ".socket", ".timer", ".path"}

// checkUnit refuses what is no unit of one of the types that systemd can
// start, and what must not wait for the agent.
func checkUnit(unit string, types ...string) error {
	kind := path.Ext(unit)
	name := strings.TrimSuffix(unit, kind)
	template, instance, isInstance := strings.Cut(name, "@")
	switch {
	case !slices.Contains(types, kind):
		return fmt.Errorf("has to end in %s", strings.Join(types, ", "))
	case len(unit) > maxHeldName:
		return fmt.Errorf("is too long: %d characters, and there may be %d, so that systemd can name its grant", len(unit), maxHeldName)
	case !unitChars.MatchString(name) || template == "":
		return fmt.Errorf(`is no name of a unit: systemd allows letters, digits and : - _ . \ @, and no @ at the beginning`)
	case isInstance && instance == "":
		return fmt.Errorf("is a template, and no template is ever started; name its instance, such as %s@main%s", template, kind)
	case template == "bootagent" || strings.HasPrefix(template, "bootagent-"):
		return fmt.Errorf("is one of bootagent's own units, which can't wait for themselves")
	case strings.HasPrefix(template, "systemd-") || template == "dbus" || template == "dbus-broker":
		return fmt.Errorf("is a unit that bootagent itself needs at boot, so it can't wait for bootagent")
	}
	return nil
}

// reserved are the directories that hold the system itself. A mount there, or
// below, hides it or is hidden by it; the links to /usr are not in it as a
// mount there goes elsewhere than it says.
var reserved = []string{
	"/proc", "/sys", "/dev", "/run", "/etc", "/usr", "/boot",
	"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
}

// state is where bootagent keeps its own files, which no mount may hide.
const state = "/var/lib/bootagent"

// pathChars are the characters that a path may have: those that need no
// quoting in a unit, a command or a table of mounts.
var pathChars = regexp.MustCompile(`^[a-zA-Z0-9/_.+@:-]+$`)

// checkMountPoint refuses a path where nothing may be mounted.
func checkMountPoint(p string) error {
	switch {
	case !path.IsAbs(p):
		return fmt.Errorf("has to be an absolute path")
	case path.Clean(p) != p:
		return fmt.Errorf("has to be written without . and .., doubled / or a / at the end: %s", path.Clean(p))
	case p == "/":
		return fmt.Errorf("can't be /")
	case !pathChars.MatchString(p):
		return fmt.Errorf("may have letters, digits and / _ . + @ : - only")
	case mountUnitLength(p) > maxUnitName:
		return fmt.Errorf("is too long: systemd has no name of %d characters for a mount there", maxUnitName)
	case overlap(p, state):
		return fmt.Errorf("would hide or be in %s, where bootagent keeps its own state", state)
	}
	for _, r := range reserved {
		if within(p, r) {
			return fmt.Errorf("can't be %s or below it, which belongs to the system", r)
		}
	}
	return nil
}

// mountUnitLength is how long the name of the mount unit for a path is: / is
// written as -, and what is neither letter, digit nor one of : _ . as \x2d
// (systemd-escape(1)).
func mountUnitLength(p string) int {
	length := len(p) - len("/") + len(".mount")
	for _, special := range []string{"-", "+", "@"} {
		length += strings.Count(p, special) * (len(`\x2d`) - 1)
	}
	return length
}

// within reports whether a clean path is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// overlap reports whether one of two clean paths is the other or below it.
func overlap(a, b string) bool { return within(a, b) || within(b, a) }

// lies says how a path lies to one that it overlaps.
func lies(p, other string) string {
	switch {
	case p == other:
		return "is also"
	case within(p, other):
		return "is below"
	}
	return "is above"
}

// dirName is a directory that data may be in. A name that begins with a dot
// is left to what is not data: bootagent's own unfinished work.
var dirName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.+@:-]{0,127}$`)

// checkDir refuses what is not the name of one directory for data.
func checkDir(dir string) error {
	switch {
	case dir == "lost+found":
		return fmt.Errorf("can't be lost+found, which belongs to the filesystem")
	case !dirName.MatchString(dir):
		return fmt.Errorf("has to be the name of one directory: letters, digits and _ . + @ : -, beginning with a letter, digit or _")
	}
	return nil
}

// userName is a user name as systemd takes it everywhere
// (https://systemd.io/USER_NAMES).
var userName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_-]{0,30}$`)

func checkOwner(owner string) error {
	if !userName.MatchString(owner) {
		return fmt.Errorf("has to be the name of a user, not a number: letters, digits, _ and -, 31 at the most")
	}
	return nil
}

// maxSerial is the length of the field in which an NVMe controller tells its
// serial number (NVMe base specification, identify controller, SN).
const maxSerial = 20

// checkSerial refuses what no disk can have as its serial number, and what
// can't stand in the name of a link below /dev/disk/by-id.
func checkSerial(serial string) error {
	switch {
	case serial == "":
		return fmt.Errorf("is empty")
	case strings.HasPrefix(serial, "vol-"):
		return fmt.Errorf("is written as a volume id; the disk tells its id without the dash: vol and 8 or 17 hexadecimal digits")
	}
	return checkSerialText(serial)
}

// checkSerialText refuses what can't even be a part of a serial number.
func checkSerialText(text string) error {
	for _, r := range text {
		if r <= ' ' || r > '~' || strings.ContainsRune(`/*?$\{}"'`+"`", r) {
			return fmt.Errorf(`may have printable ASCII characters only, without spaces and / * ? $ \ { } and quotes`)
		}
	}
	switch {
	case strings.Contains(text, ".."):
		return fmt.Errorf(`may not hold ".."`)
	case len(text) > maxSerial:
		return fmt.Errorf("is too long: %d characters, and an NVMe disk's serial number has at most %d", len(text), maxSerial)
	}
	return nil
}

// maxParam bounds the value of a parameter, in bytes. A tag of EC2 has 256.
const maxParam = 256

// checkParam refuses the values that no parameter may have, whatever its
// pattern says: a parameter selects, so it can't be made a path or a wildcard.
func checkParam(value string) error {
	for _, no := range []string{"/", "..", "*", "?"} {
		if strings.Contains(value, no) {
			return fmt.Errorf("may not hold %s", no)
		}
	}
	switch {
	case len(value) > maxParam:
		return fmt.Errorf("is too long: %d bytes, and %d are allowed", len(value), maxParam)
	case !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("may hold printable characters and spaces only")
	}
	return nil
}
