package image

import (
	"path"
	"slices"
	"strings"

	"bootagent/pkg/systemd/unitfile"
)

// checkFiles looks for the users and groups that configuration files of the roles
// belong to, among those of the image and those that systemd-sysusers creates at boot.
func (i Image) checkFiles(units *unitfile.Tree, r *Report) {
	before, owners := len(r.Problems), []string{}
	users, groups := accounts(units, "passwd", "u", "u!"), accounts(units, "group", "u", "u!", "g")
	for _, ro := range i.Roles {
		for _, f := range ro.Files {
			if !users[f.Owner] {
				r.problem("%s: file %q has the owner %s, but that user is neither in %s nor in a file of sysusers.d: install the package in the image that creates the user",
					ro.File, f.Name, f.Owner, units.Path("/etc/passwd"))
			}
			if f.Group != "" && !groups[f.Group] {
				r.problem("%s: file %q has the group %s, but that group is neither in %s nor in a file of sysusers.d: install the package in the image that creates the group",
					ro.File, f.Name, f.Group, units.Path("/etc/group"))
			}
			for _, name := range []string{f.Owner, f.Group} {
				if name != "" && !slices.Contains(owners, name) {
					owners = append(owners, name)
				}
			}
		}
	}
	if len(owners) > 0 {
		r.check(before, "owners and groups of files: found ("+strings.Join(owners, ", ")+")")
	}
}

// accounts returns the users of passwd, or the groups of group, and those that lines
// of sysusers.d with one of these types create.
func accounts(units *unitfile.Tree, database string, types ...string) map[string]bool {
	known := map[string]bool{"root": true}
	for _, file := range []string{"/etc/" + database, "/usr/lib/" + database} {
		text, _ := units.Read(file)
		for line := range strings.Lines(string(text)) {
			name, _, _ := strings.Cut(line, ":")
			known[strings.TrimSpace(name)] = true
		}
	}
	for _, dir := range []string{"/etc/sysusers.d", "/run/sysusers.d", "/usr/local/lib/sysusers.d", "/usr/lib/sysusers.d"} {
		entries, _ := units.ReadDir(dir)
		for _, entry := range entries {
			if !strings.HasSuffix(entry.Name(), ".conf") {
				continue
			}
			text, _ := units.Read(path.Join(dir, entry.Name()))
			for line := range strings.Lines(string(text)) {
				if words := strings.Fields(line); len(words) > 1 && slices.Contains(types, words[0]) {
					known[words[1]] = true
				}
			}
		}
	}
	return known
}
