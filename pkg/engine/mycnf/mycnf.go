// Package mycnf tells which values the options of a server of MySQL or MariaDB
// give to its variables: those of its option files, as my_print_defaults prints
// them, and those of its command line. It reads text, and runs nothing.
//
// The rules are those of handle_options in mysys/my_getopt.c of both servers.
// Where an option is written in a way that this package does not follow to the
// end, the answer is that it cannot tell, never a guess.
package mycnf

import (
	"bufio"
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// A Help is what a server prints with --verbose --help.
type Help struct {
	Version string            // of the server: "10.11.19-MariaDB-0+deb12u1", "9.7.4-2", "8.0.36-28 Percona"
	Groups  []string          // of option files that it reads
	Values  map[string]string // of its variables, which are written with dashes
	long    map[string]arg    // its options, by name
	short   map[byte]arg      // those of one letter
}

// arg is whether an option has an argument.
type arg int

const (
	noArg arg = iota
	mayHave
	mustHave
)

var (
	optionLine  = regexp.MustCompile(`^  (?:-(.), )?--([a-z0-9][a-z0-9_-]*)(\[=|=)?`)
	versionLine = regexp.MustCompile(`^\S*\s+Ver (\S+)`)
)

// none is what a server prints for a variable without a value.
const none = "(No default value)"

// ParseHelp reads what a server prints with --verbose --help: its version, the
// groups, the options, and a table of variables with a space before each value,
// which may have spaces in it.
func ParseHelp(output []byte) Help {
	h := Help{Values: make(map[string]string), long: make(map[string]arg), short: make(map[byte]arg)}
	const groups = "The following groups are read: "
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 1<<20)
	table := false
	for lines.Scan() {
		line := lines.Text()
		switch {
		case h.Version == "" && versionLine.MatchString(line):
			h.Version = versionLine.FindStringSubmatch(line)[1]
			if strings.Contains(line, "Percona") {
				h.Version += " Percona"
			}
		case strings.HasPrefix(line, groups):
			h.Groups = strings.Fields(line[len(groups):])
		case strings.HasPrefix(line, "-----"):
			table = true
		case table:
			name, value, _ := strings.Cut(line, " ")
			if value = strings.TrimSpace(value); name != "" && value != none {
				h.Values[name] = value
			}
		default:
			h.option(line)
		}
	}
	return h
}

// option reads a line such as "  -h, --datadir=name  Path to the directory".
func (h Help) option(line string) {
	m := optionLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	kind := map[string]arg{"": noArg, "[=": mayHave, "=": mustHave}[m[3]]
	h.long[m[2]] = kind
	if m[1] != "" {
		h.short[m[1][0]] = kind
	}
}

// Defaults are the options at the beginning of a command line that say which
// option files are read.
func Defaults(args []string) []string {
	for i, a := range args {
		name, _, _ := strings.Cut(a, "=")
		if !slices.Contains([]string{"--no-defaults", "--defaults-file", "--defaults-extra-file", "--defaults-group-suffix", "--login-path", "--no-login-paths"}, name) ||
			name == a && name != "--no-defaults" && name != "--no-login-paths" {
			return args[:i]
		}
	}
	return args
}

// Variables returns the values that a server has when its option files have
// these lines, as my_print_defaults prints them, and its command line these
// arguments after those of Defaults. wanted are the variables that are asked for,
// written with dashes; other values are not in the result. The last option of a
// variable counts. It is false if that cannot be told.
func (h Help) Variables(wanted, file, args []string) (values map[string]string, ok bool) {
	values = make(map[string]string)
	for _, name := range wanted {
		if v, there := h.Values[name]; there && (name == "datadir" || v != h.Values["datadir"]) { // the others follow it
			values[name] = v
		}
	}
	set := func(name, value string) { values[name] = value }
	for _, line := range file {
		if !strings.HasPrefix(line, "--") || !h.take(wanted, line[2:], set) {
			return nil, false
		}
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--" || len(a) < 2 || a[0] != '-':
			return nil, false
		case a[1] == '-':
			if name := canonical(a[2:]); !strings.Contains(a, "=") && h.long[name] == mustHave && i+1 < len(args) {
				i++
				a += "=" + args[i]
			}
			if !h.take(wanted, a[2:], set) {
				return nil, false
			}
		case h.short[a[1]] == mustHave:
			value := a[2:]
			if value == "" {
				if i++; i == len(args) {
					return nil, false
				}
				value = args[i]
			}
			switch {
			case a[1] == 'h':
				set("datadir", value)
			case a[1] == 'r' || a[1] == 'b':
				return nil, false
			}
		case len(a) > 2:
			return nil, false
		}
	}
	return values, true
}

// canonical is the name of an option: whether it is written with dashes or with
// underscores counts for neither server.
func canonical(option string) string {
	name, _, _ := strings.Cut(option, "=")
	return strings.ReplaceAll(name, "_", "-")
}

// long_ takes an option that is written with two dashes, without those. It is
// false if it cannot tell what the option does to the wanted variables.
func (h Help) take(wanted []string, option string, set func(name, value string)) bool {
	name := strings.TrimPrefix(canonical(option), "loose-")
	if name != strings.ToLower(name) {
		return false // MariaDB ignores case, and MySQL does not
	}
	_, value, hasValue := strings.Cut(option, "=")
	if slices.Contains(wanted, name) {
		kind, known := h.long[name]
		switch {
		case hasValue && value != "" || hasValue && name != "datadir":
			set(name, value)
		case !hasValue && known && kind == mayHave:
			set(name, "") // its own default, which is in the data directory
		default:
			return false
		}
		return true
	}
	if kind, known := h.long[name]; known {
		return hasValue || kind != mustHave // without, it takes the next argument
	}
	for _, prefix := range []string{"skip-", "disable-", "enable-", "maximum-", "autoset-"} {
		rest, cut := strings.CutPrefix(name, prefix)
		switch {
		case !cut:
		case (prefix == "skip-" || prefix == "disable-") && rest == "log-bin" && !hasValue:
			set(rest, "")
			return true
		default:
			return !begins(wanted, rest) // even with a value that is not for it
		}
	}
	return hasValue && !begins(wanted, name) // of a plugin; without a value it may take the next argument
}

// begins tells whether a text is the beginning of one of the names: MariaDB takes
// an option by the beginning of its name, if that is the only one.
func begins(names []string, text string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, text) })
}
