// Package unit knows the names of systemd's units: which are valid, how they
// are put together and taken apart, how a shell reads them, and which of them
// may be held. It is the one place that says the latter: role files, guards and
// the generator ask it. It reads nothing, and imports the standard library only.
package unit

import (
	"path"
	"slices"
	"strings"
)

// MaxName is how long the name of a unit may be, in bytes: systemd's
// UNIT_NAME_MAX less the terminating zero (src/basic/unit-name.h).
const MaxName = 255

// grantPrefix is what the name of a grant has before that of its service.
const grantPrefix = "bootagent-grant-"

// Grant is the name of the transient unit that a service is bound to:
// bootagent-grant-mariadb.service for mariadb.service.
func Grant(service string) string { return grantPrefix + service }

// HeldTypes are the types of units that can be held without holding up the
// boot itself: a target or a mount orders too much else.
func HeldTypes() []string { return []string{".service", ".socket", ".timer", ".path"} }

// types are all types of units that there are (man systemd.unit).
func types() []string {
	return append(HeldTypes(), ".target", ".mount", ".automount", ".swap", ".slice", ".scope", ".device")
}

// Valid tells whether systemd takes name as that of a unit, a template
// included (unit_name_is_valid).
func Valid(name string) bool {
	stem := Stem(name)
	if !slices.Contains(types(), path.Ext(name)) || stem == "" || stem[0] == '@' || len(name) > MaxName {
		return false
	}
	for i := range len(stem) {
		if !NameByte(stem[i]) {
			return false
		}
	}
	return true
}

// NameByte tells whether c may stand in the name of a unit (VALID_CHARS_WITH_AT).
func NameByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte(`:-_.\@`, c) >= 0
}

// Stem is the name of a unit without its type: foo@x for foo@x.service.
func Stem(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }

// Prefix is what stands before the @ of a unit's name, or before its type.
func Prefix(name string) string {
	before, _, _ := strings.Cut(Stem(name), "@")
	return before
}

// Instance is what stands behind the @ of a unit's name, or "".
func Instance(name string) string {
	_, after, _ := strings.Cut(Stem(name), "@")
	return after
}

// Template is foo@.service for foo@x.service.
func Template(name string) string { return Prefix(name) + "@" + path.Ext(name) }

// Instantiate is foo@x.service for foo@.service and x.
func Instantiate(template, instance string) string {
	return Prefix(template) + "@" + instance + path.Ext(template)
}

// IsTemplate tells whether a unit is one that only instances are started of.
func IsTemplate(name string) bool {
	return strings.HasSuffix(Stem(name), "@") && Instance(name) == ""
}

// Escape writes a text so that it can be a part of a unit's name, as
// systemd-escape(1) does: / as -, and what is neither letter, digit nor one of
// : _ . as \x2d.
func Escape(text string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '/':
			b.WriteByte('-')
		case c == '-' || c == '\\' || c == '@' || c == '.' && i == 0 || !NameByte(c):
			b.WriteString(`\x`)
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// EscapePath is how a clean, absolute path stands in the name of the unit that
// is about it: srv-my\x2ddata for /srv/my-data.
func EscapePath(p string) string {
	p = strings.Trim(p, "/")
	if p == "" {
		return "-"
	}
	return Escape(p)
}
