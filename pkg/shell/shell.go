// Package shell writes words so that a POSIX shell reads them as they are, for
// commands that a person pastes. It runs nothing.
package shell

import "strings"

// plain are the characters, beside those that are not ASCII, to which no shell
// gives a meaning in a word.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,@%+="

// Quote quotes a word where it has to be: the backslash of
// srv-my\x2ddata.service would be lost else.
func Quote(word string) string {
	special := func(r rune) bool { return r < 0x80 && !strings.ContainsRune(plain, r) }
	if word != "" && !strings.ContainsFunc(word, special) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Join writes words as Quote does, with spaces between them.
func Join(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = Quote(word)
	}
	return strings.Join(quoted, " ")
}
