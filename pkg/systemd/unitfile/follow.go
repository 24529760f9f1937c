package unitfile

import (
	"path"
	"slices"
	"strings"

	"bootagent/pkg/unit"
)

// Slices returns the slice of a service and the slices that contain it, up to
// -.slice.
func (t *Tree) Slices(name string) (all []string) {
	slice := unit.DefaultSlice(name)
	for _, s := range t.Settings(name) {
		if s.Section != "Service" || s.Key != "Slice" {
			continue
		}
		if value := specify(s.Value, name); unit.IsSlice(value) { // systemd takes the last of several
			slice = value
		}
	}
	for slice != unit.RootSlice {
		all = append(all, slice)
		slice = unit.ParentSlice(slice)
	}
	return append(all, unit.RootSlice)
}

// Starts returns the unit that a socket, timer or path starts. For a socket with
// Accept=yes, that is the template whose instances it starts.
func (t *Tree) Starts(trigger string) string {
	kind := path.Ext(trigger)
	target, accept := "", false
	for _, s := range t.Settings(trigger) {
		switch {
		case kind == ".socket" && s.Section == "Socket" && s.Key == "Accept":
			accept = isTrue(s.Value)
		case kind == ".socket" && s.Section == "Socket" && s.Key == "Service":
			// systemd takes the last of several (config_parse_socket_service) ...
			if name := specify(s.Value, trigger); unit.Valid(name) && unit.IsService(name) {
				target = name
			}
		case kind == ".timer" && s.Section == "Timer" && s.Key == "Unit",
			kind == ".path" && s.Section == "Path" && s.Key == "Unit":
			// ... and the first of these (config_parse_trigger_unit).
			if name := specify(s.Value, trigger); target == "" && unit.Valid(name) {
				target = name
			}
		}
	}
	switch {
	case accept:
		return unit.Prefix(trigger) + "@.service"
	case target == "":
		return unit.ServiceOf(trigger)
	}
	return target
}

// specify replaces the specifiers that stand for the name of a unit, or a part of
// it (systemd.unit(5), "Specifiers").
func specify(value, name string) string {
	prefix := unit.Prefix(name)
	return strings.NewReplacer(
		"%%", "%",
		"%i", unit.Instance(name),
		"%j", prefix[strings.LastIndexByte(prefix, '-')+1:],
		"%n", name,
		"%N", unit.Stem(name),
		"%p", prefix,
	).Replace(value)
}

// isTrue reads a boolean as systemd does (parse_boolean in src/basic).
func isTrue(value string) bool {
	return slices.Contains([]string{"1", "yes", "y", "true", "t", "on"}, strings.ToLower(value))
}
