package name

import (
	"fmt"
	"regexp"
	"strings"
)

// Slot is what two device names of EC2 have in common that can't be used side by
// side: to a Xen guest /dev/sdf is /dev/xvdf, and partitions are of their disk.
func Slot(device string) string {
	device = strings.TrimPrefix(device, "/dev/")
	for _, prefix := range []string{"xvd", "sd", "hd"} {
		if rest, ok := strings.CutPrefix(device, prefix); ok {
			return strings.TrimRight(rest, "0123456789")
		}
	}
	return device
}

// DevicePattern is a regular expression of the device names by which EC2 attaches
// volumes other than the root.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/device_naming.html
const DevicePattern = `^/dev/(sd[b-z]|xvd[b-z]|xvd[b-d][a-z])$`

var devices = regexp.MustCompile(DevicePattern)

// CheckDevice refuses a text that can't be the device name of a volume in a block
// device mapping, and those of the root volume.
func CheckDevice(device string) error {
	switch {
	case device == "":
		return errEmpty
	case devices.MatchString(device):
		return nil
	case Slot(device) == "a":
		return fmt.Errorf("a device name of the root volume")
	case strings.HasPrefix(device, "/dev/nvme"):
		return fmt.Errorf("a name that Linux gives, not the device name of a block device mapping, such as /dev/sdf")
	}
	return fmt.Errorf("not a device name of EC2: /dev/sdb to /dev/sdz, or /dev/xvdb to /dev/xvdz")
}
