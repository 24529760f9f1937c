package guard

import (
	"cmp"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/shell"
	"bootagent/pkg/unit"
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
	Missing     Kind = "missing"      // no guard is installed
	Stale       Kind = "stale"        // the installed guard is not what the holds need
	Foreign     Kind = "foreign"      // a file that is no guard is in its place
	LeftOver    Kind = "left-over"    // a guard is installed, but nothing holds the unit
	Outranked   Kind = "outranked"    // a file of the same name wins over the guard
	Reset       Kind = "reset"        // a later drop-in takes the assertion back
	OpensIMDS   Kind = "opens-imds"   // a setting takes the metadata service's denial back
	Masked      Kind = "masked"       // the unit can't be started at all
	Absent      Kind = "absent"       // there is no such unit
	BadLink     Kind = "bad-link"     // its file is a link that systemd does not take, or that leads nowhere
	RunsNothing Kind = "runs-nothing" // the unit stands for others, and holding it holds none of them
	SameUnit    Kind = "same-unit"    // two names of one unit are held for two services
)

// Check tells how what is below the root dir differs from what the holds need,
// by unit. The error is as that of Expand.
func Check(dir string, holds []Hold) ([]Problem, error) {
	t, err := readTree(newRoot(dir))
	if err != nil {
		return nil, err
	}
	wanted, err := t.expand(holds)
	problems := t.checkUnits(holds, wanted)
	for _, h := range wanted {
		problems = append(problems, t.checkInstalled(h)...)
		if t.unit(h.Unit) == h.Unit {
			problems = append(problems, t.checkEffect(h)...)
		}
	}
	for _, g := range t.guards() {
		held := slices.ContainsFunc(wanted, func(h Hold) bool { return h.Unit == g.Unit })
		if g.Path == t.installed(g.Unit) && !held {
			problems = append(problems, Problem{g.Unit, LeftOver, "is held by a guard, but by no role any more: run " + t.root.installCommand()})
		}
	}
	return sorted(problems), err
}

// CheckUnits tells which of the units that the holds name are none that can be
// held for a service below the root dir, whether or not there are guards. The
// error is as that of Expand.
func CheckUnits(dir string, holds []Hold) ([]Problem, error) {
	t, err := readTree(newRoot(dir))
	if err != nil {
		return nil, err
	}
	wanted, err := t.expand(holds)
	return sorted(t.checkUnits(holds, wanted)), err
}

func sorted(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Unit, b.Unit) })
	return slices.Compact(problems)
}

// checkUnits tells what is wrong with the units themselves.
func (t *tree) checkUnits(holds, wanted []Hold) (problems []Problem) {
	for _, h := range wanted {
		own := t.unit(h.Unit)
		if own == h.Unit && t.masked(own) {
			problems = append(problems, Problem{h.Unit, Masked, "is masked, so that no grant can start it: " + t.unmask(own)})
		}
		i := slices.IndexFunc(wanted, func(o Hold) bool { return o.Unit == own })
		if own != h.Unit && i >= 0 && wanted[i].Service != h.Service {
			problems = append(problems, Problem{
				h.Unit, SameUnit,
				"is another name of " + own + ", which is held for " + wanted[i].Service + ": use one name in every role, or it can never start",
			})
		}
	}
	for _, h := range holds {
		if h.check() != nil {
			continue
		}
		problems = append(problems, t.checkFile(h.Unit)...)
		if h.Unit == h.Service {
			problems = append(problems, t.checkWork(h.Unit)...)
		}
	}
	return problems
}

// checkInstalled compares the installed guard with the hold.
func (t *tree) checkInstalled(h Hold) []Problem {
	switch text, err := t.root.guard(Path(h.Unit)); {
	case err != nil:
		return []Problem{{h.Unit, Foreign, err.Error()}}
	case text == "":
		return []Problem{{h.Unit, Missing, "has no guard in " + installDir + ": run " + t.root.installCommand()}}
	case text != h.Text():
		return []Problem{{h.Unit, Stale, "has a guard that is not what the roles need: run " + t.root.installCommand()}}
	}
	return nil
}

// installCommand is the one that is the way out of most problems.
func (r root) installCommand() string { return "bootagent guard install" + r.option() }

// option is how a command is told of the root, if that is not the machine's own.
func (r root) option() string {
	if filepath.Clean(r.dir) == "/" {
		return ""
	}
	return " --root " + shell.Quote(r.dir)
}

// checkEffect reads all that systemd would read for the unit, in its order,
// and tells what undoes the guard.
func (t *tree) checkEffect(h Hold) []Problem {
	var problems []Problem
	var assertion assertion
	for _, file := range t.fragments(h.Unit) {
		text, err := t.root.read(file)
		if path.Base(file) == fileName && file != t.installed(h.Unit) && (err != nil || string(text) != h.Text()) {
			problems = append(problems, Problem{h.Unit, Outranked, "its guard is replaced by " + file + ": rm " + shell.Quote(t.root.path(file))})
		}
		for _, s := range parse(text) {
			assertion.follow(s, file, h)
		}
	}
	if by := assertion.undoneBy; by != "" {
		problems = append(problems, Problem{
			h.Unit, Reset,
			by + " takes back what its guard asserts, so that anything can start it: remove the empty Assert setting there",
		})
	}
	if !unit.IsService(h.Unit) || h.IMDS {
		return problems
	}
	for _, opening := range t.openings(h.Unit) {
		problems = append(problems, Problem{h.Unit, OpensIMDS, opening + ", or say imds: allow in its role"})
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

// installed is the path of a unit's installed guard, as dropIns gives it.
func (t *tree) installed(name string) string {
	dir, err := t.root.resolve(installDir)
	if err != nil {
		dir = installDir
	}
	return dropIn(dir, name)
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
