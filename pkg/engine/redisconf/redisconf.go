// Package redisconf tells the settings of a Redis or Valkey server from its
// command line and the configuration files that it names, as the server itself
// reads them. It reads these files by its caller, and runs nothing.
//
// The rules are those of main in server.c, loadServerConfigFromString in
// config.c and sdssplitargs in sds.c. They are the same in Redis 6.2 to 8.0 and
// Valkey 8.1 to 9.1 for all that this package accepts; a test compares them with
// real servers.
package redisconf

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Files are the configuration files.
type Files interface {
	// Read reads a file.
	Read(path string) ([]byte, error)

	// Glob returns the paths that match a pattern of path/filepath, sorted.
	Glob(pattern string) ([]string, error)
}

// Settings are those settings of a server that decide what it does with its data.
type Settings struct {
	Dir             string // the data directory: absolute and clean
	DumpName        string // dbfilename
	AppendOnly      bool   // appendonly
	AppendName      string // appendfilename
	AppendDir       string // appenddirname, a directory in Dir
	ACLFile         string // aclfile, "" for none
	Cluster         bool   // cluster-enabled
	ClusterFile     string // cluster-config-file, of a cluster
	RelaxedVersions bool   // rdb-version-check relaxed, of Valkey
	SavesAtStop     bool   // it writes a dump when it is stopped
}

// defaults are the settings of a server with no configuration file.
func defaults(cwd string) Settings {
	return Settings{
		Dir: cwd, DumpName: "dump.rdb", AppendName: "appendonly.aof", AppendDir: "appendonlydir", ClusterFile: "nodes.conf", SavesAtStop: true,
	}
}

// A LineError is a line that the server does not accept either, or that cannot
// be told without the server.
type LineError struct {
	Where string // "line 3 of /etc/redis/redis.conf"
	Why   string
}

func (e *LineError) Error() string { return e.Where + ": " + e.Why }

// A CommandError is a command line from which the settings cannot be told.
type CommandError struct{ Why string }

func (e *CommandError) Error() string { return e.Why }

// includesMax is how deep files may include each other. The server has no limit
// but its stack.
const includesMax = 16

// Read returns the settings of a server that is started with these arguments, of
// which the first is not the program, in the directory cwd. The directory is ""
// where it is not known. An error is a *LineError, a *CommandError, or one of
// files.
func Read(files Files, args []string, cwd string) (Settings, error) {
	r := &reader{files: files, set: defaults(cwd), saves: true}
	file, options, err := command(args)
	if err != nil {
		return r.set, err
	}
	if file != "" {
		if err := r.file(file, 1); err != nil {
			return r.set, err
		}
	}
	for _, words := range options {
		if err := r.line(words, "the command line", 1); err != nil {
			return r.set, err
		}
	}
	if r.set.Dir == "" {
		return r.set, &CommandError{"no absolute dir is set, and the directory in which it is started is not known"}
	}
	r.set.SavesAtStop = r.saves && !r.nosave
	return r.set, nil
}

// command divides arguments into the configuration file and the options, each as
// the words of a line of a configuration file.
func command(args []string) (file string, options [][]string, err error) {
	if slices.Contains(args, "--sentinel") {
		return "", nil, &CommandError{"it starts a sentinel, which keeps no data"}
	}
	if len(args) > 0 {
		switch {
		case slices.Contains([]string{"-v", "--version", "-h", "--help", "--test-memory", "--check-system"}, args[0]):
			return "", nil, &CommandError{fmt.Sprintf("with %s it starts no server", args[0])}
		case !strings.HasPrefix(args[0], "-"):
			file, args = args[0], args[1:]
		}
	}
	waits := false // the last option has no value yet
	for i, arg := range args {
		isOption := strings.HasPrefix(arg, "--")
		switch {
		case arg == "-" && (i == 0 || i == len(args)-1):
			return "", nil, &CommandError{"it reads settings from its standard input"}
		case isOption && waits:
			// Since 7.0 it is the value, before it was the next option.
			return "", nil, &CommandError{fmt.Sprintf("its option --%s is followed by %s", options[len(options)-1][0], arg)}
		case isOption:
			words, ok := Split(arg[2:])
			if !ok || len(words) == 0 {
				return "", nil, &CommandError{fmt.Sprintf("its option %q is none", arg)}
			}
			waits = len(words) == 1
			if waits && strings.EqualFold(words[0], "save") && (i == len(args)-1 || strings.HasPrefix(args[i+1], "--")) {
				words, waits = append(words, ""), false
			}
			options = append(options, words)
		case len(options) == 0:
			return "", nil, &CommandError{fmt.Sprintf("its argument %q belongs to no option", arg)}
		default:
			options[len(options)-1] = append(options[len(options)-1], arg)
			waits = false
		}
	}
	return file, options, nil
}

// A reader reads lines in the order in which the server does. The last of a
// setting counts, and dir changes the directory to which what follows is
// relative.
type reader struct {
	files         Files
	set           Settings
	saves, nosave bool // it has save points; it is told not to save when it is stopped
	savesAreRead  bool
}

// file reads a configuration file, or those that match a pattern: the server
// joins them to one text. No match is no error.
func (r *reader) file(name string, depth int) error {
	if depth > includesMax {
		return &LineError{"the settings", fmt.Sprintf("more than %d files include each other, the last one %s", includesMax, name)}
	}
	path, err := r.resolve(name)
	if err != nil {
		return &LineError{"the settings", err.Error()}
	}
	paths := []string{path}
	if strings.ContainsAny(path, "*?[") {
		if paths, err = r.glob(path); err != nil {
			return err
		}
	}
	var text []byte
	for _, path := range paths {
		more, err := r.files.Read(path)
		if err != nil {
			return err
		}
		text = append(text, more...)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return &LineError{"the settings", path + " has a byte that is zero"}
	}
	for i, line := range strings.Split(string(text), "\n") {
		where := fmt.Sprintf("line %d of %s", i+1, path)
		line = strings.Trim(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		words, ok := Split(line)
		if !ok {
			return &LineError{where, "a quote is not closed, or something follows a closing quote"}
		}
		if len(words) == 0 {
			continue
		}
		if err := r.line(words, where, depth); err != nil {
			return err
		}
	}
	return nil
}

// glob lists files as glob(3) does: a name that begins with a dot is matched
// only by a pattern that does, and ! negates as ^ does.
func (r *reader) glob(pattern string) ([]string, error) {
	if strings.Contains(pattern, "[:") || strings.Contains(pattern, "[=") || strings.Contains(pattern, "[.") {
		return nil, &LineError{"the settings", fmt.Sprintf("the pattern %s has a class of characters, which bootagent does not read", pattern)}
	}
	paths, err := r.files.Glob(strings.ReplaceAll(pattern, "[!", "[^"))
	if errors.Is(err, filepath.ErrBadPattern) {
		return nil, &LineError{"the settings", fmt.Sprintf("the pattern %s is not closed", pattern)}
	}
	wild := strings.Split(pattern, "/")
	return slices.DeleteFunc(paths, func(path string) bool {
		for i, name := range strings.Split(path, "/") {
			if i < len(wild) && strings.HasPrefix(name, ".") && !strings.HasPrefix(wild[i], ".") {
				return true
			}
		}
		return false
	}), err
}

// resolve makes a path absolute. A path that goes up is refused, because a
// symbolic link may be on it.
func (r *reader) resolve(path string) (string, error) {
	switch {
	case slices.Contains(strings.Split(path, "/"), ".."):
		return "", fmt.Errorf("the path %s goes up by .., which bootagent does not follow; write it without", path)
	case filepath.IsAbs(path):
		return filepath.Clean(path), nil
	case r.set.Dir == "":
		return "", fmt.Errorf("the path %s is relative, and the directory in which the server is started is not known", path)
	}
	return filepath.Join(r.set.Dir, path), nil
}

// line takes the words of one line.
func (r *reader) line(words []string, where string, depth int) error {
	name, args := strings.ToLower(words[0]), words[1:]
	wrong := func(format string, a ...any) error {
		return &LineError{where, fmt.Sprintf("%s %s", name, fmt.Sprintf(format, a...))}
	}
	switch name {
	case "save", "shutdown-on-sigterm": // several values, or one that has several words
		if len(args) == 1 && args[0] != "" {
			args, _ = Split(args[0])
		}
		if name == "shutdown-on-sigterm" {
			r.nosave = slices.ContainsFunc(args, func(a string) bool { return strings.EqualFold(a, "nosave") })
			return nil
		}
		none := len(args) == 1 && args[0] == ""
		if none || !r.savesAreRead {
			r.saves, r.savesAreRead = false, true
		}
		r.saves = r.saves || !none && len(args) > 0
		return nil
	}
	text, yes := map[string]*string{
		"dir": &r.set.Dir, "dbfilename": &r.set.DumpName, "appendfilename": &r.set.AppendName, "appenddirname": &r.set.AppendDir,
		"aclfile": &r.set.ACLFile, "cluster-config-file": &r.set.ClusterFile, "include": nil, "rdb-version-check": nil,
	}, map[string]*bool{"appendonly": &r.set.AppendOnly, "cluster-enabled": &r.set.Cluster}
	set, isText := text[name]
	flag, isFlag := yes[name]
	if !isText && !isFlag {
		return nil
	}
	if len(args) != 1 {
		return wrong("has %d values, and it takes one", len(args))
	}
	value := args[0]
	switch {
	case name == "include":
		return r.file(value, depth+1)
	case name == "rdb-version-check":
		r.set.RelaxedVersions = strings.EqualFold(value, "relaxed")
	case isFlag && !strings.EqualFold(value, "yes") && !strings.EqualFold(value, "no"):
		return wrong("is %q, neither yes nor no", value)
	case isFlag:
		*flag = strings.EqualFold(value, "yes")
	case name == "dir":
		if value == "" {
			return wrong("is empty")
		}
		dir, err := r.resolve(value)
		if err != nil {
			return &LineError{where, err.Error()}
		}
		r.set.Dir = dir
	case strings.ContainsAny(value, `/\`) && slices.Contains([]string{"dbfilename", "appendfilename", "appenddirname"}, name):
		return wrong("is %s: it has to be a name, not a path", value)
	case value == "" && slices.Contains([]string{"dbfilename", "appendfilename", "appenddirname"}, name):
		return wrong("is empty")
	default:
		*set = value
	}
	return nil
}
