package datadir

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// An engine is what this package knows of a database engine.
type engine struct {
	// examine says in which state a directory with these names in it is.
	// It is called with the names that are listed.
	examine func(files Files, path string, names []string, set Settings) Report

	// uses matches the names of files that it needs, in its directory and those
	// in it; system is the directory of its own tables.
	uses   *regexp.Regexp
	system string

	// programs are the names of the program that serves, and ask is the command
	// that tells how it is set, to which the arguments of a service are added
	// after the program. settings finds the answer in what it prints.
	programs []string
	ask      []string
	settings func(output []byte) (Settings, error)

	// initialize is the command that makes a new database in an empty directory.
	initialize func(dir, owner string) []string
}

func lookUp(name string) (engine, error) {
	switch name {
	case "mariadb":
		return mariadb, nil
	}
	return engine{}, fmt.Errorf("there is no engine %q", name)
}

// Settings are what an engine is set to use.
type Settings struct {
	Directory string   // its data directory, absolute and clean
	Version   string   // of the engine itself: "10.11.14-MariaDB-0+deb12u2"
	Files     []string // that its settings name below the data directory
}

// A Question is a command by which an engine tells how it is set, and the
// environment for it.
type Question struct{ Argv, Env []string }

// Questions are the commands by which an engine tells how its services set it:
// one for each way in which they start it. Without services, its own settings
// alone count. An error may be an *UnclearError.
func Questions(name string, starts []Start) ([]Question, error) {
	e, err := lookUp(name)
	if err != nil {
		return nil, err
	}
	if len(starts) == 0 {
		return []Question{{Argv: e.ask}}, nil
	}
	var all []Question
	for _, s := range starts {
		argv, err := s.argv(e.programs)
		if err != nil {
			return nil, err
		}
		if argv == nil {
			continue // it needs the data, and is another program
		}
		program := e.ask[0]
		if filepath.IsAbs(argv[0]) {
			program = argv[0]
		}
		q := Question{slices.Concat([]string{program}, argv[1:], e.ask[1:]), s.Env}
		if !slices.ContainsFunc(all, func(known Question) bool {
			return slices.Equal(known.Argv, q.Argv) && slices.Equal(known.Env, q.Env)
		}) {
			all = append(all, q)
		}
	}
	if !slices.ContainsFunc(starts, func(s Start) bool { return len(s.Commands) > 0 }) {
		return nil, &UnclearError{starts[0].Unit, "it has no ExecStart=; is the engine's package installed, and systemctl daemon-reload done?"}
	}
	if len(all) == 0 {
		return nil, &UnclearError{starts[0].Unit, fmt.Sprintf("neither it nor another service of the role that needs the data runs %s", strings.Join(e.programs, " or "))}
	}
	return all, nil
}

// Answer reads what the command of a Question printed. It is an error that
// says what to do where the settings lead out of the data directory.
func Answer(name string, output []byte) (Settings, error) {
	e, err := lookUp(name)
	if err != nil {
		return Settings{}, err
	}
	return e.settings(output)
}

// An ElsewhereError is an engine that is set to keep a part of its data
// outside of its data directory, where nobody checks it.
type ElsewhereError struct{ Setting, Value, Directory string }

func (e *ElsewhereError) Error() string {
	return fmt.Sprintf("the engine is set to keep data outside of its data directory %s: %s is %s", e.Directory, e.Setting, e.Value)
}

// Hint is what a person can do.
func (e *ElsewhereError) Hint() string {
	return fmt.Sprintf("stop the engine, move what is there into the data directory, and take %s out of the engine's settings; then: bootagent retry", e.Setting)
}

// Final says that trying again does not help.
func (e *ElsewhereError) Permanent() bool { return true }

// InitializeCommand is the command that makes a new, empty database in an
// empty directory of the owner's.
func InitializeCommand(name, dir, owner string) ([]string, error) {
	e, err := lookUp(name)
	if err != nil {
		return nil, err
	}
	return e.initialize(dir, owner), nil
}

// mariadb is MariaDB 10.4 and later.
var mariadb = engine{
	examine: examineMariaDB,
	uses: regexp.MustCompile(`^(ibdata|ib_logfile|ibtmp|ib_buffer_pool|undo|aria_log|ddl_recovery|tc\.log|multi-master|master\.info|relay-log)` +
		`|\.(ibd|frm|opt|par|TRG|TRN|MA[ID]|MY[ID]|CS[VM]|ARZ|index|[0-9]{6})$`),
	system:   "mysql",
	programs: []string{"mariadbd", "mysqld"},
	ask:      []string{"/usr/sbin/mariadbd", "--verbose", "--help"},
	settings: mariadbSettings,
	// As Debian's package does it: --rpm and --cross-bootstrap leave out that the
	// host's own name is looked up, which needs a network, and is for the grants
	// of a test database only.
	initialize: func(dir, owner string) []string {
		return []string{
			"/usr/bin/mariadb-install-db", "--user=" + owner, "--datadir=" + dir,
			"--rpm", "--cross-bootstrap", "--skip-test-db", "--disable-log-bin",
			"--auth-root-authentication-method=socket",
		}
	},
}
