package guard

import (
	"cmp"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/unitfile"
	"bootagent/pkg/unit"
)

// A Problem says that a unit is not held as it has to be, or can never start.
type Problem struct {
	Unit   string
	Detail string // what is wrong with the unit and what to do, without its name

	// Install says that "bootagent guard install" solves the problem.
	Install bool

	// unholdable says that a guard of the unit would hold nothing.
	unholdable bool
}

func (p Problem) String() string { return p.Unit + ": " + p.Detail }

// Check compares the units and guards below the root dir with the holds, and
// returns the problems, sorted by unit. The error is that of Expand.
func Check(dir string, holds []Hold) ([]Problem, error) {
	t, err := readTree(dir)
	if err != nil {
		return nil, err
	}
	wanted, err := t.expand(holds)
	problems := t.checkUnits(holds, wanted)
	for _, h := range wanted {
		problems = append(problems, t.checkInstalled(h)...)
		if t.Own(h.Unit) == h.Unit {
			problems = append(problems, t.checkEffect(h)...)
		}
	}
	for _, g := range t.guards() {
		held := slices.ContainsFunc(wanted, func(h Hold) bool { return h.Unit == g.Unit })
		if g.Path == t.installed(g.Unit) && !held {
			problems = append(problems, Problem{Unit: g.Unit, Install: true, Detail: "has a guard, but no role needs it: run " + t.root.installCommand()})
		}
	}
	return sorted(problems), err
}

// CheckUnits returns the problems of the units themselves, whether or not they
// have guards: which units that the holds name can't be held, or can never start.
// The error is that of Expand.
func CheckUnits(dir string, holds []Hold) ([]Problem, error) {
	t, err := readTree(dir)
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

// checkUnits returns the problems of the units themselves.
func (t *tree) checkUnits(holds, wanted []Hold) (problems []Problem) {
	for _, h := range wanted {
		own := t.Own(h.Unit)
		if own == h.Unit && t.Masked(own) {
			problems = append(problems, Problem{Unit: h.Unit, Detail: "is masked, so nothing can start it: " + t.unmask(own)})
		}
		i := slices.IndexFunc(wanted, func(o Hold) bool { return o.Unit == own })
		if own != h.Unit && i >= 0 && wanted[i].Service != h.Service {
			problems = append(problems, Problem{
				Unit:   h.Unit,
				Detail: "is another name of " + own + ", which is held for " + wanted[i].Service + ", so it can never start: use one name in all roles",
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

// checkInstalled compares the installed guard of a unit with the hold.
func (t *tree) checkInstalled(h Hold) []Problem {
	switch text, err := t.root.guard(Path(h.Unit)); {
	case err != nil:
		return []Problem{{Unit: h.Unit, Detail: err.Error()}}
	case text == "":
		return []Problem{{Unit: h.Unit, Install: true, Detail: "has no guard in " + unitfile.AdminDir + ": run " + t.root.installCommand()}}
	case text != h.Text():
		return []Problem{{Unit: h.Unit, Install: true, Detail: "has a guard that differs from what the roles need: run " + t.root.installCommand()}}
	}
	return nil
}

// installCommand returns the command that solves most problems.
func (r root) installCommand() string { return "bootagent guard install" + r.option() }

// option returns the option that names the root to a command, unless that is "/".
func (r root) option() string {
	if filepath.Clean(r.Dir) == "/" {
		return ""
	}
	return " --root " + shell.Quote(r.Dir)
}

// checkEffect reads all files that systemd reads for the unit, in its order, and
// returns what undoes the guard.
func (t *tree) checkEffect(h Hold) []Problem {
	var problems []Problem
	var assertion assertion
	for _, file := range t.Fragments(h.Unit) {
		text, err := t.Read(file)
		if path.Base(file) == fileName && file != t.installed(h.Unit) && (err != nil || string(text) != h.Text()) {
			problems = append(problems, Problem{Unit: h.Unit, Detail: file + " replaces its guard: rm " + shell.Quote(t.Join(file))})
		}
		for _, s := range unitfile.Parse(text) {
			assertion.follow(s, file, h)
		}
	}
	if by := assertion.undoneBy; by != "" {
		problems = append(problems, Problem{
			Unit:   h.Unit,
			Detail: by + " switches off the condition of its guard, so the unit can start without the agent: remove the empty Assert...= setting from that file",
		})
	}
	if !unit.IsService(h.Unit) || h.IMDS {
		return problems
	}
	for _, opening := range t.openings(h.Unit) {
		problems = append(problems, Problem{Unit: h.Unit, Detail: opening + ", or write imds: allow in its role"})
	}
	return problems
}

// An assertion follows the guard's assertion through the files of a unit.
type assertion struct {
	made     bool
	undoneBy string // the file that undoes it
}

// An empty setting of any kind of Assert...= removes all assertions before it.
// BindsTo= can't be undone: systemd only adds dependencies.
func (a *assertion) follow(s unitfile.Setting, file string, h Hold) {
	switch {
	case s.Section != "Unit" || !strings.HasPrefix(s.Key, "Assert"):
	case s.Key == "AssertPathExists" && s.Value == GrantFile(h.Service):
		*a = assertion{made: true}
	case s.Value == "" && a.made:
		a.undoneBy = file
	}
}

// installed returns the path of a unit's installed guard, as DropIns returns it.
func (t *tree) installed(name string) string {
	dir, err := t.Resolve(unitfile.AdminDir)
	if err != nil {
		dir = unitfile.AdminDir
	}
	return dropIn(dir, name)
}

// A Guard is a guard that exists: an installed one, or one of the generator.
type Guard struct {
	Unit string
	Path string // below the root
	Text string
}

// Show returns the guards that systemd finds below the root dir: the installed
// ones, and those of the generator's last run.
func Show(dir string) ([]Guard, error) {
	t, err := readTree(dir)
	if err != nil {
		return nil, err
	}
	return t.guards(), nil
}

func (t *tree) guards() []Guard {
	var guards []Guard
	for name, files := range t.Beside(fileName) {
		for _, file := range files {
			if text, err := t.root.guard(file); err == nil && text != "" {
				guards = append(guards, Guard{name, file, text})
			}
		}
	}
	slices.SortFunc(guards, func(a, b Guard) int {
		return cmp.Or(cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Path, b.Path))
	})
	return guards
}
