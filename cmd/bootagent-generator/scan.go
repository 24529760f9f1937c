package main

import (
	"slices"
	"strings"

	"bootagent/pkg/unit"
)

// named returns the units that a broken role file seems to hold: those that are a
// key, as the services of a role are, and those that are the value of a key about
// guards or services. It ignores names elsewhere, such as in a comment, in the unit
// of a probe, or under a key that no role file has. Nor does it return a unit such as
// ssh.service: without that, nobody could log in to correct the file.
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
			with := strings.Contains(key, "guard") && !isKey
			about := with || strings.HasPrefix(key, "service")
			may := unit.MayHold
			if with {
				may = unit.MayHoldWith // a template, too
			}
			if (isKey || about) && may(word) == nil && !slices.Contains(units, word) {
				units = append(units, word)
			}
		}
	}
	return units
}

// uncomment removes a YAML comment from a line.
func uncomment(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

// isWordRune reports whether r may be in the name of a unit or in a path. So a path
// is one word, and the name of a unit at its end is not taken for a unit.
func isWordRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(`:-_.\@/`, r)
}
