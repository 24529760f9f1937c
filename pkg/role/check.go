package role

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"bootagent/pkg/unit"
)

// The checks of this file give an error that goes on from the name of what is
// wrong: "serial" + " is empty". None of them quotes the value, which may come
// from the user-data.

// A name is a text of certain characters, up to a length in bytes. That is no
// part of the pattern, since a bounded repetition takes a millisecond to
// compile, and every program that reads roles pays for it as it starts.
type name struct {
	chars *regexp.Regexp
	most  int
}

func (n name) fits(text string) bool { return len(text) <= n.most && n.chars.MatchString(text) }

// checkUnit refuses what is no unit of one of the types, and what must not wait
// for the agent.
func checkUnit(name string, types ...string) error {
	if !slices.Contains(types, path.Ext(name)) {
		return fmt.Errorf("has to end in %s", strings.Join(types, ", "))
	}
	return unit.MayHold(name)
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
	case len(unit.MountAt(p)) > unit.MaxName:
		return fmt.Errorf("is too long: systemd has no name of %d characters for a mount there", unit.MaxName)
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
var dirName = name{regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.+@:-]*$`), 128}

// checkDir refuses what is not the name of one directory for data.
func checkDir(dir string) error {
	switch {
	case dir == "lost+found":
		return fmt.Errorf("can't be lost+found, which belongs to the filesystem")
	case !dirName.fits(dir):
		return fmt.Errorf("has to be the name of one directory: letters, digits and _ . + @ : -, beginning with a letter, digit or _")
	}
	return nil
}

// userName is a user name as systemd takes it everywhere
// (https://systemd.io/USER_NAMES).
var userName = name{regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_-]*$`), 31}

func checkOwner(owner string) error {
	if !userName.fits(owner) {
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

// volumeID is the id of an EBS volume; the older ones have 8 digits.
var volumeID = regexp.MustCompile(`^vol-([0-9a-f]{8}|[0-9a-f]{17})$`)

const howID = "vol- and 8 or 17 hexadecimal digits"

// checkID refuses what is no id of an EBS volume.
func checkID(id string) error {
	switch {
	case volumeID.MatchString(id):
		return nil
	case id == "":
		return fmt.Errorf("is empty")
	case volumeID.MatchString("vol-" + strings.TrimPrefix(id, "vol")):
		return fmt.Errorf("is written as a serial number; an id has a dash after vol")
	}
	return fmt.Errorf("is no id of an EBS volume: %s", howID)
}

// idText is what can be a part of an id, some of which an expansion gives.
var idText = name{regexp.MustCompile(`^[vol0-9a-f-]*$`), 21}

func checkIDText(text string) error {
	if !idText.fits(text) {
		return fmt.Errorf("has what no id of an EBS volume has: %s", howID)
	}
	return nil
}

// How long the key and the value of a tag may be, in characters, and the
// prefix that is kept for AWS, in capitals as well (EC2 User Guide, "Tag your
// Amazon EC2 resources").
const (
	maxTagKey = 128
	maxTag    = 256
	awsTag    = "aws:"
)

// ownTag begins the keys of the tags that bootagent itself writes on a volume.
const ownTag = "bootagent:"

// checkTagKey refuses the keys that no volume can be found by.
func checkTagKey(key string) error {
	length := utf8.RuneCountInString(key)
	lower := strings.ToLower(key)
	switch {
	case key == "":
		return fmt.Errorf("is empty")
	case length > maxTagKey:
		return fmt.Errorf("is too long: %d characters, and EC2 allows %d", length, maxTagKey)
	case strings.HasPrefix(lower, awsTag):
		return fmt.Errorf("can't begin with %s, which AWS keeps for itself", awsTag)
	case strings.HasPrefix(lower, ownTag):
		return fmt.Errorf("can't begin with %s: bootagent writes those itself, on the volume that it found", ownTag)
	}
	return checkTagText(key)
}

// checkTag refuses the values that no volume can be found by. An empty one
// is most likely what an expansion left of a tag.
func checkTag(value string) error {
	if value == "" {
		return fmt.Errorf("is empty")
	}
	return checkTagText(value)
}

// checkTagText refuses what can't even be a part of a tag. What a filter of
// EC2 takes for more than a letter is refused, though EC2 allows it in tags
// (EC2 API Reference, "Filter").
func checkTagText(text string) error {
	switch length := utf8.RuneCountInString(text); {
	case strings.ContainsAny(text, `*?\`):
		return fmt.Errorf(`may not hold * ? \, which EC2 would take for wildcards, and more than one volume for the one`)
	case !printable(text):
		return fmt.Errorf("may hold printable characters and spaces only")
	case length > maxTag:
		return fmt.Errorf("is too long: %d characters, and EC2 allows %d", length, maxTag)
	}
	return nil
}

// The schemes of the sources of secrets.
const (
	s3Scheme   = "s3://"
	fileScheme = "file://"
)

// bucketName is a general purpose bucket, which may look like a name of the
// DNS but not like an address (Amazon S3 User Guide, "General purpose bucket
// naming rules"). The names that S3 keeps for itself are left to S3.
var (
	bucketName    = name{regexp.MustCompile(`^[a-z0-9][a-z0-9.-]+[a-z0-9]$`), 63}
	bucketAddress = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$`)
)

func checkBucket(bucket string) error {
	switch {
	case strings.Contains(bucket, "$"):
		return fmt.Errorf("can't have an expansion ${...} in it; the key of the object can")
	case !bucketName.fits(bucket):
		return fmt.Errorf("has to be named as S3 wants it: 3 to 63 small letters, digits, dots and dashes, the first and last a letter or digit")
	case strings.Contains(bucket, ".."):
		return fmt.Errorf("can't have two dots in a row, says S3")
	case bucketAddress.MatchString(bucket):
		return fmt.Errorf("can't look like an IP address, says S3")
	}
	return nil
}

// maxKey is how long the key of an object may be, in bytes (Amazon S3 User
// Guide, "Naming Amazon S3 objects").
const maxKey = 1024

// checkKey refuses what is no key of one object.
func checkKey(key string) error {
	for element := range strings.SplitSeq(key, "/") {
		switch {
		case key == "":
			return fmt.Errorf("is empty")
		case element == "":
			return fmt.Errorf("has an empty element: it begins or ends with /, or has // in it")
		case element == "." || element == "..":
			return fmt.Errorf("has %s for an element, which leads elsewhere where it is taken for a path", element)
		}
	}
	return checkKeyText(key)
}

// checkKeyText refuses what can't even be a part of a key. Wildcards may stand
// in one, but where the least policy for a role names it, they would allow
// more than the one object.
func checkKeyText(text string) error {
	switch {
	case strings.ContainsAny(text, "*?"):
		return fmt.Errorf("may not hold * ?, which a policy of IAM would take for wildcards")
	case !printable(text):
		return fmt.Errorf("may hold printable characters and spaces only")
	case len(text) > maxKey:
		return fmt.Errorf("is too long: %d bytes, and S3 allows %d", len(text), maxKey)
	}
	return nil
}

// maxPath is Linux's PATH_MAX less the terminating zero.
const maxPath = 4095

// checkFile refuses what is no path of a file.
func checkFile(p string) error {
	switch {
	case strings.Contains(p, "$"):
		return fmt.Errorf("can't have an expansion ${...} in it; the key of an object of S3 can")
	case !path.IsAbs(p):
		return fmt.Errorf("has to be absolute: %s and the path, with its own / at the beginning", fileScheme)
	case path.Clean(p) != p || p == "/":
		return fmt.Errorf("has to be that of a file, written without . and .., doubled / or a / at the end")
	case !pathChars.MatchString(p):
		return fmt.Errorf("may have letters, digits and / _ . + @ : - only")
	case len(p) > maxPath:
		return fmt.Errorf("is too long: %d characters, and Linux allows %d", len(p), maxPath)
	}
	return nil
}

// credentialName is what a credential can be called: less than systemd allows
// (credential_name_valid), so that it is a word in a unit file and not hidden
// as a file.
var credentialName = name{regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*$`), 64}

func checkCredential(name string) error {
	if !credentialName.fits(name) {
		return fmt.Errorf("is no name of a credential: letters, digits and _ . -, beginning with a letter, digit or _, 64 at the most")
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
	case !printable(value):
		return fmt.Errorf("may hold printable characters and spaces only")
	}
	return nil
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
