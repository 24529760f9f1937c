package strictyaml

import "strings"

// DidYouMean returns the hint `; did you mean "filesystem"?` for the word of
// known that is nearest to a wrong one, or nothing where none is near. Near is
// also the one word that has a further part before or after a dot.
func DidYouMean(wrong string, known []string) string {
	var longer []string
	for _, word := range known {
		if strings.HasPrefix(word, wrong+".") || strings.HasSuffix(word, "."+wrong) {
			longer = append(longer, word)
		}
	}
	if len(longer) == 1 && wrong != "" {
		return "; did you mean " + Quote(longer[0]) + "?"
	}
	best, least := "", 1<<30
	for _, word := range known {
		if d := distance(fold(wrong), fold(word)); d < least {
			best, least = word, d
		}
	}
	if best == "" || least > farthest(best) || least >= len(wrong) {
		return ""
	}
	return "; did you mean " + Quote(best) + "?"
}

// farthest is how many slips of a finger still make a near miss of a word.
func farthest(word string) int {
	switch {
	case len(word) <= 4:
		return 1
	case len(word) <= 8:
		return 2
	}
	return 3
}

// fold takes away what people mix up without a slip.
func fold(word string) string {
	return strings.ReplaceAll(strings.ToLower(word), "_", "-")
}

// distance counts the letters to add, drop, change or swap with their
// neighbour to get from one word to the other (optimal string alignment). Of a
// long word only the beginning is looked at.
func distance(from, to string) int {
	a, b := []rune(from), []rune(to)
	a, b = a[:min(len(a), 2*maxQuoted)], b[:min(len(b), 2*maxQuoted)]
	var before, above []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range b {
			change := above[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(above[j+1]+1, row[j]+1, change)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
