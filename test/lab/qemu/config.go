package qemu

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// A Config describes a machine.
type Config struct {
	Architecture string // "amd64" or "arm64"

	Kernel      string // the file of the kernel; there is no initrd
	CommandLine string // of the kernel
	Console     string // the file to which QEMU appends the output of the serial line

	Disks [Slots]*Disk // nil means that the slot is empty

	// Ports are TCP ports of the guest that clients on this host can reach, at [Process.Addr].
	Ports []int

	// Servers maps addresses that the guest can reach ("169.254.169.254:80") to Unix sockets of this
	// host. The path of a socket may contain letters, digits and - _ . / only. If there are any servers,
	// the guest's network is 169.254.169.0/24; otherwise it is 10.0.2.0/24.
	Servers map[string]string

	// UUID and AssetTag are the firmware's: product_uuid and board_asset_tag in /sys/class/dmi/id. If
	// one is empty, QEMU's default applies.
	UUID, AssetTag string

	Capture string // the file for a pcap(5) of the guest's network; empty means no capture
}

// A computer is what differs between the architectures.
type computer struct {
	program string
	args    []string
	console string // the serial line, as the kernel names it
}

var computers = map[string]computer{
	"amd64": {
		program: "qemu-system-x86_64",
		// Each device less is a driver less that udev loads in emulated time.
		args:    []string{"-machine", "q35,sata=off,smbus=off,vmport=off,hpet=off", "-cpu", "Nehalem"},
		console: "ttyS0",
	},
	"arm64": {
		program: "qemu-system-aarch64",
		// Without the firmware there is no /sys/class/dmi/id. The CPU has all that QEMU emulates; its own
		// way to sign pointers takes less emulated time than the architecture's.
		args:    []string{"-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on", "-bios", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"},
		console: "ttyAMA0",
	},
}

// Console returns the name that the kernel of an architecture has for the serial line.
func Console(architecture string) string { return computers[architecture].console }

// arguments returns QEMU's command line. QEMU's descriptor 3 is the monitor, 4 the line to the guest
// agent.
func (c Config) arguments(servers [Slots]*server) ([]string, error) {
	accel := os.Getenv("BOOTAGENT_LAB_ACCEL")
	if accel == "" {
		accel = "tcg,thread=multi"
	}
	args := append(slices.Clone(computers[c.Architecture].args),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", accel, "-smp", "2", "-m", "1024",
		"-kernel", c.Kernel, "-append", c.CommandLine,
		"-netdev", c.network(), "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci",
		"-chardev", "file,id=console,append=on,path="+escape(c.Console), "-serial", "chardev:console",
		"-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control",
		"-chardev", "socket,id=agent,fd=4", "-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
	)
	if c.Capture != "" {
		args = append(args, "-object", "filter-dump,id=capture,netdev=net,file="+escape(c.Capture))
	}
	if c.UUID != "" {
		// systemd knows EC2 by the vendor of the firmware (40-imds.hwdb).
		args = append(args, "-smbios", "type=0,vendor=Amazon EC2", "-smbios", "type=1,manufacturer=Amazon EC2,uuid="+c.UUID)
	}
	if c.AssetTag != "" {
		args = append(args, "-smbios", "type=2,manufacturer=Amazon EC2,asset="+c.AssetTag)
	}
	for slot, disk := range c.Disks {
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=%s,chassis=%d,slot=%d", portName(slot), slot, slot))
		if disk == nil {
			continue
		}
		blockdev, err := json.Marshal(disk.blockdev(slot, servers[slot]))
		if err != nil {
			return nil, err
		}
		device, err := json.Marshal(disk.device(slot))
		if err != nil {
			return nil, err
		}
		args = append(args, "-blockdev", string(blockdev), "-device", string(device))
	}
	return args, nil
}

// escape doubles commas, which separate QEMU's options.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// network describes the guest's network. The guest reaches its servers and the clients of its ports,
// and nothing else. Each connection to a server starts a socat, because QEMU's own forwarding accepts
// only one connection in the life of the machine.
func (c Config) network() string {
	network := "user,id=net,restrict=on"
	if len(c.Servers) > 0 {
		network += ",net=169.254.169.0/24,host=169.254.169.2,dns=169.254.169.3,dhcpstart=169.254.169.15"
	}
	for _, port := range c.Ports {
		network += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-:%d", port)
	}
	for _, addr := range slices.Sorted(maps.Keys(c.Servers)) {
		network += fmt.Sprintf(",guestfwd=tcp:%s-cmd:socat STDIO UNIX-CONNECT:%s", addr, c.Servers[addr])
	}
	return network
}
