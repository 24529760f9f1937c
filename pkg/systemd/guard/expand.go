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

// Expand returns everything that has to be held below the root dir, sorted by
// unit: the holds themselves, one for each unit; the unit's own name if a hold uses
// an alias; and the sockets, timers and paths that start a held unit, which would
// otherwise fail or wait again and again.
//
// If there is an error, the list is what could be found all the same. If the units
// can't be read, it has only the given holds. The error names each hold that is
// not possible and not in the list.
func Expand(dir string, holds []Hold) ([]Hold, error) {
	if len(holds) == 0 {
		return nil, nil
	}
	t, err := readTree(dir)
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
		// "systemctl enable" and "disable" add and remove aliases; the unit stays.
		own := t.Own(h.Unit)
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
	targets := make(map[string]string) // trigger → the unit that it starts
	// A timer may start a socket that starts a service.
	for more := true; more; {
		more = false
		for _, trigger := range t.triggers(held) {
			if _, known := held[trigger]; known || unit.Needed(trigger) != "" {
				continue
			}
			target, known := targets[trigger]
			if !known {
				target = t.Own(t.Starts(trigger))
				targets[trigger] = target
			}
			of, ok := held[target]
			if !ok {
				of, ok = held[unit.Template(target)]
			}
			if ok && !t.Masked(trigger) {
				held[trigger] = Hold{Unit: trigger, Service: of.Service, IMDS: of.IMDS}
				more = true
			}
		}
	}
	all := slices.SortedFunc(maps.Values(held), func(a, b Hold) int { return strings.Compare(a.Unit, b.Unit) })
	for i := range all {
		all[i].NoSocket = !t.Exists(metadataUnit)
	}
	return all, err
}

// triggers returns the units that may start others: the sockets, timers and paths
// that have a file, and for each template the instances with the names of held
// instances.
func (t *tree) triggers(held map[string]Hold) []string {
	var names []string
	for _, name := range t.Names() {
		switch path.Ext(name) {
		case ".socket", ".timer", ".path":
		default:
			continue
		}
		if t.Own(name) != name {
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
