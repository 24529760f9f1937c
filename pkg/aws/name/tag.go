package name

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The longest key and value of a tag, in characters, and the prefix that AWS
// reserves, in any case (EC2 User Guide, "Tag your Amazon EC2 resources").
const (
	maxTagKey   = 128
	maxTagValue = 256
	awsTag      = "aws:"
)

// CheckTagKey refuses a text that can't be the key of a tag that a person
// writes, or that can't stand in a filter of EC2.
func CheckTagKey(key string) error {
	length := utf8.RuneCountInString(key)
	switch {
	case key == "":
		return errEmpty
	case length > maxTagKey:
		return fmt.Errorf("too long: %d characters; EC2 allows %d", length, maxTagKey)
	case strings.HasPrefix(strings.ToLower(key), awsTag):
		return fmt.Errorf("begins with %s, which AWS reserves", awsTag)
	}
	return CheckTagPart(key)
}

// CheckTagValue refuses a text that can't be the value of a tag once values are
// put into it. An empty one is most likely what an expansion left of a value.
func CheckTagValue(value string) error {
	if value == "" {
		return errEmpty
	}
	return CheckTagPart(value)
}

// CheckTagPart refuses a text that can't be part of a tag's value. Wildcards
// of EC2's filters are refused, though a tag may have them: a filter would find
// other resources too (EC2 API Reference, "Filter").
func CheckTagPart(text string) error {
	switch length := utf8.RuneCountInString(text); {
	case strings.ContainsAny(text, `*?\`):
		return fmt.Errorf(`the characters * ? \ are not allowed: EC2 treats them as wildcards`)
	case !printable(text):
		return errPrintable
	case length > maxTagValue:
		return fmt.Errorf("too long: %d characters; EC2 allows %d", length, maxTagValue)
	}
	return nil
}

var errPrintable = fmt.Errorf("only printable characters and spaces are allowed")

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
