package name

import (
	"fmt"
	"strings"
	"testing"
)

func TestNamesOfAWS(t *testing.T) {
	parse := func(text string) error {
		_, err := ParseVolumeID(text)
		return err
	}
	long := func(n int) string { return strings.Repeat("a", n) }
	const (
		notID     = "not an EBS volume ID: vol- and 8 or 17 hexadecimal digits"
		notDevice = "not a device name of EC2: /dev/sdb to /dev/sdz, or /dev/xvdb to /dev/xvdz"
		notBucket = "not a bucket name: 3 to 63 lower-case letters, digits, dots and dashes; the first and the last a letter or digit"
		wildcards = `the characters * ? \ are not allowed: EC2 treats them as wildcards`
		printing  = "only printable characters and spaces are allowed"
		element   = "an element is empty: the key begins or ends with /, or has // in it"
	)
	for _, c := range []struct {
		what  string
		check func(string) error
		text  string
		want  string // "<nil>" unless it is said
	}{
		{"volume", parse, "vol-0123456789abcdef0", ""},
		{"volume", parse, "vol-1234abcd", ""},
		{"volume", parse, "", "must not be empty"},
		{"volume", parse, "vol-", notID},
		{"volume", parse, "vol-123", notID},
		{"volume", parse, "vol-0123456789abcdef0\n", notID},
		{"volume", parse, "snap-0123456789abcdef0", notID},
		{"volume", parse, "/dev/nvme1n1", notID},
		{"volume", parse, "vol-1234ABCD", "not an EBS volume ID: use lower-case letters"},
		{"volume", parse, "vol1234abcd", "a serial number, not a volume ID: a volume ID has a dash after vol"},
		{"part of a volume", CheckVolumeIDPart, "", ""},
		{"part of a volume", CheckVolumeIDPart, "vol-12", ""},
		{"part of a volume", CheckVolumeIDPart, "snap", "not part of an EBS volume ID: vol- and 8 or 17 hexadecimal digits"},
		{"part of a volume", CheckVolumeIDPart, long(21), ""},
		{"part of a volume", CheckVolumeIDPart, long(22), "not part of an EBS volume ID: vol- and 8 or 17 hexadecimal digits"},
		{"device", CheckDevice, "/dev/sdf", ""},
		{"device", CheckDevice, "/dev/sdb", ""},
		{"device", CheckDevice, "/dev/xvdf", ""},
		{"device", CheckDevice, "/dev/xvdba", ""},
		{"device", CheckDevice, "", "must not be empty"},
		{"device", CheckDevice, "/dev/sda", "a device name of the root volume"},
		{"device", CheckDevice, "/dev/sda1", "a device name of the root volume"},
		{"device", CheckDevice, "/dev/xvda", "a device name of the root volume"},
		{"device", CheckDevice, "sdf", notDevice},
		{"device", CheckDevice, "/dev/sdf1", notDevice},
		{"device", CheckDevice, "/dev/sdaa", notDevice},
		{"device", CheckDevice, "/dev/sdf\n", notDevice},
		{"device", CheckDevice, "/dev/nvme1n1", "a name that Linux gives, not the device name of a block device mapping, such as /dev/sdf"},
		{"tag key", CheckTagKey, "Name", ""},
		{"tag key", CheckTagKey, "", "must not be empty"},
		{"tag key", CheckTagKey, "aws:x", "begins with aws:, which AWS reserves"},
		{"tag key", CheckTagKey, "AWS:x", "begins with aws:, which AWS reserves"},
		{"tag key", CheckTagKey, "a*", wildcards},
		{"tag key", CheckTagKey, long(128), ""},
		{"tag key", CheckTagKey, strings.Repeat("ä", 129), "too long: 129 characters; EC2 allows 128"},
		{"tag", CheckTagValue, "my orders", ""},
		{"tag", CheckTagValue, "", "must not be empty"},
		{"tag", CheckTagValue, `a\`, wildcards},
		{"tag", CheckTagValue, "a\n", printing},
		{"tag", CheckTagValue, "a\xff", printing},
		{"tag", CheckTagValue, long(256), ""},
		{"tag", CheckTagValue, long(257), "too long: 257 characters; EC2 allows 256"},
		{"bucket", CheckBucket, "my.bucket-1", ""},
		{"bucket", CheckBucket, long(63), ""},
		{"bucket", CheckBucket, long(64), notBucket},
		{"bucket", CheckBucket, "", notBucket},
		{"bucket", CheckBucket, "bb", notBucket},
		{"bucket", CheckBucket, "-bb", notBucket},
		{"bucket", CheckBucket, "bb-", notBucket},
		{"bucket", CheckBucket, "Bucket", notBucket},
		{"bucket", CheckBucket, "bucket_1", notBucket},
		{"bucket", CheckBucket, "buck..et", "not a bucket name: S3 allows no two dots in a row"},
		{"bucket", CheckBucket, "192.168.5.4", "not a bucket name: S3 allows no IP address"},
		{"bucket", CheckBucket, "999.1.1.1", "not a bucket name: S3 allows no IP address"},
		{"key", CheckObjectKey, "a/b c.age", ""},
		{"key", CheckObjectKey, "", "must not be empty"},
		{"key", CheckObjectKey, "/a", element},
		{"key", CheckObjectKey, "a/", element},
		{"key", CheckObjectKey, "a//b", element},
		{"key", CheckObjectKey, "a/../b", ".. is not allowed as an element: as a path it leads elsewhere"},
		{"key", CheckObjectKey, "a*", "the characters * ? are not allowed: an IAM policy treats them as wildcards"},
		{"key", CheckObjectKey, "a\n", printing},
		{"key", CheckObjectKey, long(1024), ""},
		{"key", CheckObjectKey, long(1025), "too long: 1025 bytes; S3 allows 1024"},
	} {
		want := c.want
		if want == "" {
			want = "<nil>"
		}
		if got := fmt.Sprint(c.check(c.text)); got != want {
			t.Errorf("%s %.30q: got %s, want %s", c.what, c.text, got, want)
		}
	}
}

func TestAVolumeIsKnownByTheSerialNumberOfItsDisk(t *testing.T) {
	for serial, id := range map[string]VolumeID{
		"vol0123456789abcdef0": "vol-0123456789abcdef0",
		"vol1234abcd":          "vol-1234abcd",
		"vol-1234abcd":         "",
		"vol1":                 "",
		"QEMU-7":               "",
		"":                     "",
	} {
		got, is := VolumeOfSerial(serial)
		if got != id || is != (id != "") {
			t.Errorf("%q: got %q, %v", serial, got, is)
		}
		if is && got.Serial() != serial {
			t.Errorf("%q has the serial number %q, not %q", got, got.Serial(), serial)
		}
	}
}

func TestTwoNamesOfOneSlotAreTheSame(t *testing.T) {
	for device, want := range map[string]string{
		"/dev/sdf": "f", "sdf": "f", "/dev/xvdf": "f", "xvdf": "f", "/dev/sdf1": "f", "/dev/hdf": "f",
		"/dev/xvdba": "ba", "/dev/sda1": "a", "/dev/xvda": "a", "/dev/nvme1n1": "nvme1n1",
	} {
		if got := Slot(device); got != want {
			t.Errorf("%s: got %q, want %q", device, got, want)
		}
	}
}
