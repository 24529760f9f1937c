// Package wildcard matches text against the patterns of IAM policies and of EC2's filters: * stands for
// any text, ? for one character.
package wildcard

import "slices"

// Match reports whether s matches a pattern.
func Match(pattern, s string) bool { return Parse(pattern).Match(s) }

// A Pattern is a parsed pattern.
type Pattern []glyph

// A glyph is one character of a pattern.
type glyph struct {
	char rune
	wild bool
}

// Parse parses a pattern of an IAM policy. A backslash stands for itself.
func Parse(text string) Pattern { return parse(text, false) }

// ParseFilter parses a value of an EC2 filter. In it, a backslash removes the special meaning of the next
// character.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
func ParseFilter(text string) Pattern { return parse(text, true) }

func parse(text string, escapes bool) Pattern {
	var out Pattern
	escaped := false
	for _, r := range text {
		switch {
		case escapes && !escaped && r == '\\':
			escaped = true
			continue
		case !escaped && (r == '*' || r == '?'):
			out = append(out, glyph{r, true})
		default:
			out = append(out, glyph{r, false})
		}
		escaped = false
	}
	return out
}

// Literal returns a copy of the pattern in which * and ? stand for themselves.
func (p Pattern) Literal() Pattern {
	out := slices.Clone(p)
	for i := range out {
		out[i].wild = false
	}
	return out
}

// Match reports whether s matches the pattern. When a character does not match, Match returns to the last
// star and lets it stand for one more character.
func (p Pattern) Match(s string) bool {
	runes := []rune(s)
	at, n, star, from := 0, 0, -1, 0
	for n < len(runes) {
		switch {
		case at < len(p) && p[at] == glyph{'*', true}:
			star, from = at, n
			at++
		case at < len(p) && (p[at] == glyph{'?', true} || p[at] == glyph{runes[n], false}):
			at++
			n++
		case star >= 0:
			from++
			at, n = star+1, from
		default:
			return false
		}
	}
	for at < len(p) && p[at] == (glyph{'*', true}) {
		at++
	}
	return at == len(p)
}
