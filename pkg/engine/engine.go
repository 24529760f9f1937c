// Package engine knows the database engines: how each is asked for its
// settings, in which state a data directory of it is, and the command that
// makes a new one. It reads data directories and runs nothing.
//
// An engine is one file and one line in All.
package engine

import (
	"fmt"
	"path/filepath"
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
	}
}

// An Engine is one database engine, or whatever else keeps a data directory.
type Engine interface {
	// Name is what a role file calls it: "mariadb".
	Name() string

	// Questions are the commands that ask the engine for its settings when
	// these services start it: one for each way in which they do. Without
	// services they ask for the settings of its own files. An error may be an
	// *execstart.UnclearError.
	Questions(services []execstart.Service) ([]Question, error)

	// Answer reads what the command of a Question printed. Settings that put
	// data outside of the data directory are an error.
	Answer(output []byte) (host.EngineSettings, error)

	// Examine returns the state of a directory that exists, whoever owns it.
	// The state is never Absent.
	Examine(dir Dir, set host.EngineSettings) host.DirectoryReport

	// Owns are the files of a data directory that have to belong to its owner.
	Owns() Owned

	// Initialize is the command that makes a new database in an empty
	// directory of the owner. It is run as the owner.
	Initialize(dir, owner string) []string
}

// A Question is a command that asks an engine for its settings, and variables
// for its environment. It is run as the owner of the data.
type Question struct{ Argv, Env []string }

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

// asStarted returns the questions to an engine that answers ask when it gets the
// arguments of its service first. The program of ask is replaced by the one that
// the service starts, where that has a path.
func asStarted(services []execstart.Service, p execstart.Program, ask []string) (all []Question, err error) {
	if len(services) == 0 {
		return []Question{{Argv: ask}}, nil
	}
	for _, s := range services {
		argv, err := s.Command(p)
		if err != nil {
			return nil, err
		}
		if argv == nil {
			continue // it needs the data, and is another program
		}
		program := ask[0]
		if filepath.IsAbs(argv[0]) {
			program = argv[0]
		}
		q := Question{slices.Concat([]string{program}, argv[1:], ask[1:]), s.Environment}
		if !slices.ContainsFunc(all, func(known Question) bool {
			return slices.Equal(known.Argv, q.Argv) && slices.Equal(known.Env, q.Env)
		}) {
			all = append(all, q)
		}
	}
	switch first := services[0]; {
	case !slices.ContainsFunc(services, func(s execstart.Service) bool { return len(s.Commands) > 0 }):
		return nil, first.Unclear(p, "it has no ExecStart=; is the package of the engine installed, and was systemctl daemon-reload run?")
	case len(all) == 0:
		return nil, first.Unclear(p, "neither it nor another service of the role that needs the data runs %s", strings.Join(p.Names, " or "))
	}
	return all, nil
}

// An ElsewhereError is an engine whose settings put a part of its data outside
// of its data directory, where nothing checks it.
type ElsewhereError struct{ Setting, Value, Directory string }

func (e *ElsewhereError) Error() string {
	return fmt.Sprintf("the settings of the engine put data outside of its data directory %s: %s is %s", e.Directory, e.Setting, e.Value)
}

// Hint is what a person can do.
func (e *ElsewhereError) Hint() string {
	return fmt.Sprintf("stop the engine, move that data into the data directory, and remove %s from the engine's settings; then: bootagent retry", e.Setting)
}

// Permanent says that trying again does not help.
func (e *ElsewhereError) Permanent() bool { return true }
