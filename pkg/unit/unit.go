// Package unit knows the names of systemd's units: which names are valid, how
// a name is escaped and split into its parts, what bootagent calls its own
// units, and which units may be held. It is the only place that decides any of
// these: role files, guards, the generator and the agent ask it. It reads no
// files, and it imports only the standard library.
package unit

import (
	"path"
	"slices"
	"strings"
)

// MaxName is how long the name of a unit may be, in bytes: systemd's
// UNIT_NAME_MAX less the terminating zero (src/basic/unit-name.h).
const MaxName = 255

// JournalField is the field of a journal entry that names another unit:
// systemctl status of that unit then shows the entry (systemd.journal-fields(7)).
const JournalField = "OBJECT_SYSTEMD_UNIT"

// HeldTypes returns the types of units that can be held without delaying the
// boot itself. Too many other units are ordered after a target or a mount.
func HeldTypes() []string { return []string{".service", ".socket", ".timer", ".path"} }

// types returns all types of units (systemd.unit(5)).
func types() []string {
	return append(HeldTypes(), ".target", ".mount", ".automount", ".swap", ".slice", ".scope", ".device")
}

// Valid reports whether systemd accepts name as the name of a unit or of a
// template (unit_name_is_valid in src/basic/unit-name.c).
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

// NameByte reports whether c is allowed in the name of a unit
// (VALID_CHARS_WITH_AT in src/basic/unit-name.c).
func NameByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte(`:-_.\@`, c) >= 0
}

// Stem returns the name of a unit without its type: foo@x for foo@x.service.
func Stem(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }

// IsService reports whether a unit is a service, by its name.
func IsService(name string) bool { return path.Ext(name) == ".service" }

// ServiceOf returns the service that a socket, timer or path starts unless its
// file names another unit: foo.service for foo.socket.
func ServiceOf(name string) string { return Stem(name) + ".service" }

// Prefix returns the part of a unit's name before the @, or before its type.
func Prefix(name string) string {
	before, _, _ := strings.Cut(Stem(name), "@")
	return before
}

// Instance returns the part of a unit's name between the @ and the type, or "".
func Instance(name string) string {
	_, after, _ := strings.Cut(Stem(name), "@")
	return after
}

// Template returns foo@.service for foo@x.service and for foo.service.
func Template(name string) string { return Prefix(name) + "@" + path.Ext(name) }

// Instantiate returns foo@x.service for foo@.service and x.
func Instantiate(template, instance string) string {
	return Prefix(template) + "@" + instance + path.Ext(template)
}

// IsTemplate reports whether name is a template, such as foo@.service. systemd
// starts only the instances of a template.
func IsTemplate(name string) bool {
	return strings.HasSuffix(Stem(name), "@") && Instance(name) == ""
}

// Escape escapes text as a part of a unit's name, as systemd-escape(1) does: /
// becomes -, and every byte except letters, digits, : _ and . becomes \x and
// two hexadecimal digits. A dot at the beginning is escaped, too.
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

// EscapePath escapes a clean, absolute path, as systemd-escape --path does:
// srv-my\x2ddata for /srv/my-data.
func EscapePath(p string) string {
	p = strings.Trim(p, "/")
	if p == "" {
		return "-"
	}
	return Escape(p)
}
