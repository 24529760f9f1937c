package mycnf

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

// A Server is the server of MySQL or of MariaDB: what differs in how it is asked.
type Server struct {
	Title    string                    // for people
	Is       func(version string) bool // whether a server of this version is one
	Settings []Setting
}

// A Setting can put a part of the data outside of the data directory.
type Setting struct {
	Variable string // written with dashes
	Kind     Kind
}

// Kind is what the value of a Setting is.
type Kind int

// The kinds of settings.
const (
	Directory   Kind = iota
	File             // or the beginning of the names of files
	Directories      // a list, separated by ";"
)

// Scratch is the setting in host.EngineSettings.Values that names InnoDB's
// temporary tablespace: its value is the file, relative to the data directory.
const Scratch = "innodb_temp_data_file_path"

// Run runs a command with more variables in its environment, and returns what it
// prints. ofProgram says that this depends on nothing but the program.
type Run func(ctx context.Context, argv, env []string, ofProgram bool) ([]byte, error)

// myPrintDefaults prints the options of option files: in /usr/bin with a server
// of a distribution, and else beside the server.
const myPrintDefaults = "/usr/bin/my_print_defaults"

// Ask asks how a server is set that is started by a command in an environment.
// my_print_defaults prints the options of its files within milliseconds, the
// command has the others, and what the program has compiled in is kept as long as
// the program is the same. Only where that does not tell, the server itself is
// asked.
func (s Server) Ask(ctx context.Context, run Run, argv, env []string) (set host.EngineSettings, err error) {
	values, version, err := s.values(ctx, run, argv, env)
	if err != nil {
		return set, err
	}
	set, err = s.read(values, version)
	set.Program, set.Options = argv[0], Defaults(argv[1:])
	return set, err
}

// values returns the variables of a server that is started this way, and its
// version.
func (s Server) values(ctx context.Context, run Run, argv, env []string) (values map[string]string, version string, err error) {
	output, err := run(ctx, []string{argv[0], "--no-defaults", "--verbose", "--help"}, nil, true)
	if err != nil {
		return nil, "", err
	}
	help := ParseHelp(output)
	if !s.Is(help.Version) {
		return nil, "", fault.Refuse("correct the engine of the data in the role file, then: bootagent retry",
			"%s is not %s: its version is %q", argv[0], s.Title, help.Version)
	}
	values, ok := s.byFiles(ctx, run, argv, env, help)
	if !ok {
		values, err = s.byServer(ctx, run, argv, env)
	}
	return values, help.Version, err
}

// byFiles is what the option files and the arguments of a server say. It is false
// if they do not tell.
func (s Server) byFiles(ctx context.Context, run Run, argv, env []string, help Help) (values map[string]string, ok bool) {
	server, args := argv[0], argv[1:]
	files := Defaults(args)
	tool := myPrintDefaults
	if dir := filepath.Dir(server); dir != "/usr/sbin" && dir != "/usr/libexec" {
		tool = filepath.Join(dir, filepath.Base(myPrintDefaults))
	}
	printed, err := run(ctx, slices.Concat([]string{tool}, files, help.Groups), env, false)
	if err != nil || len(help.Groups) == 0 {
		return nil, false
	}
	lines := strings.FieldsFunc(string(printed), func(r rune) bool { return r == '\n' })
	values, ok = help.Variables(s.variables(), lines, args[len(files):])
	return values, ok && filepath.IsAbs(values["datadir"])
}

// byServer is what a server itself says. What asks for that stands before all
// arguments that could end its options, because then it would start.
func (s Server) byServer(ctx context.Context, run Run, argv, env []string) (values map[string]string, err error) {
	server, args := argv[0], argv[1:]
	files := Defaults(args)
	output, err := run(ctx, slices.Concat([]string{server}, files, []string{"--verbose", "--help"}, args[len(files):]), env, false)
	return ParseHelp(output).Values, err
}

// variables are those that are asked for.
func (s Server) variables() []string {
	all := []string{"datadir", "chroot", "innodb-data-file-path", "innodb-data-home-dir", "innodb-temp-data-file-path"}
	for _, setting := range s.Settings {
		all = append(all, setting.Variable)
	}
	return all
}

// read makes settings of the values of variables.
func (s Server) read(values map[string]string, version string) (set host.EngineSettings, err error) {
	dir := values["datadir"]
	switch {
	case dir == "":
		return set, fmt.Errorf("%s tells no datadir", s.Title)
	case !filepath.IsAbs(dir):
		return set, fmt.Errorf("%s tells the datadir %q, which is not an absolute path", s.Title, dir)
	}
	set.DataDirectory, set.Version = filepath.Clean(dir), version
	if root := values["chroot"]; root != "" {
		return set, fault.Refuse("remove chroot from the settings of the engine; then: bootagent retry",
			"%s is set to change its root directory to %s, so that its data directory %s is another one", s.Title, root, set.DataDirectory)
	}
	put := func(variable, value, path string) { // if the path is elsewhere
		if path = Absolute(set.DataDirectory, path); !Below(set.DataDirectory, path) {
			set.Elsewhere = append(set.Elsewhere, host.Place{Setting: strings.ReplaceAll(variable, "-", "_"), Value: value, Path: path})
		}
	}
	for _, of := range s.Settings {
		value := values[of.Variable]
		each := []string{value}
		if of.Kind == Directories {
			each = strings.Split(value, ";")
		}
		for _, path := range each {
			if path != "" && (of.Kind != File || strings.Contains(path, "/")) {
				put(of.Variable, value, path)
			}
		}
	}
	home, files := values["innodb-data-home-dir"], values["innodb-data-file-path"]
	if home = Absolute(set.DataDirectory, home); !Below(set.DataDirectory, home) {
		put("innodb-data-home-dir", values["innodb-data-home-dir"], home)
	} else {
		for _, file := range strings.FieldsFunc(files, func(r rune) bool { return r == ';' }) {
			name, _, _ := strings.Cut(file, ":")
			path := Absolute(home, name)
			if name, err := filepath.Rel(set.DataDirectory, path); err == nil && fs.ValidPath(name) {
				set.Files = append(set.Files, name)
			}
			put("innodb-data-file-path", files, path)
		}
	}
	if name, _, _ := strings.Cut(values["innodb-temp-data-file-path"], ":"); name != "" && !strings.Contains(name, "/") && Below(set.DataDirectory, home) {
		if scratch, err := filepath.Rel(set.DataDirectory, filepath.Join(home, name)); err == nil {
			set.Values = map[string]string{Scratch: scratch}
		}
	}
	return set, nil
}

// Absolute is a path that is written relative to a directory, or not.
func Absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// Below tells whether a clean path is a directory or in it.
func Below(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
