package guard

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/unitfile"
	"bootagent/pkg/unit"
)

// CheckStart returns why a unit can't be started by its name: there is no such
// unit below the root that tree was loaded from, or it is masked.
func CheckStart(units *unitfile.Tree, name string) []Problem {
	t := &tree{units, root{units.Root}}
	problems := t.checkFile(name)
	if own := t.Own(name); t.Masked(own) {
		problems = append(problems, Problem{Unit: name, Detail: "is masked, so nothing can start it: " + t.unmask(own)})
	}
	return problems
}

// checkFile returns why there is no unit of a name that a role holds, or why the
// unit has another file than it seems.
func (t *tree) checkFile(name string) []Problem {
	if refused, is := t.Refused(name); is {
		detail := fmt.Sprintf("its file %s is a link to %s, %s, so systemd ignores the link", refused.File, refused.Target, refused.Why)
		if file := t.File(name); file != "" {
			detail += " and uses " + file
		}
		return []Problem{{Unit: name, Detail: detail + ": " + t.insteadOf(name, refused), unholdable: true}}
	}
	if t.Exists(name) {
		return t.checkCluster(name)
	}
	return []Problem{t.absent(name)}
}

// checkCluster reports a service of Debian's PostgreSQL that has no cluster, where
// there are others, which the role does not hold: the image has another version of
// PostgreSQL than the role was written for.
func (t *tree) checkCluster(name string) []Problem {
	if unit.Prefix(name) != "postgresql" || unit.Instance(name) == "" {
		return nil
	}
	instances := t.Instances("postgresql")
	if len(instances) == 0 || slices.Contains(instances, name) {
		return nil
	}
	return []Problem{{Unit: name, Detail: "has no cluster in /etc/postgresql: in the role, name " + strings.Join(instances, " or ") + " instead"}}
}

// insteadOf says what to do about a link that systemd ignores.
func (t *tree) insteadOf(name string, refused unitfile.Refusal) string {
	remove := "rm " + shell.Quote(t.Join(refused.File))
	switch {
	case unit.IsTemplate(refused.Target) && path.Ext(refused.Target) == path.Ext(name):
		if instances := t.Instances(unit.Prefix(refused.Target)); len(instances) > 0 {
			return "in the role, name " + strings.Join(instances, " or ") + " instead, and " + remove
		}
		return "in the role, name an instance instead, such as " + unit.Instantiate(refused.Target, "main") + ", and " + remove
	case unit.Valid(refused.Target) && path.Ext(refused.Target) == path.Ext(name) && t.Exists(refused.Target):
		return "in the role, name " + refused.Target + " instead, and " + remove
	}
	return "in the role, name a unit that has its own file, and " + remove
}

// absent says what there is instead of a unit's file.
func (t *tree) absent(name string) Problem {
	file, alias := t.Entry(name)
	switch refused, is := t.Refused(alias); {
	case is:
		return Problem{Unit: name, unholdable: true, Detail: fmt.Sprintf(
			"its file %s is a link to %s, and %s is a link to %s, %s, so systemd has no such unit: in the role, name a unit that has its own file",
			file, alias, refused.File, refused.Target, refused.Why)}
	case alias != "":
		return Problem{Unit: name, unholdable: true, Detail: fmt.Sprintf(
			"its file %s is a link to %s, and systemd finds no unit of that name: install its package, or name another unit in the role", file, alias)}
	case file != "":
		target, _ := os.Readlink(t.Join(file))
		return Problem{Unit: name, unholdable: true, Detail: fmt.Sprintf(
			"its file %s is a link to %s, which does not exist: put the unit file there, or name another unit in the role", file, target)}
	}
	return Problem{Unit: name, Detail: "has no unit file: check the name, and install its package"}
}

// unmask returns the command that unmasks a unit. systemctl removes only links in
// the directories where it makes them. Another file is of a package or a person.
func (t *tree) unmask(own string) string {
	file := t.File(own)
	options, name := t.root.option(), " "+shell.Quote(own)
	switch path.Dir(file) {
	case unitfile.AdminDir:
		return "systemctl" + options + " unmask" + name
	case "/run/systemd/system":
		return "systemctl" + options + " unmask --runtime" + name
	}
	remove := "rm " + shell.Quote(t.Join(file))
	if options == "" {
		remove += " && systemctl daemon-reload"
	}
	return remove
}

// checkWork reports a service that runs nothing. Packages have such a service so
// that the services that do the work start and stop together. A guard of it holds
// none of them.
func (t *tree) checkWork(name string) []Problem {
	own, file := t.Find(name)
	if file == "" || t.Masked(own) || !t.runsNothing(own) {
		return nil
	}
	detail := "runs nothing itself (" + file + "), so the services that do the work would start without their data"
	instances := t.Instances(unit.Prefix(own))
	members := t.Members(own)
	switch template := unit.Prefix(own) + "@.service"; {
	case len(instances) > 0:
		detail += ": in the role, name " + strings.Join(instances, " or ") + " instead"
	case t.File(template) != "":
		detail += ": in the role, name the instance of " + template + " that runs, such as " + t.example(template)
	case len(members) > 0:
		detail += ": in the role, name " + strings.Join(members, " or ") + " instead"
	default:
		detail += ": in the role, name the service that does the work"
	}
	return []Problem{{Unit: name, unholdable: true, Detail: detail + " (and list " + name + " under also-guard of it, if that has to be held, too)"}}
}

// RunsNothing reports whether all programs that a service starts do nothing.
func RunsNothing(units *unitfile.Tree, own string) bool {
	return (&tree{units, root{units.Root}}).runsNothing(own)
}

// runsNothing reports whether all programs that a service starts do nothing.
func (t *tree) runsNothing(own string) bool {
	var starts []string
	service, oneshot := false, false
	for _, s := range t.Settings(own) {
		if s.Section != "Service" {
			continue
		}
		service = true
		switch {
		case s.Key == "Type":
			oneshot = s.Value == "oneshot"
		case strings.HasPrefix(s.Key, "ExecStart") && s.Value == "":
			starts = slices.DeleteFunc(starts, func(start string) bool { return strings.HasPrefix(start, s.Key+"=") })
		case s.Key == "ExecStart" || s.Key == "ExecStartPre" || s.Key == "ExecStartPost":
			starts = append(starts, s.Key+"="+s.Value)
		}
	}
	if !service || len(starts) == 0 && !oneshot {
		return false // systemd rejects it, or it is a script of System V init
	}
	return !slices.ContainsFunc(starts, func(start string) bool {
		_, command, _ := strings.Cut(start, "=")
		return !doesNothing(command)
	})
}

// doesNothing reports whether a command of a unit has no effect.
func doesNothing(command string) bool {
	words := strings.Fields(strings.TrimLeft(command, "-@:+!|"))
	if len(words) == 0 {
		return true
	}
	if name := path.Base(words[0]); name == "sh" || name == "bash" || name == "dash" {
		inner := strings.Trim(strings.Join(words[1:], " "), `"'`)
		script, isScript := strings.CutPrefix(inner, "-c ")
		script = strings.Trim(script, ` "'`)
		return isScript && (script == ":" || script == "true" || script == "exit 0" || script == "/bin/true" || script == "/usr/bin/true")
	}
	return path.Base(words[0]) == "true"
}

// example returns an instance of a template, named as its package would name it.
func (t *tree) example(template string) string {
	if unit.Prefix(template) == "postgresql" {
		return "postgresql@15-main.service"
	}
	return unit.Instantiate(template, "main")
}
