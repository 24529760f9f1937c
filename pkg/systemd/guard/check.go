package guard

import (
	"cmp"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
)

// A Problem is one way in which a unit is not held as the holds say, or can't
// ever be started.
type Problem struct {
	Unit   string
	Kind   Kind
	Detail string // what is wrong with the unit and what to do, without its name
}

func (p Problem) String() string { return p.Unit + ": " + p.Detail }

// Kind is a kind of problem.
type Kind string

// The kinds of problems. With Missing, Stale, Foreign, Outranked and Reset, the
// unit may start before its grant.
const (
	Missing   Kind = "missing"    // no guard is installed
	Stale     Kind = "stale"      // the installed guard is not what the holds need
	Foreign   Kind = "foreign"    // a file that is no guard is in its place
	LeftOver  Kind = "left-over"  // a guard is installed, but nothing holds the unit
	Outranked Kind = "outranked"  // a file of the same name wins over the guard
	Reset     Kind = "reset"      // a later drop-in takes the assertion back
	OpensIMDS Kind = "opens-imds" // a setting takes the metadata service's denial back
	Masked    Kind = "masked"     // the unit can't be started at all
	Absent    Kind = "absent"     // there is no such unit
	SameUnit  Kind = "same-unit"  // two names of one unit are held for two services
)

// install is the way out of most problems.
const install = "run bootagent guard install"

// Check tells how what is below the root dir differs from what the holds need,
// by unit. The error is as that of Expand.
func Check(dir string, holds []Hold) ([]Problem, error) {
	t, err := readTree(newRoot(dir))
	if err != nil {
		return nil, err
	}
	wanted, err := t.expand(holds)
	var problems []Problem
	for _, h := range wanted {
		problems = append(problems, t.checkInstalled(h)...)
		if t.unit(h.Unit) == h.Unit {
			problems = append(problems, t.checkEffect(h)...)
		}
		if same := t.unit(h.Unit); same != h.Unit {
			i := slices.IndexFunc(wanted, func(o Hold) bool { return o.Unit == same })
			if of := wanted[i].Service; of != h.Service {
				problems = append(problems, Problem{
					h.Unit, SameUnit,
					"is another name of " + same + ", which is held for " + of + ": use one name in every role, or it can never start",
				})
			}
		}
	}
	for _, h := range holds {
		if h.check() == nil && !t.exists(h.Unit) {
			problems = append(problems, Problem{
				h.Unit, Absent,
				"has no unit file: is the name right, and its package installed? (a unit of another name is not held)",
			})
		}
	}
	for _, g := range t.guards() {
		held := slices.ContainsFunc(wanted, func(h Hold) bool { return h.Unit == g.Unit })
		if g.Path == t.installed(g.Unit) && !held {
			problems = append(problems, Problem{g.Unit, LeftOver, "is held by a guard, but by no role any more: " + install})
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Unit, b.Unit) })
	return slices.Compact(problems), err
}

// checkInstalled compares the installed guard with the hold.
func (t *tree) checkInstalled(h Hold) []Problem {
	switch text, err := t.root.guard(Path(h.Unit)); {
	case err != nil:
		return []Problem{{h.Unit, Foreign, err.Error()}}
	case text == "":
		return []Problem{{h.Unit, Missing, "has no guard in " + installDir + ": " + install}}
	case text != h.Text():
		return []Problem{{h.Unit, Stale, "has a guard that is not what the roles need: " + install}}
	}
	return nil
}

// checkEffect reads all that systemd would read for the unit, in its order,
// and tells what undoes the guard.
func (t *tree) checkEffect(h Hold) []Problem {
	var problems []Problem
	if t.masked(h.Unit) {
		problems = append(problems, Problem{h.Unit, Masked, "is masked, so that no grant can start it: systemctl unmask " + h.Unit})
	}
	var assertion assertion
	var denial denial
	for _, file := range append([]string{t.file(h.Unit)}, t.dropIns(h.Unit)...) {
		text, err := t.root.read(file)
		if path.Base(file) == fileName && file != t.installed(h.Unit) && (err != nil || string(text) != h.Text()) {
			problems = append(problems, Problem{h.Unit, Outranked, "its guard is replaced by " + file + ": remove that file"})
		}
		for _, s := range parse(text) {
			assertion.follow(s, file, h)
			denial.follow(s, file)
		}
	}
	if by := assertion.undoneBy; by != "" {
		problems = append(problems, Problem{
			h.Unit, Reset,
			by + " takes back what its guard asserts, so that anything can start it: remove the empty Assert setting there",
		})
	}
	if by := cmp.Or(denial.allowedBy, denial.undoneBy); by != "" && path.Ext(h.Unit) == ".service" && !h.IMDS {
		problems = append(problems, Problem{
			h.Unit, OpensIMDS,
			by + " lets it reach the metadata service: remove that setting, or say imds: allow in its role",
		})
	}
	return problems
}

// An assertion follows the guard's assertion through the files of a unit.
type assertion struct {
	made     bool
	undoneBy string // the file that takes it back
}

// An empty Assert setting of any kind drops all that were made before it.
// (BindsTo= can't be taken back: systemd only ever adds dependencies.)
func (a *assertion) follow(s setting, file string, h Hold) {
	switch {
	case s.section != "Unit" || !strings.HasPrefix(s.key, "Assert"):
	case s.key == "AssertPathExists" && s.value == Token(h.Service):
		*a = assertion{made: true}
	case s.value == "" && a.made:
		a.undoneBy = file
	}
}

// A denial follows the guard's denial of the metadata service through the
// files of a unit.
type denial struct {
	made      bool
	undoneBy  string // the file that takes it back
	allowedBy string // the file that allows it all the same, in whatever order
}

func (d *denial) follow(s setting, file string) {
	switch {
	case s.section != "Service":
	case s.key == "IPAddressDeny" && s.value == "":
		if d.made {
			d.undoneBy = file
		}
	case s.key == "IPAddressDeny" && covers(s.value, imds4) && covers(s.value, imds6):
		d.made, d.undoneBy = true, ""
	case s.key == "IPAddressAllow" && s.value == "":
		d.allowedBy = ""
	case s.key == "IPAddressAllow" && (covers(s.value, imds4) || covers(s.value, imds6)):
		d.allowedBy = file
	}
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

// exists tells whether there is a unit of this name, or a script of System V
// init from which systemd makes one.
func (t *tree) exists(unit string) bool {
	if t.file(t.unit(unit)) != "" {
		return true
	}
	_, err := os.Stat(t.root.path("/etc/init.d/" + strings.TrimSuffix(unit, ".service")))
	return err == nil
}

// installed is the path of a unit's installed guard, as dropIns gives it.
func (t *tree) installed(unit string) string {
	dir, err := t.root.resolve(installDir)
	if err != nil {
		dir = installDir
	}
	return dropIn(dir, unit)
}

// A Guard is one that is there, installed or of the generator.
type Guard struct {
	Unit string
	Path string // below the root
	Text string
}

// Show gives the guards that systemd would find below the root dir: those that
// are installed, and those of the generator's last run.
func Show(dir string) ([]Guard, error) {
	t, err := readTree(newRoot(dir))
	if err != nil {
		return nil, err
	}
	return t.guards(), nil
}

func (t *tree) guards() []Guard {
	var guards []Guard
	for name, dirs := range t.dirs {
		for _, dir := range dirs {
			file := path.Join(dir, fileName)
			if text, err := t.root.guard(file); err == nil && text != "" {
				guards = append(guards, Guard{strings.TrimSuffix(name, ".d"), file, text})
			}
		}
	}
	slices.SortFunc(guards, func(a, b Guard) int {
		return cmp.Or(cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Path, b.Path))
	})
	return guards
}
