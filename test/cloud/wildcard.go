package cloud

import "slices"

// like tells whether s fits a pattern, as in an IAM policy: * stands for any text, ? for one
// character.
func like(pattern, s string) bool { return fits(parse(pattern, false), []rune(s)) }

// likeFilter is like, as in the value of an EC2 filter: there, a backslash takes the meaning from
// the character behind it.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
func likeFilter(pattern, s string) bool { return fits(parse(pattern, true), []rune(s)) }

// A glyph is one character of a pattern.
type glyph struct {
	char rune
	wild bool
}

func parse(pattern string, escapes bool) []glyph {
	var out []glyph
	escaped := false
	for _, r := range pattern {
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

// literal takes the meaning from all of a pattern.
func literal(pattern []glyph) []glyph {
	out := slices.Clone(pattern)
	for i := range out {
		out[i].wild = false
	}
	return out
}

// fits goes back to the last star whenever it is stuck, and has it stand for one character more.
func fits(pattern []glyph, s []rune) bool {
	p, n, star, from := 0, 0, -1, 0
	for n < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == glyph{'*', true}:
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == glyph{'?', true} || pattern[p] == glyph{s[n], false}):
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == (glyph{'*', true}) {
		p++
	}
	return p == len(pattern)
}
