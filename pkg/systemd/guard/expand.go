package guard

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"bootagent/pkg/unit"
)

// Expand gives all that has to be held so that the holds hold below the root
// dir, sorted by unit: the holds themselves, one for each unit; the unit's own
// name where a hold uses another name of it; and the sockets, timers and paths
// that start a held unit, which would else fail, or wait, over and over.
//
// If there is an error, the list is what could be told in spite of it: without
// what is found by reading units, if they can't be read, and without the holds
// that are refused, each of which the error names.
func Expand(dir string, holds []Hold) ([]Hold, error) {
	if len(holds) == 0 {
		return nil, nil
	}
	t, err := readTree(newRoot(dir))
	if err != nil {
		merged, _ := merge(holds)
		return merged, err
	}
	return t.expand(holds)
}

func (t *tree) expand(holds []Hold) ([]Hold, error) {
	merged, err := merge(holds)
	held := make(map[string]Hold)
	for _, h := range merged {
		held[h.Unit] = h
	}
	for _, h := range merged {
		// An alias may come and go with "systemctl enable"; the unit stays.
		own := t.unit(h.Unit)
		if why := unit.Needed(own); why != "" {
			err = errors.Join(err, fmt.Errorf("cannot hold %s: it is another name of %s, which %s", h.Unit, own, why))
			delete(held, h.Unit)
			continue
		}
		if held[own].Unit == "" {
			h.Unit = own
			held[own] = h
		}
	}
	targets := make(map[string]string) // trigger → what it starts
	// A timer may start a socket that starts a service.
	for more := true; more; {
		more = false
		for _, trigger := range t.triggers(held) {
			if _, known := held[trigger]; known || unit.Needed(trigger) != "" {
				continue
			}
			target, known := targets[trigger]
			if !known {
				target = t.unit(t.starts(trigger))
				targets[trigger] = target
			}
			of, ok := held[target]
			if !ok {
				of, ok = held[unit.Template(target)]
			}
			if ok && !t.masked(trigger) {
				held[trigger] = Hold{Unit: trigger, Service: of.Service, IMDS: of.IMDS}
				more = true
			}
		}
	}
	return slices.SortedFunc(maps.Values(held), func(a, b Hold) int { return strings.Compare(a.Unit, b.Unit) }), err
}

// triggers gives the units that may start others: the sockets, timers and
// paths that have a file, and of each template the instances that are named
// like the held ones.
func (t *tree) triggers(held map[string]Hold) []string {
	var names []string
	for name := range t.files {
		switch path.Ext(name) {
		case ".socket", ".timer", ".path":
		default:
			continue
		}
		if t.unit(name) != name {
			continue
		}
		names = append(names, name)
		if !unit.IsTemplate(name) {
			continue
		}
		for other := range held {
			if unit.Instance(other) != "" {
				names = append(names, unit.Instantiate(name, unit.Instance(other)))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// starts gives the name of the unit that a socket, timer or path starts. For a
// socket with Accept=yes that is the template of which it starts instances.
func (t *tree) starts(trigger string) string {
	kind := path.Ext(trigger)
	target, accept := "", false
	for _, s := range t.settings(trigger) {
		switch {
		case kind == ".socket" && s.section == "Socket" && s.key == "Accept":
			accept = isTrue(s.value)
		case kind == ".socket" && s.section == "Socket" && s.key == "Service":
			// The last of several counts (config_parse_socket_service) ...
			if name := specify(s.value, trigger); unit.Valid(name) && unit.IsService(name) {
				target = name
			}
		case kind == ".timer" && s.section == "Timer" && s.key == "Unit",
			kind == ".path" && s.section == "Path" && s.key == "Unit":
			// ... and here the first (config_parse_trigger_unit).
			if name := specify(s.value, trigger); target == "" && unit.Valid(name) {
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

// specify puts in the specifiers that name a unit (man systemd.unit,
// "Specifiers").
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

// isTrue reads a boolean as systemd does (parse_boolean).
func isTrue(value string) bool {
	return slices.Contains([]string{"1", "yes", "y", "true", "t", "on"}, strings.ToLower(value))
}
