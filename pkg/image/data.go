package image

import (
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/role/directory"
	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/unitfile"
)

// checkCopies looks for the directories that a role copies to a new volume.
func (i Image) checkCopies(units *unitfile.Tree, r *Report) {
	before, found := len(r.Problems), []string{}
	for _, ro := range i.Roles {
		for _, d := range ro.Data {
			if d.IfAbsent != directory.Copy {
				continue
			}
			if _, err := units.ReadDir(d.CopyFrom); err != nil {
				r.problem("%s: data %q is copied from %s, which cannot be read: put it in the image, or set another copy-from: %v", ro.File, d.Name, units.Path(d.CopyFrom), err)
				continue
			}
			found = append(found, d.CopyFrom)
		}
	}
	if len(found) > 0 {
		r.check(before, "what is copied to new volumes: found ("+strings.Join(found, ", ")+")")
	}
}

// checkLeft suggests to empty the directories that data is bound to. The packages of
// some databases make one as they are installed. It is hidden while the volume is
// mounted, and a server finds it that is started in a way that nothing holds.
func (i Image) checkLeft(units *unitfile.Tree, r *Report) {
	var told []string
	for _, ro := range i.Roles {
		for _, d := range ro.Data {
			names := slices.DeleteFunc(units.List(d.Bind), func(name string) bool { return name == "lost+found" })
			real, err := units.Resolve(d.Bind)
			if d.Bind == "" || len(names) == 0 || err != nil || slices.Contains(told, d.Bind) {
				continue
			}
			told = append(told, d.Bind)
			r.Suggested = append(r.Suggested, fmt.Sprintf(
				"%s: %s, to which data %q is bound, has %q and more in the image, such as a database that a package made: a server that is started without its service would use it. If nothing of it is needed: find %s -mindepth 1 -delete",
				ro.File, units.Path(d.Bind), d.Name, names[0], shell.Quote(units.Path(real))))
		}
	}
}
