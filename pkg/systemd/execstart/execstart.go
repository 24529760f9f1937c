// Package execstart tells with which arguments and in which environment a
// service starts a program, from its settings as systemd has loaded them. It
// reads the files that EnvironmentFile= names, and runs nothing.
package execstart

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/shell"
)

// A Service is how systemd starts a service: with its drop-ins applied and its
// specifiers replaced, but with its variables as they are written.
type Service struct {
	Unit             string
	Commands         []Exec   // ExecStart=
	Environment      []string // NAME=VALUE: that of all services, then Environment=; the last of a name counts
	EnvironmentFiles []string // EnvironmentFile=: paths, or patterns of paths
	Unset            []string // UnsetEnvironment=: NAME or NAME=VALUE
	Root             string   // RootDirectory= or RootImage=, or ""
	WorkingDirectory string   // "" is /, "~" the home directory of its user; it may have the prefix -, or ! as systemd tells it
	Sandbox          Sandbox
}

// An Exec is one command of a service.
type Exec struct {
	Path    string
	Argv    []string // with argv[0]
	Literal bool     // systemd replaces no variables in it
}

// A Program is what a service may start.
type Program struct {
	// Names are its base names: "mariadbd". Messages use the first.
	Names []string

	// Wrappers are the endings of the names of other programs that start it
	// with arguments of their own: "_safe".
	Wrappers []string

	// Neutral are variables that do not change the answer to the question for
	// which the arguments are needed; they are taken as empty. NeutralTools
	// are programs whose output is as neutral: where a script runs one, the
	// variables that the script sets are taken as empty.
	Neutral, NeutralTools []string
}

// An UnclearError is a service whose arguments for a program cannot be told. It
// is permanent: a person has to change the unit.
type UnclearError struct{ Unit, Program, Why string }

func (e *UnclearError) Error() string {
	return fmt.Sprintf("cannot tell with which arguments %s starts %s: %s", e.Unit, e.Program, e.Why)
}

// Hint is what a person can do.
func (e *UnclearError) Hint() string {
	return fmt.Sprintf("let its ExecStart= run %s directly, with its settings in its own configuration files: systemctl edit %s",
		e.Program, shell.Quote(e.Unit))
}

// Permanent says that trying again does not help.
func (e *UnclearError) Permanent() bool { return true }

// Unclear returns the *UnclearError for a service.
func (s Service) Unclear(p Program, format string, a ...any) error {
	return &UnclearError{s.Unit, p.Names[0], fmt.Sprintf(format, a...)}
}

// Command returns the command by which the service starts a program: the
// program as the service names it, and its arguments. It returns nil where the
// service does not start the program. The error is an *UnclearError.
func (s Service) Command(p Program) (argv []string, err error) {
	for _, c := range s.Commands {
		if !p.in(c) {
			continue
		}
		switch {
		case argv != nil:
			return nil, s.Unclear(p, "two of its commands name %s", p.Names[0])
		case s.Root != "":
			return nil, s.Unclear(p, "it has a root directory of its own, %s", s.Root)
		}
		words := c.Argv
		if len(words) == 0 {
			words = []string{c.Path}
		}
		if !c.Literal {
			words = s.expand(words)
		}
		if isShell(c.Path) {
			argv, err = s.script(words[1:], p)
		} else {
			argv, err = direct(c.Path, words, p)
		}
		if err != nil {
			return nil, s.Unclear(p, "%v", err)
		}
	}
	return argv, nil
}

// in tells whether a command names the program or one of its wrappers.
func (p Program) in(c Exec) bool {
	return slices.ContainsFunc(append([]string{c.Path}, c.Argv...), func(word string) bool {
		return slices.ContainsFunc(strings.FieldsFunc(word, func(r rune) bool {
			return strings.ContainsRune(" \t\n;&|()`'\"=", r)
		}), p.named)
	})
}

// named tells whether a path or a name is that of the program or of one of its
// wrappers. A path such as /run/mysqld is not.
func (p Program) named(word string) bool {
	dir, base := path.Split(word)
	if dir != "" && !strings.HasSuffix(dir, "bin/") && !strings.HasSuffix(dir, "libexec/") {
		return false
	}
	return p.is(base) || slices.ContainsFunc(p.Names, func(name string) bool {
		return slices.ContainsFunc(p.Wrappers, func(ending string) bool { return strings.HasPrefix(base, name+ending) })
	})
}

// is tells whether a path or a name is that of the program itself.
func (p Program) is(word string) bool { return slices.Contains(p.Names, path.Base(word)) }

func isShell(program string) bool {
	return slices.Contains([]string{"sh", "bash", "dash", "ash"}, path.Base(program))
}

// around are programs that run another one, and change only how it runs.
var around = []string{"nice", "ionice", "numactl", "taskset", "chrt", "setpriv", "prlimit", "stdbuf"}

// direct takes the program and its arguments from a command that is no script.
func direct(program string, argv []string, p Program) ([]string, error) {
	if p.is(program) {
		return slices.Concat([]string{program}, argv[1:]), nil
	}
	if !slices.Contains(around, path.Base(program)) {
		return nil, fmt.Errorf("it runs %s, which may start %s with other arguments", program, p.Names[0])
	}
	for i, word := range argv[1:] {
		if p.is(word) {
			return argv[i+1:], nil
		}
	}
	return nil, fmt.Errorf("it runs %s, and not %s itself", program, p.Names[0])
}

// value is that of a variable of the service's environment, "" where it has none.
func (s Service) value(name string) string {
	for _, e := range slices.Backward(s.Environment) {
		if n, v, ok := strings.Cut(e, "="); ok && n == name {
			return v
		}
	}
	return ""
}

var (
	wholeVariable = regexp.MustCompile(`^\$([A-Za-z_][A-Za-z0-9_]*)$`)
	innerVariable = regexp.MustCompile(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
)

// expand replaces variables as systemd does (systemd.service(5), "Command
// lines"): $NAME as an argument of its own becomes as many arguments as its
// value has words, ${NAME} anywhere becomes its value.
func (s Service) expand(argv []string) (all []string) {
	for _, word := range argv {
		if m := wholeVariable.FindStringSubmatch(word); m != nil {
			all = append(all, fields(s.value(m[1]))...)
			continue
		}
		all = append(all, innerVariable.ReplaceAllStringFunc(word, func(v string) string {
			if v == "$$" {
				return "$"
			}
			return s.value(v[2 : len(v)-1])
		}))
	}
	return all
}

// fields splits a value into words, and removes quotes.
func fields(value string) []string {
	words, err := shellWords(value, nil)
	if err != nil {
		return strings.Fields(value)
	}
	return words
}
