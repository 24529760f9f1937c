// Package apparmor lets the services of roles have what their role gives them where
// AppArmor confines them: it writes rules into the local files of the profiles, and
// checks them.
//
// It reads unit files and /etc/apparmor.d below a root directory, which is "/" on a
// machine and the root of the image when an image is built, and writes a block of
// lines at the beginning of files in /etc/apparmor.d/local. Everything else in these
// files stays as it is. On a machine it runs apparmor_parser, which loads the profile
// into the kernel.
package apparmor

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"bootagent/pkg/systemd/unitfile"
)

// A Given is what a role gives to a service.
type Given struct {
	Service     string
	Credentials bool     // it reads files in /run/credentials/SERVICE
	Files       []string // paths of files that it reads
	Data        []string // paths of directories in which it reads and writes
}

// rules returns what lets a service have what it is given, and nothing more. Its
// credentials are in a directory that is named after its own name, if it has several.
func (g Given) rules(own string) (rules []rule) {
	if g.Credentials {
		rules = append(rules, rule{literal("/run/credentials/"+own) + "/*", "r"})
	}
	for _, file := range g.Files {
		rules = append(rules, rule{literal(file), "r"})
	}
	for _, dir := range g.Data {
		rules = append(rules, rule{literal(dir) + "/", "r"}, rule{literal(dir) + "/**", "rwk"})
	}
	return rules
}

// A Problem says that a profile keeps a service from what its role gives it, or lets
// it have more.
type Problem struct {
	File   string // below the root
	Detail string // what is wrong and what to do

	// Install says that "bootagent guard install" solves the problem.
	Install bool
}

func (p Problem) String() string { return p.File + ": " + p.Detail }

// A need is a profile and what it has to allow in addition to what it allows by
// itself.
type need struct {
	profile
	services []string
	rules    []rule
}

// needs returns the profiles that confine the services, and what they lack.
func (s set) needs(units *unitfile.Tree, given []Given) (needs []need) {
	for _, g := range given {
		for _, p := range s.ofService(units, g.Service) {
			i := slices.IndexFunc(needs, func(n need) bool { return n.file == p.file && n.name == p.name })
			if i < 0 {
				needs = append(needs, need{profile: p})
				i = len(needs) - 1
			}
			n := &needs[i]
			if !slices.Contains(n.services, g.Service) {
				n.services = append(n.services, g.Service)
			}
			allows := s.allows(p)
			for _, r := range g.rules(units.Own(g.Service)) {
				if !slices.Contains(n.rules, r) && !s.allowed(allows, r) {
					n.rules = append(n.rules, r)
				}
			}
		}
	}
	for _, n := range needs {
		slices.Sort(n.services)
		slices.SortFunc(n.rules, func(a, b rule) int { return strings.Compare(a.String(), b.String()) })
	}
	return needs
}

// allows returns the rules of a profile and those that people added to its local
// files.
func (s set) allows(p profile) []rule {
	rules := p.rules
	for _, include := range p.includes {
		text, _ := s.Read(path.Join(localDir, include.name))
		if _, others, err := cut(string(text)); err == nil {
			for _, added := range parse("profile local {\n"+others+"\n}", make(variables)) {
				rules = append(slices.Clip(rules), added.rules...)
			}
		}
	}
	return rules
}

// ofService returns the profiles that confine the programs that a service starts.
func (s set) ofService(units *unitfile.Tree, service string) (all []profile) {
	named, programs := starts(units, service)
	if named != "" {
		return s.named(named) // whatever it starts
	}
	for _, program := range programs {
		if real, err := s.Resolve(program); err == nil {
			program = real
		}
		for _, p := range s.confining(program) {
			if !slices.ContainsFunc(all, func(o profile) bool { return o.file == p.file && o.name == p.name }) {
				all = append(all, p)
			}
		}
	}
	return all
}

// starts returns the profile that a service names, if any, and all that may be
// programs in its commands. A command may be a script of a shell.
func starts(units *unitfile.Tree, service string) (profile string, programs []string) {
	commands := make(map[string][]string)
	for _, s := range units.Settings(service) {
		switch {
		case s.Section != "Service":
		case s.Key == "AppArmorProfile":
			profile = strings.TrimPrefix(s.Value, "-")
		case strings.HasPrefix(s.Key, "Exec") && s.Value == "":
			delete(commands, s.Key)
		case strings.HasPrefix(s.Key, "Exec"):
			commands[s.Key] = append(commands[s.Key], strings.FieldsFunc(s.Value, func(r rune) bool { return strings.ContainsRune(" \t;&|()`'\"=<>-@:+!", r) })...)
		}
	}
	for _, words := range commands {
		for _, word := range words {
			if path.IsAbs(word) {
				programs = append(programs, path.Clean(word))
			}
		}
	}
	slices.Sort(programs)
	return profile, slices.Compact(programs)
}

// local returns the file to which rules for a profile are added, or "".
func (p profile) local() string {
	for _, include := range p.includes {
		return path.Join(localDir, include.name)
	}
	return ""
}

// Check compares the rules that are installed below a root with those that the
// services need, and returns the problems. The profiles without a problem that
// confine a service are in confined. The error is one of reading units.
func Check(root string, given []Given) (problems []Problem, confined []string, err error) {
	units, err := unitfile.Load(root)
	if err != nil {
		return nil, nil, err
	}
	s := load(units.Root)
	install := "bootagent guard install" + option(root)
	needs := s.needs(units, given)
	wanted := wantedBlocks(needs)
	for _, n := range needs {
		problem := func(install bool, format string, args ...any) {
			problems = append(problems, Problem{n.file, fmt.Sprintf("the profile %s of AppArmor, which confines %s, ", n.name, strings.Join(n.services, ", ")) + fmt.Sprintf(format, args...), install})
		}
		have, err := s.block(n.local())
		switch {
		case len(n.rules) == 0:
			confined = append(confined, n.name)
		case n.local() == "":
			problem(false, "does not allow what the roles give it (%s), and includes no file of %s: before its last }, add the line include if exists <local/%s>, and then run %s",
				join(n.rules), localDir, path.Base(n.file), install)
		case err != nil:
			problems = append(problems, Problem{n.local(), err.Error(), false})
		case have == "":
			problem(true, "does not allow what the roles give it (%s): run %s", join(n.rules), install)
		case have != wanted[n.local()]:
			problem(true, "allows something else than what the roles give it (%s): run %s", join(n.rules), install)
		default:
			confined = append(confined, n.name)
		}
	}
	for _, file := range s.locals() {
		if have, err := s.block(file); err == nil && have != "" && wanted[file] == "" {
			problems = append(problems, Problem{file, "has rules of bootagent, but no role needs them: run " + install, true})
		}
	}
	return problems, confined, nil
}

func join(rules []rule) string {
	var all []string
	for _, r := range rules {
		all = append(all, r.String())
	}
	return strings.Join(all, ", ")
}
