package main

import (
	"slices"
	"strings"

	"bootagent/pkg/systemd/guard"
)

// guardAll writes what is missing of the guards into the early directory.
func guardAll(root, early string, log logger) {
	etc := readRoles(root, "/etc/bootagent/roles.d")
	// What is in force may be more than what /etc says by now: nobody lets a
	// unit loose by deleting or breaking a file under it. Where both name a
	// unit, /etc is what a person wants.
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

	// A guess is the last word about no unit: an installed guard may know the
	// service that it belongs with, which a guess does not.
	guesses, err := expand(root, slices.Concat(etc.guessed, run.guessed))
	if err != nil {
		log.error("%v", err)
	}
	guessed := write(root, early, without(guesses, wanted), true, log)

	// Where the file is gone or broken, installing guards would not add any.
	stays := func(h guard.Hold) bool { return names(etc.told, h.Service) }
	if units := list(missing, stays); units != "" {
		log.warning("no up-to-date guard in /etc, held by the generator: %s; run bootagent guard install", units)
	}
	if units := list(missing, func(h guard.Hold) bool { return !stays(h) }); units != "" {
		log.warning("named by no role file in /etc that can be read, but by one in force: held until the next boot: %s", units)
	}
	for _, problem := range slices.Concat(etc.problems, run.problems) {
		log.error("%s", problem)
	}
	if units := list(guessed, func(guard.Hold) bool { return true }); units != "" {
		log.warning("named by a role file that cannot be read, held by the generator: %s; mend it, then run bootagent guard install", units)
	}
}

// expand adds the triggers. Without them, the holds still hold.
func expand(root string, holds []guard.Hold) (all []guard.Hold, err error) {
	all = holds
	err = protect(func() error {
		var err error
		all, err = guard.Expand(root, holds)
		return err
	})
	return all, err
}

// write writes the guards that are not installed and gives their holds. A
// guess leaves alone what is installed, whatever it says.
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

// add gives first and what of second is about other units.
func add(first, second []guard.Hold) []guard.Hold {
	return slices.Concat(first, without(second, first))
}

// credentials gives the holds that say which credentials the units of others
// have besides. What a role gave that can't be read any more stays, and stays
// optional where that role gave nothing: a restart must not fail for its sake.
func credentials(holds, others []guard.Hold) (same []guard.Hold) {
	for _, h := range holds {
		if slices.ContainsFunc(others, func(o guard.Hold) bool { return o.Unit == h.Unit && o.Service == h.Service }) {
			h.IMDS = false
			same = append(same, h)
		}
	}
	return same
}

// without gives the holds that are about other units than those of others.
func without(holds, others []guard.Hold) []guard.Hold {
	return slices.DeleteFunc(slices.Clone(holds), func(h guard.Hold) bool { return names(others, h.Unit) })
}

func names(holds []guard.Hold, unit string) bool {
	return slices.ContainsFunc(holds, func(h guard.Hold) bool { return h.Unit == unit })
}

// list gives the units of the holds for which keep is true, in words.
func list(holds []guard.Hold, keep func(guard.Hold) bool) string {
	var units []string
	for _, h := range holds {
		if keep(h) {
			units = append(units, h.Unit)
		}
	}
	return strings.Join(units, ", ")
}
