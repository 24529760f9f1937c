package apparmor

import (
	"regexp"
	"strings"
)

// maxNested bounds how deep variables may be in variables.
const maxNested = 8

// compile returns the regular expression of a pattern (apparmor.d(5), "Globbing"),
// or nil if the pattern can't be understood, because it uses a variable that is not
// known, for example.
func (v variables) compile(pattern string) *regexp.Regexp {
	expr, ok := v.expression(pattern, 0)
	if !ok {
		return nil
	}
	re, err := regexp.Compile("^(?s:" + expr + ")$")
	if err != nil {
		return nil
	}
	return re
}

func (v variables) expression(pattern string, nested int) (expr string, ok bool) {
	if nested > maxNested {
		return "", false
	}
	var b strings.Builder
	braces := 0
	for i := 0; i < len(pattern); i++ {
		c, rest := pattern[i], pattern[i+1:]
		switch {
		case c == '\\' && rest != "":
			i++
			b.WriteString(regexp.QuoteMeta(rest[:1]))
		case c == '@' && strings.HasPrefix(rest, "{"):
			name, _, closed := strings.Cut(rest[1:], "}")
			values := v[name]
			if !closed || len(values) == 0 {
				return "", false
			}
			var any []string
			for _, value := range values {
				one, ok := v.expression(value, nested+1)
				if !ok {
					return "", false
				}
				any = append(any, one)
			}
			b.WriteString("(?:" + strings.Join(any, "|") + ")")
			i += len("{}") + len(name)
		case c == '*' && strings.HasPrefix(rest, "*"):
			i++
			b.WriteString(".*")
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[':
			class, _, closed := strings.Cut(rest, "]")
			if !closed {
				return "", false
			}
			b.WriteString("[" + class + "]")
			i += len(class) + 1
		case c == '{':
			braces++
			b.WriteString("(?:")
		case c == '}' && braces > 0:
			braces--
			b.WriteString(")")
		case c == ',' && braces > 0:
			b.WriteString("|")
		case c == '/':
			b.WriteString("/+") // a variable may end in one
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	return b.String(), braces == 0
}

// special are the characters that mean something in a pattern.
const special = `*?[]{}^,"\`

// literal returns the pattern that matches only one path.
func literal(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if strings.IndexByte(special, name[i]) >= 0 || name[i] == '@' && strings.HasPrefix(name[i+1:], "{") {
			b.WriteByte('\\')
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// samples returns paths that a pattern of ours matches: some for whatever may match.
func samples(pattern string) []string {
	stem, deep := strings.CutSuffix(pattern, "**")
	stem, flat := strings.CutSuffix(stem, "*")
	var b strings.Builder
	for i := 0; i < len(stem); i++ {
		if stem[i] == '\\' && i+1 < len(stem) {
			i++
		}
		b.WriteByte(stem[i])
	}
	switch name := b.String(); {
	case deep:
		return []string{name + "x", name + ".y", name + "x/y", name + "x/y/z.0"}
	case flat:
		return []string{name + "x", name + ".y"}
	default:
		return []string{name}
	}
}
