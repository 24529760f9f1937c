package guard

import (
	"net/netip"
	"path"
	"strings"

	"bootagent/pkg/systemd/unitfile"
)

// MetadataSocket is the socket of systemd-imdsd, which systemd has since version 261.
// It asks the metadata service for any process of root. IPAddressDeny= does not
// apply to processes that use it.
const MetadataSocket = "/run/systemd/io.systemd.InstanceMetadata"

// metadataUnit is the unit of that socket.
const metadataUnit = "systemd-imdsd.socket"

// PassUnit pins the BPF programs that let a service pass the lock of systemd-imdsd,
// see package imdsd. They are in PassDir, and are named after the hooks that
// BPFProgram= attaches them to.
const (
	PassUnit = "bootagent-pass-imds.service"
	PassDir  = "/sys/fs/bpf/bootagent"
)

// PassMark is the firewall mark of the packets that systemd-imdsd asks the metadata
// service with. Where systemd.imds.network=locked is set, systemd-networkd has a
// "prohibit" route to the service, which only marked packets pass
// (systemd-imdsd@.service(8), since 261; IMDS_FWMARK in its sources).
const PassMark = 0x7FFF0815

// MetadataAddresses are the addresses of the metadata service.
func MetadataAddresses() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr(imds4), netip.MustParseAddr(imds6)}
}

// openings returns how a service could reach the metadata service in spite of its
// guard, and what to do about it.
func (t *tree) openings(name string) (openings []string) {
	var addresses, hidden denial
	for _, file := range t.Fragments(name) {
		text, _ := t.Read(file)
		for _, s := range unitfile.Parse(text) {
			if s.Section == "Service" {
				addresses.follow(s, file)
				hidden.followPaths(s, file)
			}
		}
	}
	if a := addresses.allowed; a.file != "" {
		openings = append(openings, a.file+" lets it reach the metadata service: IPAddressAllow="+a.value+
			" has priority over every IPAddressDeny=; remove "+imds4+" and "+imds6+" from what it allows")
	}
	if by := addresses.undoneBy; by != "" {
		openings = append(openings, by+" lets it reach the metadata service: its empty IPAddressDeny= undoes that of the guard; remove that setting")
	}
	if by := hidden.undoneBy; by != "" {
		openings = append(openings, by+" lets it reach the metadata service by "+MetadataSocket+
			": its empty InaccessiblePaths= undoes that of the guard; remove that setting")
	}
	for _, slice := range t.Slices(name) {
		if a := t.allowance(slice); a.file != "" {
			openings = append(openings, a.file+" lets it reach the metadata service: IPAddressAllow="+a.value+" applies to all units in "+slice+
				", where it runs, and has priority over every IPAddressDeny=; remove "+imds4+" and "+imds6+" from what it allows")
		}
	}
	return openings
}

// An allowance is a setting that allows the metadata service.
type allowance struct{ file, value string }

// allowance returns the setting that allows the metadata service to all units of a
// slice. A service has the settings of all slices that contain it, and
// IPAddressAllow= has priority over IPAddressDeny= (systemd.resource-control(5)).
func (t *tree) allowance(slice string) allowance {
	var d denial
	for _, file := range t.Fragments(t.Own(slice)) {
		text, _ := t.Read(file)
		for _, s := range unitfile.Parse(text) {
			if s.Section == "Slice" {
				d.follow(s, file)
			}
		}
	}
	return d.allowed
}

// A denial follows the settings that deny the metadata service through the files of
// a unit, and the settings that undo them.
type denial struct {
	made     bool
	undoneBy string    // the file that undoes it
	allowed  allowance // the setting that allows it all the same, before or after
}

func (d *denial) follow(s unitfile.Setting, file string) {
	switch {
	case s.Key == "IPAddressDeny" && s.Value == "":
		if d.made {
			d.undoneBy = file
		}
	case s.Key == "IPAddressDeny" && covers(s.Value, imds4) && covers(s.Value, imds6):
		d.made, d.undoneBy = true, ""
	case s.Key == "IPAddressAllow" && s.Value == "":
		d.allowed = allowance{}
	case s.Key == "IPAddressAllow" && (covers(s.Value, imds4) || covers(s.Value, imds6)):
		d.allowed = allowance{file, s.Value}
	}
}

// followPaths does the same for the path that is hidden. The second key is the
// setting's former name.
func (d *denial) followPaths(s unitfile.Setting, file string) {
	switch {
	case s.Key != "InaccessiblePaths" && s.Key != "InaccessibleDirectories":
	case s.Value == "":
		if d.made {
			d.undoneBy = file
		}
	case hides(s.Value, MetadataSocket):
		d.made, d.undoneBy = true, ""
	}
}

// hides reports whether a path, or a directory that it is in, is in a list of
// InaccessiblePaths=, each of which may have a prefix (systemd.exec(5)).
func hides(list, name string) bool {
	for word := range strings.FieldsSeq(list) {
		word = path.Clean(strings.TrimLeft(word, "-+"))
		if word == name || strings.HasPrefix(name, strings.TrimSuffix(word, "/")+"/") {
			return true
		}
	}
	return false
}

// covers reports whether an address is in a list of addresses and networks (systemd.resource-control(5),
// "IPAddressAllow=").
func covers(list, address string) bool {
	addr := netip.MustParseAddr(address)
	for word := range strings.FieldsSeq(list) {
		if word == "any" || word == "link-local" && addr.IsLinkLocalUnicast() {
			return true
		}
		if one, err := netip.ParseAddr(word); err == nil && one == addr {
			return true
		}
		if network, err := netip.ParsePrefix(word); err == nil && network.Contains(addr) {
			return true
		}
	}
	return false
}
