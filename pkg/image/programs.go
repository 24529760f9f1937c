package image

import (
	"fmt"
	"path"

	"bootagent/pkg/engine"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/role"
	"bootagent/pkg/role/directory"
)

// A tool is a program that the agent runs.
type tool struct {
	paths []string // one of these has to exist; patterns, as of path.Match
	does  string   // "which makes the filesystem of volume \"data\""
	get   string   // "install xfsprogs"
}

// name returns the path of a program, or its name if it may be in one of several
// directories.
func (p tool) name() string {
	if len(p.paths) == 1 {
		return p.paths[0]
	}
	return path.Base(p.paths[0])
}

// programsOf returns the programs that the agent runs for a role.
func programsOf(r *role.Role) (all []tool) {
	for _, v := range r.Volumes {
		of := fmt.Sprintf("of volume %q", v.Name)
		if v.Format == role.FormatIfBlank {
			if argv, err := filesystem.MakeCommand(string(v.Filesystem), "", 0, ""); err == nil {
				all = append(all, tool{paths: argv[:1], does: "which makes the filesystem " + of, get: "install " + packageOf(v.Filesystem)})
			}
		}
		if argv, _ := filesystem.CheckCommand(string(v.Filesystem), ""); len(argv) > 0 {
			all = append(all, tool{paths: argv[:1], does: "which checks the filesystem " + of, get: "install " + packageOf(v.Filesystem)})
		}
		for _, name := range []string{"blkid", "wipefs"} {
			all = append(all, tool{
				paths: []string{"/usr/sbin/" + name, "/usr/bin/" + name, "/sbin/" + name, "/bin/" + name},
				does:  "which says what is on the disk " + of, get: "install util-linux",
			})
		}
	}
	for _, d := range r.Data {
		of, get := fmt.Sprintf("of data %q", d.Name), fmt.Sprintf("install the engine %s", d.Engine)
		e, err := engine.Named(string(d.Engine))
		if err != nil {
			continue // a role file cannot have another engine
		}
		for _, t := range e.Tools() {
			switch {
			case !t.Makes:
				all = append(all, tool{paths: t.Paths, does: "which says where the engine " + of + " keeps its data", get: get})
			case d.IfAbsent == directory.Initialize:
				all = append(all, tool{paths: t.Paths, does: "which makes the directory " + of, get: get})
			}
		}
	}
	for _, s := range r.Services {
		if s.Ready != nil && len(s.Ready.Command) > 0 {
			all = append(all, tool{paths: s.Ready.Command[:1], does: "which probes " + s.Unit, get: "install it"})
		}
	}
	return all
}

// packageOf returns the Debian package with the tools of a filesystem.
func packageOf(t role.FilesystemType) string {
	if t == role.Ext4 {
		return "e2fsprogs"
	}
	return "xfsprogs"
}
