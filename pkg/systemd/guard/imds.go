package guard

import (
	"net/netip"
	"path"
	"strings"

	"bootagent/pkg/unit"
)

// imdsSocket is where systemd-imdsd, which systemd has since version 261, reads
// the metadata service for every process of root that asks it. No address is
// denied to who asks there.
const imdsSocket = "/run/systemd/io.systemd.InstanceMetadata"

// openings tells by what a service could reach the metadata service in spite of
// its guard, and what to do about it.
func (t *tree) openings(name string) (openings []string) {
	var addresses, hidden denial
	for _, file := range t.fragments(name) {
		text, _ := t.root.read(file)
		for _, s := range parse(text) {
			if s.section == "Service" {
				addresses.follow(s, file)
				hidden.followPaths(s, file)
			}
		}
	}
	if a := addresses.allowed; a.file != "" {
		openings = append(openings, a.file+" lets it reach the metadata service: IPAddressAllow="+a.value+
			" outranks every IPAddressDeny=; take "+imds4+" and "+imds6+" out of what it allows")
	}
	if by := addresses.undoneBy; by != "" {
		openings = append(openings, by+" lets it reach the metadata service: its empty IPAddressDeny= takes back what the guard denies; remove that setting")
	}
	if by := hidden.undoneBy; by != "" {
		openings = append(openings, by+" lets it reach the metadata service by "+imdsSocket+
			": its empty InaccessiblePaths= takes back what the guard hides; remove that setting")
	}
	for _, slice := range t.slices(name) {
		if a := t.allowance(slice); a.file != "" {
			openings = append(openings, a.file+" lets it reach the metadata service: IPAddressAllow="+a.value+" is there for all of "+slice+
				", which it runs in, and outranks every IPAddressDeny=; take "+imds4+" and "+imds6+" out of what it allows")
		}
	}
	return openings
}

// An allowance is a setting that allows the metadata service.
type allowance struct{ file, value string }

// allowance gives what allows the metadata service to all of a slice.
func (t *tree) allowance(slice string) allowance {
	var d denial
	for _, file := range t.fragments(t.unit(slice)) {
		text, _ := t.root.read(file)
		for _, s := range parse(text) {
			if s.section == "Slice" {
				d.follow(s, file)
			}
		}
	}
	return d.allowed
}

// slices gives the slice of a service and those that it lies in, up to -.slice:
// what one of them allows is allowed (man systemd.resource-control,
// "IPAddressAllow=": the lists of all are combined, and to allow wins).
func (t *tree) slices(name string) (all []string) {
	slice := defaultSlice(name)
	for _, s := range t.settings(name) {
		if s.section != "Service" || s.key != "Slice" {
			continue
		}
		if value := specify(s.value, name); isSlice(value) { // the last of several counts
			slice = value
		}
	}
	for slice != rootSlice {
		all = append(all, slice)
		slice = parentSlice(slice)
	}
	return append(all, rootSlice)
}

const rootSlice = "-.slice"

// defaultSlice is where a service runs that says nothing of it: instances in a
// slice of their template (unit_set_default_slice).
func defaultSlice(name string) string {
	if unit.Instance(name) == "" && !unit.IsTemplate(name) {
		return "system.slice"
	}
	return "system-" + unit.Escape(unit.Prefix(name)) + ".slice"
}

// isSlice tells whether systemd takes a name as that of a slice.
func isSlice(name string) bool {
	return path.Ext(name) == ".slice" && unit.Valid(name) && !strings.Contains(name, "@")
}

// parentSlice is a.slice for a-b.slice, and -.slice for a.slice.
func parentSlice(slice string) string {
	stem := unit.Stem(slice)
	if dash := strings.LastIndexByte(stem, '-'); dash > 0 {
		return stem[:dash] + ".slice"
	}
	return rootSlice
}

// A denial follows what denies the metadata service through the files of a
// unit, and what takes that back.
type denial struct {
	made     bool
	undoneBy string    // the file that takes it back
	allowed  allowance // what allows it all the same, in whatever order
}

func (d *denial) follow(s setting, file string) {
	switch {
	case s.key == "IPAddressDeny" && s.value == "":
		if d.made {
			d.undoneBy = file
		}
	case s.key == "IPAddressDeny" && covers(s.value, imds4) && covers(s.value, imds6):
		d.made, d.undoneBy = true, ""
	case s.key == "IPAddressAllow" && s.value == "":
		d.allowed = allowance{}
	case s.key == "IPAddressAllow" && (covers(s.value, imds4) || covers(s.value, imds6)):
		d.allowed = allowance{file, s.value}
	}
}

// followPaths does the same for the path that is hidden. The second key is the
// setting's former name.
func (d *denial) followPaths(s setting, file string) {
	switch {
	case s.key != "InaccessiblePaths" && s.key != "InaccessibleDirectories":
	case s.value == "":
		if d.made {
			d.undoneBy = file
		}
	case hides(s.value, imdsSocket):
		d.made, d.undoneBy = true, ""
	}
}

// hides tells whether a path, or a directory that it is in, is in a list of
// InaccessiblePaths=, each of which may have a prefix (man systemd.exec).
func hides(list, name string) bool {
	for word := range strings.FieldsSeq(list) {
		word = path.Clean(strings.TrimLeft(word, "-+"))
		if word == name || strings.HasPrefix(name, strings.TrimSuffix(word, "/")+"/") {
			return true
		}
	}
	return false
}

// covers tells whether an address is in a list of addresses and networks (man
// systemd.resource-control, "IPAddressAllow=").
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
