package guard

import (
	"path"
	"strings"
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
func (t *tree) settings(unit string) []setting {
	var all []setting
	for _, file := range append([]string{t.file(unit)}, t.dropIns(unit)...) {
		if text, err := t.root.read(file); err == nil {
			all = append(all, parse(text)...)
		}
	}
	return all
}

// family gives the names whose drop-ins a unit of this name reads, the one that
// wins first (unit_file_find_dirs): foo-bar@x.service, foo-bar@.service,
// foo-.service, foo-@x.service, foo-@.service.
func family(name string) []string {
	names := []string{name}
	if instance(name) != "" {
		names = append(names, family(template(name))...)
	}
	stem := prefix(name)
	dash := strings.LastIndexByte(strings.TrimRight(stem, "-"), '-')
	switch {
	case dash < 0:
		return names
	case instance(name) != "":
		return append(names, family(stem[:dash+1]+"@"+instance(name)+path.Ext(name))...)
	}
	return append(names, family(stem[:dash+1]+path.Ext(name))...)
}

// prefix is what stands before the @ of a unit's name, or before its kind.
func prefix(name string) string {
	before, _, _ := strings.Cut(strings.TrimSuffix(name, path.Ext(name)), "@")
	return before
}

// instance is what stands behind the @ of a unit's name, or "".
func instance(name string) string {
	_, after, _ := strings.Cut(strings.TrimSuffix(name, path.Ext(name)), "@")
	return after
}

// template is foo@.service for foo@x.service.
func template(name string) string {
	return prefix(name) + "@" + path.Ext(name)
}

// instantiate is foo@x.service for foo@.service and x.
func instantiate(template, instance string) string {
	return prefix(template) + "@" + instance + path.Ext(template)
}

func isTemplate(name string) bool {
	return strings.HasSuffix(strings.TrimSuffix(name, path.Ext(name)), "@") && instance(name) == ""
}
