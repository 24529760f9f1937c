package image

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"bootagent/pkg/engine"
	"bootagent/pkg/role"
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
			for _, dir := range placesOf(units, d) {
				names := slices.DeleteFunc(units.List(dir), func(name string) bool { return name == "lost+found" })
				real, err := units.Resolve(dir)
				if len(names) == 0 || err != nil || slices.Contains(told, dir) {
					continue
				}
				told = append(told, dir)
				r.Suggested = append(r.Suggested, fmt.Sprintf(
					"%s: %s, to which data %q is bound, has %q and more in the image, such as a database that a package made: a server that is started without its service would use it. If nothing of it is needed: find %s -mindepth 1 -delete",
					ro.File, units.Path(dir), d.Name, names[0], shell.Quote(units.Path(real))))
			}
		}
	}
}

// placesOf returns the path to which data is bound. Of data that is bound to auto, and
// whose engine cannot be asked, it returns what looks like a data directory of the
// engine below /var/lib, and belongs to the owner of the data, as a package leaves it.
func placesOf(units *unitfile.Tree, d role.Data) (places []string) {
	if d.Bind != "" {
		return []string{d.Bind}
	}
	e, err := engine.Named(string(d.Engine))
	owner, known := userNumber(units, d.Owner)
	if err != nil || !known {
		return nil
	}
	var look func(dir string, deeper int)
	look = func(dir string, deeper int) {
		entries, _ := units.ReadDir(dir)
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil || !info.IsDir() || info.Sys().(*syscall.Stat_t).Uid != owner {
				continue
			}
			below := path.Join(dir, entry.Name())
			if holds(units, below, e.Owns()) {
				places = append(places, below)
			} else if deeper > 0 {
				look(below, deeper-1)
			}
		}
	}
	look("/var/lib", 2) // as Debian's PostgreSQL, which has a directory for its version and its cluster
	return places
}

// holds tells whether a directory has something that an engine needs in its own.
func holds(units *unitfile.Tree, dir string, of engine.Owned) bool {
	entries, _ := units.ReadDir(dir)
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		if e.IsDir() {
			return slices.Contains(of.Dirs, e.Name())
		}
		return of.Files != nil && of.Files.MatchString(e.Name())
	})
}

// userNumber returns the number of a user of the image.
func userNumber(units *unitfile.Tree, name string) (number uint32, known bool) {
	text, _ := units.Read("/etc/passwd")
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[0] == name {
			n, err := strconv.ParseUint(fields[2], 10, 32)
			return uint32(n), err == nil
		}
	}
	return 0, false
}
