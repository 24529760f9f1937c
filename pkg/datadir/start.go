package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bootagent/pkg/shell"
)

// A Start is how a service is started.
type Start struct {
	Unit     string
	Commands []Exec
	Env      []string // NAME=VALUE; the last of a name counts
	Root     string   // directory or image that it has for its root, or ""
}

// An Exec is one command of a service, before variables are put in.
type Exec struct {
	Path    string
	Argv    []string // with argv[0]
	Literal bool     // no variable is put in
}

// An UnclearError is a start of an engine whose arguments can't be told, so
// that nobody knows which data directory it would use.
type UnclearError struct {
	Unit, Why string
}

func (e *UnclearError) Error() string {
	return fmt.Sprintf("cannot tell with which arguments %s starts its engine: %s", e.Unit, e.Why)
}

// Hint is what a person can do.
func (e *UnclearError) Hint() string {
	return "have its ExecStart= run the engine itself, with its settings in the engine's own files: systemctl edit " + shell.Quote(e.Unit)
}

// Final says that trying again does not help.
func (e *UnclearError) Permanent() bool { return true }

// argv is with what a service starts one of the programs; it is nil where it
// starts none of them.
func (s Start) argv(programs []string) (found []string, err error) {
	unclear := func(format string, a ...any) error { return &UnclearError{s.Unit, fmt.Sprintf(format, a...)} }
	for _, c := range s.Commands {
		if !c.mentions(programs) {
			continue
		}
		switch {
		case found != nil:
			return nil, unclear("it runs two commands that name one")
		case s.Root != "":
			return nil, unclear("it has a root of its own, %s", s.Root)
		}
		argv := c.Argv
		if len(argv) == 0 {
			argv = []string{c.Path}
		}
		if !c.Literal {
			argv = s.expand(argv)
		}
		if isShell(c.Path) {
			found, err = s.shell(argv[1:], programs)
		} else {
			found, err = direct(c.Path, argv, programs)
		}
		if err != nil {
			return nil, unclear("%v", err)
		}
	}
	return found, nil
}

// mentions tells whether a command has to do with one of the programs.
func (c Exec) mentions(programs []string) bool {
	return slices.ContainsFunc(append([]string{c.Path}, c.Argv...), func(word string) bool {
		return slices.ContainsFunc(strings.FieldsFunc(word, func(r rune) bool {
			return strings.ContainsRune(" \t\n;&|()`'\"=", r)
		}), func(part string) bool {
			dir, base := path.Split(part)
			if dir != "" && !strings.HasSuffix(dir, "bin/") && !strings.HasSuffix(dir, "libexec/") {
				return false // such as /run/mysqld
			}
			return slices.Contains(programs, base) || slices.ContainsFunc(programs, func(p string) bool {
				return strings.HasPrefix(base, p+"-safe") || strings.HasPrefix(base, p+"_safe") || strings.HasPrefix(base, p+"_multi") || strings.HasPrefix(base, p+"-multi")
			})
		})
	})
}

func isShell(program string) bool {
	return slices.Contains([]string{"sh", "bash", "dash", "ash"}, path.Base(program))
}

// direct takes from a command what runs a program, perhaps by one
// of those that only change how it is run.
func direct(program string, argv, programs []string) ([]string, error) {
	if slices.Contains(programs, path.Base(program)) {
		return slices.Concat([]string{program}, argv[1:]), nil
	}
	around := []string{"nice", "ionice", "numactl", "taskset", "chrt", "setpriv", "prlimit", "stdbuf"}
	if !slices.Contains(around, path.Base(program)) {
		return nil, fmt.Errorf("it runs %s, which may start the engine with others", program)
	}
	for i, word := range argv[1:] {
		if slices.Contains(programs, path.Base(word)) {
			return argv[i+1:], nil
		}
	}
	return nil, fmt.Errorf("it runs %s, and not the engine itself", program)
}

// value is that of a variable of the service's environment, "" where it has none.
func (s Start) value(name string) string {
	for _, e := range slices.Backward(s.Env) {
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

// expand puts variables in as systemd does (systemd.service(5), "Command
// lines"): $NAME as an argument of its own becomes as many as it has words,
// ${NAME} anywhere becomes its value.
func (s Start) expand(argv []string) (all []string) {
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

// fields splits a value into words, and takes quotes away.
func fields(value string) []string {
	words, err := shellWords(value, nil)
	if err != nil {
		return strings.Fields(value)
	}
	return words
}

var (
	// changes matches what a script may do that decides over the arguments.
	changes = regexp.MustCompile(`(?:^|[;&|{(\s])(?:\.|source|eval|export|cd|set\s+--|read|alias)\s`)

	// assigned matches a variable that a script sets.
	assigned = regexp.MustCompile(`(?:^|[;&|{(\s])([A-Za-z_][A-Za-z0-9_]*)=`)

	// harmless is what Debian's unit begins with; it changes no arguments.
	harmless = regexp.MustCompile(`(?:^|[;&|]\s*)set\s+-[a-z]+\s*;`)
)

// shell takes from sh -c SCRIPT what runs a program, as MariaDB's own unit does
// since 11: exec /usr/sbin/mariadbd $MYSQLD_OPTS $VAR.
func (s Start) shell(args, programs []string) ([]string, error) {
	if len(args) < 2 || !regexp.MustCompile(`^-[a-z]*c$`).MatchString(args[0]) {
		return nil, fmt.Errorf("it runs a shell that reads a script elsewhere")
	}
	if len(args) > 2 {
		return nil, fmt.Errorf("it runs a shell with arguments of its own")
	}
	script := harmless.ReplaceAllString(args[1], ";")
	if changes.MatchString(script) {
		return nil, fmt.Errorf("it runs a script that may change them")
	}
	set := make(map[string]bool)
	for _, m := range assigned.FindAllStringSubmatch(script, -1) {
		set[m[1]] = true
	}
	var found []string
	for _, command := range regexp.MustCompile(`;|&&|\|\||\||\n|&`).Split(script, -1) {
		command = strings.TrimSpace(command)
		command = strings.TrimSpace(strings.TrimPrefix(command, "exec "))
		program, rest, _ := strings.Cut(command, " ")
		if !slices.Contains(programs, path.Base(program)) {
			if (Exec{Path: command}).mentions(programs) {
				return nil, fmt.Errorf("it runs a script that names the engine elsewhere than in a command of its own")
			}
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("it runs a script that names the engine twice")
		}
		words, err := shellWords(rest, func(name string) (string, error) {
			switch {
			// What Galera's tool prints is where its replication begins.
			case set[name] && strings.Contains(script, "galera_recovery"), galera[name]:
				return "", nil
			case set[name]:
				return "", fmt.Errorf("it runs a script that sets $%s itself", name)
			}
			return s.value(name), nil
		})
		if err != nil {
			return nil, err
		}
		found = slices.Concat([]string{program}, words)
	}
	if found == nil {
		return nil, fmt.Errorf("it runs a script that does not start the engine in a command of its own")
	}
	return found, nil
}

// galera are variables that Galera's tools set before a start. They say from
// where to replicate, not where data is.
var galera = map[string]bool{"_WSREP_NEW_CLUSTER": true, "_WSREP_START_POSITION": true}

// shellWords splits a text as a shell would, with variables put in. Where a
// shell would do more, it is an error. Without value a $ is a letter.
func shellWords(text string, value func(name string) (string, error)) (words []string, err error) {
	var word strings.Builder
	in := false // a word, which may be empty
	end := func() {
		if in {
			words = append(words, word.String())
		}
		word.Reset()
		in = false
	}
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote == '\'' && c != '\'', quote == '"' && c != '"' && c != '$' && c != '\\' && c != '`':
			word.WriteByte(c)
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, in = c, true
		case c == '\\' && i+1 < len(text):
			i++
			in = true
			word.WriteByte(text[i])
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			end()
		case c == '$' && value != nil:
			m := shellVariable.FindStringSubmatch(text[i:])
			if m == nil {
				return nil, fmt.Errorf("it runs a script that makes them by a command")
			}
			v, err := value(m[1] + m[2])
			if err != nil {
				return nil, err
			}
			i += len(m[0]) - 1
			if quote != 0 {
				word.WriteString(v)
				continue
			}
			parts := strings.Fields(v)
			for j, part := range parts {
				if j > 0 {
					end()
				}
				in = true
				word.WriteString(part)
			}
		case value != nil && strings.IndexByte("`*?[]()<>{}#~", c) >= 0:
			return nil, fmt.Errorf("it runs a script that has a %q among them", c)
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote in them is not closed")
	}
	end()
	return words, nil
}

var shellVariable = regexp.MustCompile(`^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)

// environmentMax bounds how much of an EnvironmentFile= is read, in bytes.
const environmentMax = 64 << 10

// ReadEnvironmentFile reads the variables of an EnvironmentFile=
// (systemd.exec(5)): lines of NAME=VALUE, with quotes and comments. One that is
// not there has none.
func ReadEnvironmentFile(path string) ([]string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	text, err := io.ReadAll(io.LimitReader(f, environmentMax+1))
	if err == nil && len(text) > environmentMax {
		err = fmt.Errorf("%s has more than %d bytes", path, environmentMax)
	}
	return environment(string(text)), err
}

func environment(text string) (env []string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		env = append(env, strings.TrimSpace(name)+"="+value)
	}
	return env
}
