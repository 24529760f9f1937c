package execstart

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	// changes matches what a script may do that changes the arguments or the environment.
	changes = regexp.MustCompile(`(?:^|[;&|{(\s])(?:\.|source|eval|export|cd|set\s+--|read|alias)\s`)

	// assigned matches a variable that a script sets.
	assigned = regexp.MustCompile(`(?:^|[;&|{(\s])([A-Za-z_][A-Za-z0-9_]*)=`)

	// harmless is how the script of Debian's mariadb.service begins; it changes no arguments.
	harmless = regexp.MustCompile(`(?:^|[;&|]\s*)set\s+-[a-z]+\s*;`)
)

// script takes the program and its arguments from sh -c SCRIPT. MariaDB's own
// unit runs one since 11: exec /usr/sbin/mariadbd $MYSQLD_OPTS $VAR.
func (s Service) script(args []string, p Program) ([]string, error) {
	if len(args) < 2 || !regexp.MustCompile(`^-[a-z]*c$`).MatchString(args[0]) {
		return nil, errors.New("it runs a shell, and the script is not in the unit")
	}
	if len(args) > 2 {
		return nil, errors.New("it runs a shell that passes arguments to its script")
	}
	script := harmless.ReplaceAllString(args[1], ";")
	if changes.MatchString(script) {
		return nil, errors.New("it runs a script that may change them")
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
		if !p.is(program) {
			if p.in(Exec{Path: command}) {
				return nil, fmt.Errorf("it runs a script that names %s inside another command", p.Names[0])
			}
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("it runs a script that starts %s in two places", p.Names[0])
		}
		words, err := shellWords(rest, func(name string) (string, error) {
			switch {
			case slices.Contains(p.Neutral, name), set[name] && slices.ContainsFunc(p.NeutralTools, func(tool string) bool { return strings.Contains(script, tool) }):
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
		return nil, fmt.Errorf("it runs a script in which no command starts %s directly", p.Names[0])
	}
	return found, nil
}

// shellWords splits a text into words as a shell would, and replaces variables
// by their values. What only a shell can evaluate is an error. Without the
// function value, "$" is an ordinary character.
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
				return nil, errors.New("it runs a script that gets them from a command")
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
			return nil, fmt.Errorf("it runs a script that only a shell can evaluate: it has %q", c)
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote in them is not closed")
	}
	end()
	return words, nil
}

var shellVariable = regexp.MustCompile(`^\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)
