package engine

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/engine/mycnf"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// A family is MySQL or MariaDB: what differs in how they are asked.
type family struct {
	name     string // as in a role file
	title    string // for people
	server   string // the program, where no service says which
	program  execstart.Program
	isIts    func(version string) bool // whether a server of this version is one of them
	settings []setting
}

// A setting can put a part of the data outside of the data directory.
type setting struct {
	variable string // written with dashes
	kind     settingKind
}

type settingKind int

const (
	inDirectory   settingKind = iota // its value is a directory
	inFile                           // its value is a file, or the beginning of the names of files
	inDirectories                    // its value is a list of directories, separated by ";"
)

// myPrintDefaults prints the options of option files: in /usr/bin with a server
// of a distribution, and else beside the server.
const myPrintDefaults = "/usr/bin/my_print_defaults"

// ask asks how a server is set when these services start it. my_print_defaults
// prints the options of its files within milliseconds, the services have the
// others, and what the program has compiled in is kept as long as the program is
// the same. Only where that does not tell, the server itself is asked.
func (f family) ask(ctx context.Context, ask Asker, services []execstart.Service) (set host.EngineSettings, err error) {
	ways, err := starts(services, f.program)
	if err != nil {
		return set, err
	}
	if len(services) == 0 {
		ways = []Question{{Argv: []string{f.server}}}
	}
	return agreed(f.name, ways, func(way Question) (host.EngineSettings, error) {
		if !filepath.IsAbs(way.Argv[0]) {
			way.Argv = append([]string{f.server}, way.Argv[1:]...)
		}
		values, version, err := f.values(ctx, ask, way)
		if err != nil {
			return host.EngineSettings{}, err
		}
		set, err := f.read(values, version)
		set.Program, set.Options = way.Argv[0], mycnf.Defaults(way.Argv[1:])
		return set, err
	})
}

// values returns the variables of a server that is started this way, and its
// version.
func (f family) values(ctx context.Context, ask Asker, way Question) (values map[string]string, version string, err error) {
	output, err := ask.Run(ctx, Question{Argv: []string{way.Argv[0], "--no-defaults", "--verbose", "--help"}, OfProgram: true})
	if err != nil {
		return nil, "", err
	}
	help := mycnf.ParseHelp(output)
	if !f.isIts(help.Version) {
		return nil, "", fault.Refuse("correct the engine of the data in the role file, then: bootagent retry",
			"%s is not %s: its version is %q", way.Argv[0], f.title, help.Version)
	}
	values, ok := f.byFiles(ctx, ask, way, help)
	if !ok {
		values, err = f.byServer(ctx, ask, way)
	}
	return values, help.Version, err
}

// byFiles is what the option files and the arguments of a server say. It is false
// if they do not tell.
func (f family) byFiles(ctx context.Context, ask Asker, way Question, help mycnf.Help) (values map[string]string, ok bool) {
	server, args := way.Argv[0], way.Argv[1:]
	files := mycnf.Defaults(args)
	tool := myPrintDefaults
	if dir := filepath.Dir(server); dir != "/usr/sbin" && dir != "/usr/libexec" {
		tool = filepath.Join(dir, filepath.Base(myPrintDefaults))
	}
	printed, err := ask.Run(ctx, Question{Argv: slices.Concat([]string{tool}, files, help.Groups), Env: way.Env})
	if err != nil || len(help.Groups) == 0 {
		return nil, false
	}
	lines := strings.FieldsFunc(string(printed), func(r rune) bool { return r == '\n' })
	values, ok = help.Variables(f.variables(), lines, args[len(files):])
	return values, ok && filepath.IsAbs(values["datadir"])
}

// byServer is what a server itself says. What asks for that stands before all
// arguments that could end its options, because then it would start.
func (f family) byServer(ctx context.Context, ask Asker, way Question) (values map[string]string, err error) {
	server, args := way.Argv[0], way.Argv[1:]
	files := mycnf.Defaults(args)
	output, err := ask.Run(ctx, Question{Argv: slices.Concat([]string{server}, files, []string{"--verbose", "--help"}, args[len(files):]), Env: way.Env})
	return mycnf.ParseHelp(output).Values, err
}

// variables are those that are asked for.
func (f family) variables() []string {
	all := []string{"datadir", "chroot", "innodb-data-file-path", "innodb-data-home-dir", "innodb-temp-data-file-path"}
	for _, s := range f.settings {
		all = append(all, s.variable)
	}
	return all
}

// read makes settings of the values of variables.
func (f family) read(values map[string]string, version string) (set host.EngineSettings, err error) {
	dir := values["datadir"]
	switch {
	case dir == "":
		return set, fmt.Errorf("%s tells no datadir", f.title)
	case !filepath.IsAbs(dir):
		return set, fmt.Errorf("%s tells the datadir %q, which is not an absolute path", f.title, dir)
	}
	set.DataDirectory, set.Version = filepath.Clean(dir), version
	if root := values["chroot"]; root != "" {
		return set, &ElsewhereError{"chroot", root, set.DataDirectory}
	}
	put := func(variable, value, path string) { // if the path is elsewhere
		if path = absolute(set.DataDirectory, path); !below(set.DataDirectory, path) {
			set.Elsewhere = append(set.Elsewhere, host.Place{Setting: strings.ReplaceAll(variable, "-", "_"), Value: value, Path: path})
		}
	}
	for _, s := range f.settings {
		value := values[s.variable]
		each := []string{value}
		if s.kind == inDirectories {
			each = strings.Split(value, ";")
		}
		for _, path := range each {
			if path != "" && (s.kind != inFile || strings.Contains(path, "/")) {
				put(s.variable, value, path)
			}
		}
	}
	home, files := values["innodb-data-home-dir"], values["innodb-data-file-path"]
	if home = absolute(set.DataDirectory, home); !below(set.DataDirectory, home) {
		put("innodb-data-home-dir", values["innodb-data-home-dir"], home)
	} else {
		for _, file := range strings.FieldsFunc(files, func(r rune) bool { return r == ';' }) {
			name, _, _ := strings.Cut(file, ":")
			path := absolute(home, name)
			if name, err := filepath.Rel(set.DataDirectory, path); err == nil && fs.ValidPath(name) {
				set.Files = append(set.Files, name)
			}
			put("innodb-data-file-path", files, path)
		}
	}
	if name, _, _ := strings.Cut(values["innodb-temp-data-file-path"], ":"); name != "" && !strings.Contains(name, "/") && below(set.DataDirectory, home) {
		set.Scratch, _ = filepath.Rel(set.DataDirectory, filepath.Join(home, name))
	}
	return set, nil
}

// absolute is a path that is written relative to a directory, or not.
func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// below tells whether a clean path is a directory or in it.
func below(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// elsewhereBy tells whether a setting puts a part of the data elsewhere.
func elsewhereBy(set host.EngineSettings, variable string) bool {
	return slices.ContainsFunc(set.Elsewhere, func(p host.Place) bool { return p.Setting == variable })
}

// systemTablespace is what of InnoDB's system tablespace is in the data directory.
func systemTablespace(set host.EngineSettings) []string {
	if len(set.Files) > 0 || elsewhereBy(set, "innodb_data_home_dir") || elsewhereBy(set, "innodb_data_file_path") {
		return slices.Clone(set.Files)
	}
	return []string{"ibdata1"}
}

const mysqlSystem = "mysql" // the directory of the system tables

const hintInterrupted = "no server has ever started on it; if it is yours, move it away, then: bootagent retry, which makes a new one where the role allows that; " +
	"if data of yours was there, " + hintRestore

// lacking is the report about a directory in which not all needed files are, or
// some are not themselves there. It is false for a whole one.
func (f family) lacking(dir Dir, needed []string) (report host.DirectoryReport, lacks bool) {
	missing := slices.DeleteFunc(slices.Clone(needed), dir.Has)
	switch {
	case len(dir.Names) == 0:
		return host.DirectoryReport{State: host.Foreign, Reason: "it is empty", Hint: "if no data belongs there, remove the empty directory, then: bootagent retry"}, true
	case len(missing) == len(needed) && !dir.Has("ibtmp1"):
		return host.DirectoryReport{State: host.Foreign, Reason: fmt.Sprintf("it has %q and no file of %s", slices.Min(dir.Names), f.title), Hint: hintForeign}, true
	case len(missing) > 0:
		return host.DirectoryReport{
			State: host.Damaged, Reason: strings.Join(missing, " and ") + []string{" is", " are"}[min(len(missing)-1, 1)] + " missing", Hint: hintRestore,
		}, true
	}
	for _, name := range needed {
		if wrong := dir.Misplaced(name, name == mysqlSystem || name == mysqlRedo); wrong != "" {
			return host.DirectoryReport{
				State: host.Unfit, Reason: name + " in it " + wrong,
				Hint: "put it there itself, with everything that belongs to it, because bootagent follows no links; or " + hintRestore,
			}, true
		}
	}
	return host.DirectoryReport{}, false
}

// zero tells whether a file begins with zero bytes, as the first page of a
// tablespace is until the server writes it.
func (d Dir) zero(name string) bool {
	head := d.Head(name)
	return len(head) > 0 && strings.Trim(string(head), "\x00") == ""
}

// linksMax is how many files of a kind that may be a link are looked at.
const linksMax = 4000

// linked are the links in a directory of MySQL or MariaDB that put data
// elsewhere: databases and files that are symbolic links, data and index files of
// single tables, and link files of InnoDB (NAME.isl, whose text is the path).
func linked(dir Dir) (places []host.Place) {
	looked := 0
	look := func(name string) bool {
		looked++
		target := ""
		if looked <= linksMax {
			target = dir.Link(name)
		}
		if target == "" {
			return false
		}
		from := filepath.Dir(filepath.Join(dir.path, name))
		if path := absolute(from, target); !below(dir.path, path) {
			places = append(places, host.Place{Setting: "the link " + name, Value: target, Path: path})
		}
		return true
	}
	for _, name := range slices.Sorted(slices.Values(dir.Names)) {
		if look(name) || strings.Contains(name, ".") {
			continue // no database has a dot in the name of its directory
		}
		for _, table := range dir.List(name) {
			file := filepath.Join(name, table)
			switch filepath.Ext(table) {
			case ".isl":
				if target := strings.TrimSpace(string(dir.Head(file))); target != "" {
					places = append(places, host.Place{Setting: "the link file " + file, Value: target, Path: absolute(dir.path, target)})
				}
			case ".MYD", ".MYI", ".MAD", ".MAI", ".ibd":
				look(file)
			}
		}
	}
	return places
}

// stopped sets how the server last stopped: InnoDB removes its temporary
// tablespace when it stops cleanly, and makes it anew at each start.
func stopped(report *host.DirectoryReport, dir Dir, set host.EngineSettings) {
	switch {
	case set.Scratch == "":
	case dir.Has(set.Scratch):
		report.LastStop, report.LastStopSays = host.StopUnclean, set.Scratch+" is there, which the server removes when it stops cleanly"
	default:
		report.LastStop, report.LastStopSays = host.StopClean, set.Scratch+" is not there, which the server removes when it stops cleanly"
	}
}
