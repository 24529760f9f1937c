package guard

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"bootagent/pkg/shell"
	"bootagent/pkg/unit"
)

// checkFile tells why there is no unit of a name that a role holds, or why it
// is not the one that it looks like.
func (t *tree) checkFile(name string) []Problem {
	if refused := t.refused[name]; refused.file != "" {
		detail := fmt.Sprintf("its file %s is a link to %s, %s, so systemd passes it over", refused.file, refused.target, refused.why)
		if file := t.file(name); file != "" {
			detail += " and takes " + file
		}
		return []Problem{{name, BadLink, detail + ": " + t.insteadOf(name, refused)}}
	}
	if t.exists(name) {
		return nil
	}
	return []Problem{t.absent(name)}
}

// insteadOf says what to do about a link that is none.
func (t *tree) insteadOf(name string, refused refusal) string {
	remove := "rm " + shell.Quote(t.root.path(refused.file))
	switch {
	case unit.IsTemplate(refused.target) && path.Ext(refused.target) == path.Ext(name):
		if instances := t.instances(unit.Prefix(refused.target)); len(instances) > 0 {
			return "name what runs in the role, " + strings.Join(instances, " or ") + ", and " + remove
		}
		return "name an instance in the role, such as " + unit.Instantiate(refused.target, "main") + ", and " + remove
	case unit.Valid(refused.target) && path.Ext(refused.target) == path.Ext(name) && t.exists(refused.target):
		return "name " + refused.target + " in the role, and " + remove
	}
	return "name a unit in the role that has a file of its own, and " + remove
}

// absent tells what is in the place of the unit.
func (t *tree) absent(name string) Problem {
	file, linked := t.files[name]
	target, isAlias := t.aliases[name]
	switch {
	case isAlias && t.refused[target].file != "":
		return Problem{name, BadLink, fmt.Sprintf("its file %s is a link to %s, and %s in turn to %s, %s, so systemd has no such unit: name a unit in the role that has a file of its own",
			file, target, t.refused[target].file, t.refused[target].target, t.refused[target].why)}
	case isAlias:
		return Problem{name, BadLink, fmt.Sprintf("its file %s is a link to %s, and systemd finds no unit of that name: install the package of that, or name another unit in the role",
			file, target)}
	case linked:
		target, _ := os.Readlink(t.root.path(file))
		return Problem{name, BadLink, fmt.Sprintf("its file %s is a link to %s, which is not there: put the unit file there, or name another unit in the role", file, target)}
	}
	return Problem{name, Absent, "has no unit file: is the name right, and its package installed? (a unit of another name is not held)"}
}

// exists tells whether there is a unit of this name, or a script of System V
// init from which systemd makes one. One that is masked exists.
func (t *tree) exists(name string) bool {
	if file := t.file(name); file != "" {
		real, err := t.root.resolve(file)
		if err == nil && real == os.DevNull {
			return true
		}
		if err == nil {
			_, err = os.Stat(t.root.path(real))
		}
		return err == nil
	}
	_, err := os.Stat(t.root.path("/etc/init.d/" + unit.Stem(name)))
	return err == nil && unit.IsService(name)
}

// unmask is the command that lets a masked unit start. systemctl takes away what
// it can have put there; another file is a package's, or a person's.
func (t *tree) unmask(own string) string {
	file := t.file(own)
	options, name := t.root.option(), " "+shell.Quote(own)
	switch path.Dir(file) {
	case installDir:
		return "systemctl" + options + " unmask" + name
	case "/run/systemd/system":
		return "systemctl" + options + " unmask --runtime" + name
	}
	remove := "rm " + shell.Quote(t.root.path(file))
	if options == "" {
		remove += " && systemctl daemon-reload"
	}
	return remove
}

// checkWork tells of a service that runs nothing: one that packages have so
// that others, which do the work, are started and stopped together. To hold it
// holds none of them.
func (t *tree) checkWork(name string) []Problem {
	own, file := t.find(name)
	if file == "" || t.masked(own) || !t.runsNothing(own) {
		return nil
	}
	detail := "runs nothing itself, by " + file + ", so what it stands for would start without its data"
	instances := t.instances(unit.Prefix(own))
	members := t.members(own)
	switch template := unit.Prefix(own) + "@.service"; {
	case len(instances) > 0:
		detail += ": name in the role what runs, " + strings.Join(instances, " or ")
	case t.files[template] != "":
		detail += ": name in the role the instance of " + template + " that runs, such as " + t.example(template)
	case len(members) > 0:
		detail += ": name in the role what runs, " + strings.Join(members, " or ")
	default:
		detail += ": name in the role the service that does the work"
	}
	return []Problem{{name, RunsNothing, detail + " (it may be named under also-guard of that)"}}
}

// runsNothing tells whether all that a service starts is a program that does
// nothing.
func (t *tree) runsNothing(own string) bool {
	var starts []string
	service, oneshot := false, false
	for _, s := range t.settings(own) {
		if s.section != "Service" {
			continue
		}
		service = true
		switch {
		case s.key == "Type":
			oneshot = s.value == "oneshot"
		case strings.HasPrefix(s.key, "ExecStart") && s.value == "":
			starts = slices.DeleteFunc(starts, func(start string) bool { return strings.HasPrefix(start, s.key+"=") })
		case s.key == "ExecStart" || s.key == "ExecStartPre" || s.key == "ExecStartPost":
			starts = append(starts, s.key+"="+s.value)
		}
	}
	if !service || len(starts) == 0 && !oneshot {
		return false // systemd refuses it, or it is a script of System V init
	}
	return !slices.ContainsFunc(starts, func(start string) bool {
		_, command, _ := strings.Cut(start, "=")
		return !doesNothing(command)
	})
}

// doesNothing tells whether a command of a unit has no effect.
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

// instances gives the instances of a template that this root knows of: those
// with a file, those that a unit wants or requires, and the clusters of
// PostgreSQL, for which Debian's generator makes them at boot.
func (t *tree) instances(prefix string) []string {
	found := make(map[string]bool)
	note := func(name string) {
		if unit.Valid(name) && unit.IsService(name) && unit.Prefix(name) == prefix && unit.Instance(name) != "" {
			found[name] = true
		}
	}
	for name := range t.files {
		note(name)
	}
	for _, dir := range t.search {
		entries, _ := os.ReadDir(t.root.path(dir))
		for _, entry := range entries {
			if ext := path.Ext(entry.Name()); ext != ".wants" && ext != ".requires" {
				continue
			}
			links, _ := os.ReadDir(t.root.path(path.Join(dir, entry.Name())))
			for _, link := range links {
				note(link.Name())
			}
		}
	}
	if prefix == "postgresql" {
		for _, cluster := range t.clusters() {
			note("postgresql@" + cluster + ".service")
		}
	}
	var names []string
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// clusters gives the clusters of PostgreSQL as Debian's generator names them:
// 15-main for /etc/postgresql/15/main/postgresql.conf.
func (t *tree) clusters() (names []string) {
	const dir = "/etc/postgresql"
	for _, version := range t.list(dir) {
		for _, cluster := range t.list(path.Join(dir, version)) {
			if _, err := fs.Stat(os.DirFS(t.root.path(path.Join(dir, version, cluster))), "postgresql.conf"); err == nil {
				names = append(names, version+"-"+cluster)
			}
		}
	}
	return names
}

func (t *tree) list(dir string) (names []string) {
	real, err := t.root.resolve(dir)
	if err != nil {
		return nil
	}
	entries, _ := os.ReadDir(t.root.path(real))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// members gives the services that say that they are a part of a unit.
func (t *tree) members(own string) (names []string) {
	for name := range t.files {
		if !unit.IsService(name) || unit.IsTemplate(name) || t.unit(name) != name || name == own {
			continue
		}
		if slices.ContainsFunc(t.settings(name), func(s setting) bool {
			return s.section == "Unit" && s.key == "PartOf" && slices.Contains(strings.Fields(s.value), own)
		}) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// example is an instance of a template as its package would call it.
func (t *tree) example(template string) string {
	if unit.Prefix(template) == "postgresql" {
		return "postgresql@15-main.service"
	}
	return unit.Instantiate(template, "main")
}
