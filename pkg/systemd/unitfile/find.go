package unitfile

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"bootagent/pkg/unit"
)

// Exists reports whether there is a unit of this name, or a script of System V
// init from which systemd makes one. A masked unit exists.
func (t *Tree) Exists(name string) bool {
	if file := t.File(name); file != "" {
		real, err := t.Resolve(file)
		if err == nil && real == os.DevNull {
			return true
		}
		if err == nil {
			_, err = os.Stat(t.Join(real))
		}
		return err == nil
	}
	_, err := os.Stat(t.Join("/etc/init.d/" + unit.Stem(name)))
	return err == nil && unit.IsService(name)
}

// Instances returns the instances of a template service that are known below this
// root, by the template's name before the @: instances with a file, instances
// that a unit wants or requires, and the clusters of PostgreSQL, for which
// Debian's generator makes instances at boot.
func (t *Tree) Instances(prefix string) []string {
	found := make(map[string]bool)
	note := func(name string) {
		if unit.Valid(name) && unit.IsService(name) && unit.Prefix(name) == prefix && unit.Instance(name) != "" {
			found[name] = true
		}
	}
	for name := range t.files {
		note(name)
	}
	for _, dir := range t.search {
		entries, _ := os.ReadDir(t.Join(dir))
		for _, entry := range entries {
			if ext := path.Ext(entry.Name()); ext != ".wants" && ext != ".requires" {
				continue
			}
			links, _ := os.ReadDir(t.Join(path.Join(dir, entry.Name())))
			for _, link := range links {
				note(link.Name())
			}
		}
	}
	if prefix == "postgresql" {
		for _, cluster := range t.clusters() {
			note("postgresql@" + cluster + ".service")
		}
	}
	var names []string
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// clusters returns the clusters of PostgreSQL as Debian's generator names them:
// 15-main for /etc/postgresql/15/main/postgresql.conf.
func (t *Tree) clusters() (names []string) {
	const dir = "/etc/postgresql"
	for _, version := range t.List(dir) {
		for _, cluster := range t.List(path.Join(dir, version)) {
			if _, err := fs.Stat(os.DirFS(t.Join(path.Join(dir, version, cluster))), "postgresql.conf"); err == nil {
				names = append(names, version+"-"+cluster)
			}
		}
	}
	return names
}

// Members returns the services that have a unit in PartOf=, sorted.
func (t *Tree) Members(own string) (names []string) {
	for name := range t.files {
		if !unit.IsService(name) || unit.IsTemplate(name) || t.Own(name) != name || name == own {
			continue
		}
		if slices.ContainsFunc(t.Settings(name), func(s Setting) bool {
			return s.Section == "Unit" && s.Key == "PartOf" && slices.Contains(strings.Fields(s.Value), own)
		}) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
