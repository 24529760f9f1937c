package name

import (
	"fmt"
	"strings"
)

// CheckBucket refuses a text that can't be the name of a general purpose bucket
// (Amazon S3 User Guide, "General purpose bucket naming rules"). Prefixes and
// suffixes that S3 reserves are left to S3.
func CheckBucket(bucket string) error {
	alnum := func(r rune) bool { return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' }
	strange := func(r rune) bool { return !alnum(r) && r != '.' && r != '-' }
	switch {
	case len(bucket) < 3, len(bucket) > 63, strings.ContainsFunc(bucket, strange),
		!alnum(rune(bucket[0])), !alnum(rune(bucket[len(bucket)-1])):
		return fmt.Errorf("not a bucket name: 3 to 63 lower-case letters, digits, dots and dashes; the first and the last a letter or digit")
	case strings.Contains(bucket, ".."):
		return fmt.Errorf("not a bucket name: S3 allows no two dots in a row")
	}
	if strings.Count(bucket, ".") == 3 && strings.Trim(bucket, ".0123456789") == "" {
		return fmt.Errorf("not a bucket name: S3 allows no IP address")
	}
	return nil
}

// maxObjectKey is the longest key of an object, in bytes (Amazon S3 User Guide,
// "Naming Amazon S3 objects").
const maxObjectKey = 1024

// CheckObjectKey refuses a text that can't be the key of one object of S3, or
// that means something else where it is used as a path or in an IAM policy.
func CheckObjectKey(key string) error {
	if key == "" {
		return errEmpty
	}
	for element := range strings.SplitSeq(key, "/") {
		switch element {
		case "":
			return fmt.Errorf("an element is empty: the key begins or ends with /, or has // in it")
		case ".", "..":
			return fmt.Errorf("%s is not allowed as an element: as a path it leads elsewhere", element)
		}
	}
	switch {
	case strings.ContainsAny(key, "*?"):
		return fmt.Errorf("the characters * ? are not allowed: an IAM policy treats them as wildcards")
	case !printable(key):
		return errPrintable
	case len(key) > maxObjectKey:
		return fmt.Errorf("too long: %d bytes; S3 allows %d", len(key), maxObjectKey)
	}
	return nil
}
