package main

import (
	"slices"
	"strings"

	"bootagent/pkg/systemd/guard"
)

// guardAll writes the guards that are missing in /etc into the early directory.
func guardAll(root, early string, log logger) {
	etc := readRoles(root, "/etc/bootagent/roles.d")
	// The roles in force may name more units than /etc does now: deleting or
	// breaking a role file must not let a unit start. If both name a unit, /etc has
	// priority, because it is what a person wants.
	run := readRoles(root, "/run/bootagent/roles.d")

	told := add(etc.told, run.told)
	if len(etc.problems) > 0 {
		told = append(told, credentials(run.told, etc.told)...)
	}
	wanted, err := expand(root, told)
	if err != nil {
		log.error("%v", err)
	}
	missing := write(root, early, wanted, false, log)

	// A guess never replaces an installed guard: that knows the service that a unit
	// belongs to, and a guess does not.
	guesses, err := expand(root, slices.Concat(etc.guessed, run.guessed))
	if err != nil {
		log.error("%v", err)
	}
	guessed := write(root, early, without(guesses, wanted), true, log)

	// If the role file is gone or broken, "guard install" would not add the guard.
	stays := func(h guard.Hold) bool { return names(etc.told, h.Service) }
	if units := list(missing, stays); units != "" {
		log.warning("these units have no up-to-date guard in /etc, so the generator holds them: %s; run bootagent guard install", units)
	}
	if units := list(missing, func(h guard.Hold) bool { return !stays(h) }); units != "" {
		log.warning("no readable role file in /etc names these units, but a role in force does, so they are held until the next boot: %s", units)
	}
	for _, problem := range slices.Concat(etc.problems, run.problems) {
		log.error("%s", problem)
	}
	if units := list(guessed, func(guard.Hold) bool { return true }); units != "" {
		log.warning("a role file that cannot be read seems to name these units, so the generator holds them: %s; correct the file, then run bootagent guard install", units)
	}
}

// expand adds the units that start held units. Without them, the holds still hold.
func expand(root string, holds []guard.Hold) (all []guard.Hold, err error) {
	all = holds
	err = protect(func() error {
		var err error
		all, err = guard.Expand(root, holds)
		return err
	})
	return all, err
}

// write writes the guards that are not installed and returns their holds. A guess
// never replaces an installed guard.
func write(root, early string, holds []guard.Hold, guess bool, log logger) (written []guard.Hold) {
	for _, h := range holds {
		installed, err := guard.Installed(root, h.Unit)
		if err != nil {
			log.error("%v", err)
		}
		if installed == h.Text() || guess && installed != "" {
			continue
		}
		if err := guard.Write(early, h); err != nil {
			log.error("cannot hold %s: %v", h.Unit, err)
			continue
		}
		written = append(written, h)
	}
	return written
}

// add returns first, and the holds of second that are about other units.
func add(first, second []guard.Hold) []guard.Hold {
	return slices.Concat(first, without(second, first))
}

// credentials returns the holds that add credentials to the units of others. If a
// role file can't be read any more, the credentials of that role stay, as optional
// ones: without them, a restart of the service must not fail.
func credentials(holds, others []guard.Hold) (same []guard.Hold) {
	for _, h := range holds {
		if slices.ContainsFunc(others, func(o guard.Hold) bool { return o.Unit == h.Unit && o.Service == h.Service }) {
			h.IMDS = false
			same = append(same, h)
		}
	}
	return same
}

// without returns the holds whose units are not in others.
func without(holds, others []guard.Hold) []guard.Hold {
	return slices.DeleteFunc(slices.Clone(holds), func(h guard.Hold) bool { return names(others, h.Unit) })
}

func names(holds []guard.Hold, unit string) bool {
	return slices.ContainsFunc(holds, func(h guard.Hold) bool { return h.Unit == unit })
}

// list returns the units of the holds for which keep is true, as a text.
func list(holds []guard.Hold, keep func(guard.Hold) bool) string {
	var units []string
	for _, h := range holds {
		if keep(h) {
			units = append(units, h.Unit)
		}
	}
	return strings.Join(units, ", ")
}
