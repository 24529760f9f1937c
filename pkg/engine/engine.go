// Package engine knows the database engines: how each is asked for its
// settings, in which state a data directory of it is, and the command that
// makes a new one. It reads data directories, and runs nothing itself.
//
// An engine is one file and one line in All.
package engine

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// All returns every engine. It is the one list of them.
func All() []Engine {
	return []Engine{
		mariadb{},
		mysql{},
		postgres{},
		redis{},
		none{}, // the last: it is what is left
	}
}

// An Engine is one database engine, or whatever else keeps a data directory.
type Engine interface {
	// Name is what a role file calls it: "mariadb".
	Name() string

	// Tools are the programs of the engine that the agent runs.
	Tools() []Tool

	// Settings asks the engine how it is set when these services start it.
	// Without services it asks for the settings of its own files. An error may
	// be an *execstart.UnclearError.
	Settings(ctx context.Context, ask Asker, services []execstart.Service) (host.EngineSettings, error)

	// Examine returns the state of a directory that exists, whoever owns it.
	// The state is never Absent.
	Examine(dir Dir, set host.EngineSettings) host.DirectoryReport

	// Owns are the files of a data directory that have to belong to its owner.
	Owns() Owned

	// Initialize is the command that makes a new database in an empty
	// directory of the owner. It is run as the owner. It is nil for an engine
	// to which an empty directory is a database.
	Initialize(dir, owner string, set host.EngineSettings) []string
}

// An Asker runs commands as the owner of the data, and reads the files of an
// engine's settings.
type Asker interface {
	// Run returns what a command printed on its standard output.
	Run(ctx context.Context, q Question) ([]byte, error)

	// Read reads a regular file of at most 1 MiB. The error is fs.ErrNotExist
	// where there is none.
	Read(path string) ([]byte, error)

	// Glob returns the paths that match a pattern, sorted.
	Glob(pattern string) ([]string, error)
}

// A Question is a command that asks an engine for its settings, and variables
// for its environment.
type Question struct {
	Argv, Env []string

	// OfProgram says that the answer depends on nothing but the program: it may
	// be one that was given before, by the same program.
	OfProgram bool
}

// A Tool is a program of an engine. One of its paths has to exist.
type Tool struct {
	Paths []string // patterns, as of path.Match
	Makes bool     // it makes new databases; otherwise it tells the settings
}

// Owned are files that an engine cannot do without.
type Owned struct {
	Dirs  []string       // directories of the data directory that are the engine's own, with all that Files matches in them
	Files *regexp.Regexp // names of its files, in the data directory and in the directories of it; nil matches none
}

// Names are the names of all engines.
func Names() (names []string) {
	for _, e := range All() {
		names = append(names, e.Name())
	}
	return names
}

// Named returns the engine of a name. An unknown name is a permanent error.
func Named(name string) (Engine, error) {
	for _, e := range All() {
		if e.Name() == name {
			return e, nil
		}
	}
	return nil, fault.Refuse("correct the engine of the data in the role file, then: bootagent retry",
		"unknown engine %q (known engines: %s)", name, strings.Join(Names(), ", "))
}

// starts returns the commands by which services start a program, each once. It
// is an error if there are services, and none of them does.
func starts(services []execstart.Service, p execstart.Program) (all []Question, err error) {
	for _, s := range services {
		argv, err := s.Command(p)
		if err != nil {
			return nil, err
		}
		if argv == nil {
			continue // it needs the data, and is another program
		}
		q := Question{Argv: argv, Env: s.Environment}
		if !slices.ContainsFunc(all, func(known Question) bool {
			return slices.Equal(known.Argv, q.Argv) && slices.Equal(known.Env, q.Env)
		}) {
			all = append(all, q)
		}
	}
	switch {
	case len(services) == 0 || len(all) > 0:
		return all, nil
	case !slices.ContainsFunc(services, func(s execstart.Service) bool { return len(s.Commands) > 0 }):
		return nil, services[0].Unclear(p, "it has no ExecStart=; is the package of the engine installed, and was systemctl daemon-reload run?")
	}
	return nil, services[0].Unclear(p, "neither it nor another service of the role that needs the data runs %s", strings.Join(p.Names, " or "))
}

// installed returns the first path of a program that is there: distributions have
// it in different directories.
func installed(ask Asker, paths []string) (string, error) {
	for _, pattern := range paths {
		there, err := ask.Glob(pattern)
		if err != nil {
			return "", err
		}
		if len(there) > 0 {
			return there[0], nil
		}
	}
	return "", fmt.Errorf("%s is not installed", strings.Join(paths, " or "))
}

// agreed returns the settings that an engine has in all ways in which it is
// started. It is an error if two of them have two data directories.
func agreed[W any](name string, ways []W, settings func(way W) (host.EngineSettings, error)) (set host.EngineSettings, err error) {
	for i, way := range ways {
		s, err := settings(way)
		switch {
		case err != nil:
			return set, err
		case i == 0:
			set = s
		case s.DataDirectory != set.DataDirectory:
			return set, fault.Refuse(
				"compare the services with systemctl cat; start all of them with one data directory, or make a data entry for each directory in the role file",
				"the services of the role start %s with two data directories, %s and %s", name, set.DataDirectory, s.DataDirectory)
		default:
			for _, place := range s.Elsewhere {
				if !slices.Contains(set.Elsewhere, place) {
					set.Elsewhere = append(set.Elsewhere, place)
				}
			}
		}
	}
	return set, nil
}
