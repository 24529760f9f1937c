package apparmor

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// parse returns the profiles of a text, without those that are part of another
// profile, and adds the variables that the text sets. It knows of apparmor.d(5) what
// is needed here, and skips the rest.
func parse(text string, vars variables) (profiles []profile) {
	in := scanner{rest: text}
	depth := 0
	for !in.done() {
		words, end := in.statement(vars)
		first := ""
		if len(words) > 0 {
			first = words[0]
		}
		switch {
		case end == '}':
			depth = max(depth-1, 0)
		case end == '{':
			if depth++; depth == 1 {
				p := header(words)
				before := text[:len(text)-len(in.rest)]
				p.head = before[strings.LastIndex(before, "\n")+1:]
				profiles = append(profiles, p)
			}
		case depth != 1 || first == "":
		case first == "include":
			p := &profiles[len(profiles)-1]
			target := strings.Trim(words[len(words)-1], `<>"`)
			if in, name := path.Split(strings.TrimPrefix(target, dir+"/")); in == "local/" {
				p.includes = append(p.includes, include{name, len(words) == 4})
			}
		case len(words) == 2 && strings.ContainsAny(first[:1], "/@{"):
			p := &profiles[len(profiles)-1]
			p.rules = append(p.rules, rule{first, words[1]})
		}
	}
	return profiles
}

// header reads what is before the brace of a profile:
//
//	profile NAME [PATTERN] [flags=(...)]
//	PATTERN [flags=(...)]
func header(words []string) (p profile) {
	for _, word := range words {
		flags, isFlags := strings.CutPrefix(word, "flags=")
		switch {
		case isFlags:
			all := strings.FieldsFunc(flags, func(r rune) bool { return strings.ContainsRune("(), \t\n", r) })
			p.flagged = true
			p.unconfined = slices.Contains(all, "unconfined")
			p.attachDisconnected = slices.Contains(all, "attach_disconnected")
		case word == "profile" && p.name == "" || strings.HasPrefix(word, "xattrs="):
		case p.name == "":
			p.name = word
		case strings.ContainsAny(word[:1], "/@{"):
			p.attach = append(p.attach, word)
		}
	}
	if len(p.attach) == 0 && p.name != "" && strings.ContainsAny(p.name[:1], "/@{") {
		p.attach = []string{p.name}
	}
	return p
}

// A scanner splits a text into statements.
type scanner struct{ rest string }

func (s *scanner) done() bool { return s.rest == "" }

// assignment matches a line that sets a variable.
var assignment = regexp.MustCompile(`^@\{(\w+)\}[ \t]*\+?=([^\n]*)`)

// statement returns the words of the next statement and what ends it: a comma, a
// brace, or for an include a newline. An assignment has no words.
func (s *scanner) statement(vars variables) (words []string, end byte) {
	for {
		s.space()
		if s.done() {
			return words, 0
		}
		if len(words) == 0 {
			if m := assignment.FindStringSubmatch(s.rest); m != nil {
				s.rest = s.rest[len(m[0]):]
				value, _, _ := strings.Cut(m[2], " #")
				vars.add(m[1], strings.Fields(strings.ReplaceAll(value, `"`, "")))
				return nil, '\n'
			}
			s.rest = strings.TrimPrefix(s.rest, "#") // of #include; space has skipped comments
		}
		word := s.word()
		before, isLast := strings.CutSuffix(word, ",")
		switch {
		case word == "{" || word == "}":
			return words, word[0]
		case strings.HasSuffix(word, "){"):
			return append(words, word[:len(word)-1]), '{'
		case isLast && before != "":
			return append(words, before), ','
		case isLast:
			return words, ','
		}
		words = append(words, word)
		if words[0] == "include" && (strings.HasPrefix(word, "<") || len(words) > 1 && word != "if" && word != "exists") {
			return words, '\n'
		}
	}
}

// space skips white space and comments.
func (s *scanner) space() {
	for {
		s.rest = strings.TrimLeft(s.rest, " \t\r\n")
		if !strings.HasPrefix(s.rest, "#") || strings.HasPrefix(s.rest, "#include") {
			return
		}
		_, s.rest, _ = strings.Cut(s.rest, "\n")
	}
}

// word returns the next word, which has no space but in quotes or parentheses, and
// removes quotes.
func (s *scanner) word() string {
	var b strings.Builder
	quoted, depth := false, 0
	for i := range len(s.rest) {
		switch c := s.rest[i]; {
		case c == '"':
			quoted = !quoted
			continue
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case strings.IndexByte(" \t\r\n", c) >= 0 && depth <= 0:
			s.rest = s.rest[i:]
			return b.String()
		}
		b.WriteByte(s.rest[i])
	}
	s.rest = ""
	return b.String()
}
