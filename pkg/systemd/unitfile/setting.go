package unitfile

import (
	"path"
	"strings"

	"bootagent/pkg/unit"
)

// A Setting is one assignment in a unit file.
type Setting struct {
	Section, Key, Value string
}

// Parse returns the assignments of a unit file in their order
// (systemd.syntax(7)). Like systemd, it ignores all other lines.
func Parse(text []byte) []Setting {
	var settings []Setting
	var section, joined string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue // also between continued lines
		}
		line = joined + line
		if before, more := strings.CutSuffix(line, `\`); more {
			joined = before + " "
			continue
		}
		joined = ""
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = line[1 : len(line)-1]
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok {
			settings = append(settings, Setting{section, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return settings
}

// Settings returns the assignments of a unit, those of its drop-ins last. A file
// that can't be read has none.
func (t *Tree) Settings(name string) []Setting {
	var all []Setting
	for _, file := range t.Fragments(name) {
		if text, err := t.Read(file); err == nil {
			all = append(all, Parse(text)...)
		}
	}
	return all
}

// Fragments returns the files that systemd reads for a unit, in its order: the
// unit's own file, then its drop-ins.
func (t *Tree) Fragments(name string) []string {
	if file := t.File(name); file != "" {
		return append([]string{file}, t.DropIns(name)...)
	}
	return t.DropIns(name)
}

// family returns the names whose drop-ins a unit of this name reads, highest
// priority first (unit_file_find_dirs): foo-bar@x.service, foo-bar@.service,
// foo-.service, foo-@x.service, foo-@.service.
func family(name string) []string {
	names := []string{name}
	if unit.Instance(name) != "" {
		names = append(names, family(unit.Template(name))...)
	}
	stem := unit.Prefix(name)
	dash := strings.LastIndexByte(strings.TrimRight(stem, "-"), '-')
	switch {
	case dash < 0:
		return names
	case unit.Instance(name) != "":
		return append(names, family(stem[:dash+1]+"@"+unit.Instance(name)+path.Ext(name))...)
	}
	return append(names, family(stem[:dash+1]+path.Ext(name))...)
}
