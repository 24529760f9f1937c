// Package name knows what names look like in AWS: the IDs of EBS volumes, the
// keys and values of tags, the names of buckets and the keys of objects. It
// asks nobody.
//
// The errors of its checks continue after the name of what is checked and a
// colon, as in "tag cluster: empty". They never quote the value, which may come
// from user-data.
package name

import (
	"errors"
	"fmt"
	"strings"
)

var errEmpty = errors.New("empty")

// A VolumeID is the ID of an EBS volume: vol- and 17 hexadecimal digits, or 8
// in the older ones.
type VolumeID string

// VolumeIDForm says in words what a volume ID looks like.
const VolumeIDForm = "vol- and 8 or 17 hexadecimal digits"

// ParseVolumeID returns the volume ID that a text is.
func ParseVolumeID(text string) (VolumeID, error) {
	digits, dashed := strings.CutPrefix(text, "vol-")
	switch lower := strings.ToLower(text); {
	case dashed && isNumber(digits):
		return VolumeID(text), nil
	case text == "":
		return "", errEmpty
	case strings.HasPrefix(text, "vol") && isNumber(text[3:]):
		return "", fmt.Errorf("a serial number, not a volume ID: a volume ID has a dash after vol")
	case lower != text && strings.HasPrefix(lower, "vol-") && isNumber(lower[4:]):
		return "", fmt.Errorf("not an EBS volume ID: use lower-case letters")
	}
	return "", fmt.Errorf("not an EBS volume ID: %s", VolumeIDForm)
}

// isNumber tells whether a text is the number of a volume ID.
func isNumber(digits string) bool { return (len(digits) == 8 || len(digits) == 17) && isHex(digits) }

func isHex(text string) bool { return strings.Trim(text, "0123456789abcdef") == "" }

// CheckVolumeIDPart refuses a text that can't be part of a volume ID, the rest
// of which is not known yet.
func CheckVolumeIDPart(text string) error {
	if len(text) > len("vol-")+17 || strings.Trim(text, "vol-0123456789abcdef") != "" {
		return fmt.Errorf("not part of an EBS volume ID: %s", VolumeIDForm)
	}
	return nil
}

// Serial returns the serial number that the NVMe disk of the volume reports:
// the ID without its dash (Amazon EBS User Guide, "Map Amazon EBS volumes to
// NVMe device names").
func (id VolumeID) Serial() string { return strings.Replace(string(id), "-", "", 1) }

// VolumeOfSerial returns the ID of the EBS volume whose disk reports a serial
// number. It is false for the serial numbers of other disks.
func VolumeOfSerial(serial string) (VolumeID, bool) {
	digits, is := strings.CutPrefix(serial, "vol")
	if !is || !isNumber(digits) {
		return "", false
	}
	return VolumeID("vol-" + digits), true
}
