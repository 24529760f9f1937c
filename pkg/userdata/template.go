package userdata

import (
	"bytes"
	"regexp"
	"unicode/utf8"

	"bootagent/pkg/strictyaml"
)

// unrendered is what is wrong with a tag of a template. The tag is not quoted:
// it may have a default that is secret.
const unrendered = "a template was not rendered: a tag such as ${...} or {{ ... }} stands here; render it before you launch the instance"

var (
	// tag matches where a tag of a template begins: those of Terraform, CloudFormation
	// and shells, of Jinja, Go and Mustache, and of ERB. No value of ours holds one.
	tag = regexp.MustCompile(`\$\{|\$\(|\$\[\[|\{\{|\{%|%\{|<%|@@[A-Za-z_]\w*@@|` +
		// and what is a variable of a shell, or of Windows, as a whole value
		`(?:[:,\[][ \t]+|[\[{-][ \t]*)["']?(?:\$[A-Za-z_]\w*|%[A-Za-z_]\w*%)["']?[ \t\r]*(?:[,}\]]|$)`)

	// onlyTag matches a text that is one tag and nothing else.
	onlyTag = regexp.MustCompile(`^\s*(?:\$\{[^{}]*\}|\$\([^()]*\)|\{\{[^{}]*\}\}|<%[^%]*%>|%\{[^{}]*\})\s*$`)
)

// maxTags bounds how many tags are told.
const maxTags = 50

// findTags gives an error that names each tag of a template in a document. What
// stands in a comment is left alone.
func findTags(name string, text []byte) error {
	var errs strictyaml.Errors
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = strictyaml.WithoutComment(bytes.TrimRight(line, "\r\n"))
		at := tag.FindIndex(line)
		if at == nil || len(errs) == maxTags {
			continue
		}
		// The match may begin at what comes before a variable.
		from := at[0] + bytes.IndexAny(line[at[0]:], "$%{<@")
		errs = append(errs, &strictyaml.Error{
			File: name, Line: n, Column: utf8.RuneCount(line[:from]) + 1, Problem: unrendered,
		})
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}
