package redisconf

import "strings"

// spaces separate the words of a line, as isspace(3) has them.
const spaces = " \t\n\r\v\f"

// Split divides a line into words as sdssplitargs in Redis's sds.c does. Quotes
// may begin within a word. It is not ok where a quote is not closed, or where
// something other than a space follows a closing quote.
func Split(line string) (words []string, ok bool) {
	for i := 0; ; {
		for i < len(line) && strings.IndexByte(spaces, line[i]) >= 0 {
			i++
		}
		if i == len(line) {
			return words, true
		}
		word, n, ok := first(line[i:])
		if !ok {
			return nil, false
		}
		words = append(words, word)
		i += n
	}
}

// first takes the first word of a line, and says how many bytes it took.
func first(line string) (word string, n int, ok bool) {
	var b strings.Builder
	quote := byte(0)
	for n < len(line) {
		c, rest := line[n], line[n+1:]
		n++
		switch {
		case quote == 0 && strings.IndexByte(" \n\r\t", c) >= 0:
			return b.String(), n, true
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			return b.String(), n, rest == "" || strings.IndexByte(spaces, rest[0]) >= 0
		case quote == '"' && c == '\\' && len(rest) >= 3 && rest[0] == 'x' && isHex(rest[1]) && isHex(rest[2]):
			b.WriteByte(hex(rest[1])<<4 | hex(rest[2]))
			n += 3
		case quote == '"' && c == '\\' && rest != "":
			b.WriteByte(escaped(rest[0]))
			n++
		case quote == '\'' && c == '\\' && strings.HasPrefix(rest, "'"):
			b.WriteByte('\'')
			n++
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), n, quote == 0
}

// escaped is what a letter behind a backslash stands for.
func escaped(c byte) byte {
	if i := strings.IndexByte("nrtba", c); i >= 0 {
		return "\n\r\t\b\a"[i]
	}
	return c
}

func isHex(c byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", c) >= 0 }

func hex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}
