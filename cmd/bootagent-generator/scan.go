package main

import (
	"slices"
	"strings"

	"bootagent/pkg/unit"
)

// named gives the units that a text which is no role file any more would have
// held: those that stand as a key, as the services of a role do, and those
// that are the value of a key about guards or services. What stands elsewhere
// is not held: a comment, the unit of a probe, or the ssh.service of a setting
// that no role file has, without which nobody could come to mend the file.
func named(text []byte) []string {
	var units []string
	var key string // the last one, as a list may go on for lines
	for line := range strings.Lines(string(text)) {
		line = uncomment(line)
		for len(line) > 0 {
			start := strings.IndexFunc(line, isWordRune)
			if start < 0 {
				break
			}
			line = line[start:]
			end := strings.IndexFunc(line, func(r rune) bool { return !isWordRune(r) })
			if end < 0 {
				end = len(line)
			}
			word, rest := line[:end], line[end:]
			line = rest

			word, isKey := strings.CutSuffix(word, ":")
			if isKey = isKey || strings.HasPrefix(strings.TrimLeft(rest, " \t\"'"), ":"); isKey {
				key = word
			}
			about := strings.Contains(key, "guard") || strings.HasPrefix(key, "service")
			if (isKey || about) && unit.MayHold(word) == nil && !slices.Contains(units, word) {
				units = append(units, word)
			}
		}
	}
	return units
}

// uncomment cuts off what YAML takes as a comment.
func uncomment(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

// isWordRune tells whether r may stand in the name of a unit, or in a path,
// which then is one word and not the name of a unit at its end.
func isWordRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(`:-_.\@/`, r)
}
