package guard

import (
	"path"
	"strings"

	"bootagent/pkg/unit"
)

// A setting is one assignment of a unit file.
type setting struct {
	section, key, value string
}

// parse gives the assignments of a unit file in their order (man
// systemd.syntax). What is no assignment is passed over, as systemd does.
func parse(text []byte) []setting {
	var settings []setting
	var section, joined string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue // between continued lines too
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
			settings = append(settings, setting{section, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return settings
}

// settings gives the assignments of a unit, those of its drop-ins last. A file
// that can't be read has none.
func (t *tree) settings(name string) []setting {
	var all []setting
	for _, file := range t.fragments(name) {
		if text, err := t.root.read(file); err == nil {
			all = append(all, parse(text)...)
		}
	}
	return all
}

// fragments gives the files that systemd reads for a unit, in its order: its
// own, and its drop-ins.
func (t *tree) fragments(name string) []string {
	if file := t.file(name); file != "" {
		return append([]string{file}, t.dropIns(name)...)
	}
	return t.dropIns(name)
}

// family gives the names whose drop-ins a unit of this name reads, the one that
// wins first (unit_file_find_dirs): foo-bar@x.service, foo-bar@.service,
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
