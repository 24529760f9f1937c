package unit

import (
	"path"
	"strings"
)

// RootSlice is the slice that contains all others.
const RootSlice = "-.slice"

// DefaultSlice returns the slice of a service without Slice=. The instances of a
// template have a slice of their own (unit_set_default_slice in src/core/unit.c).
func DefaultSlice(name string) string {
	if Instance(name) == "" && !IsTemplate(name) {
		return "system.slice"
	}
	return "system-" + Escape(Prefix(name)) + ".slice"
}

// IsSlice reports whether systemd accepts a name as the name of a slice.
func IsSlice(name string) bool {
	return path.Ext(name) == ".slice" && Valid(name) && !strings.Contains(name, "@")
}

// ParentSlice returns the slice that contains a slice: a.slice for a-b.slice, and
// -.slice for a.slice.
func ParentSlice(slice string) string {
	stem := Stem(slice)
	if dash := strings.LastIndexByte(stem, '-'); dash > 0 {
		return stem[:dash] + ".slice"
	}
	return RootSlice
}
