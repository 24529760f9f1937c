package host

import "context"

// Data is one data directory of the plan: what is asked about it.
type Data struct {
	Name   string // of the data in the plan; it names the unit that initialises
	Engine string // name of the engine that keeps its data in it
	Owner  string // name of the user that the engine runs as
	Dir    string // absolute path of the directory that is meant, of all places that the data has on its way
}

// Directories reads, makes and names data directories.
type Directories interface {
	// Examine returns the state of the directory d.Dir, for an engine that has
	// these settings.
	Examine(ctx context.Context, d Data, set EngineSettings) (DirectoryReport, error)

	// Names lists a directory. Of a very large one it lists some thousands.
	Names(ctx context.Context, path string) ([]string, error)

	// SameDirectory tells whether two paths are one directory.
	SameDirectory(ctx context.Context, a, b string) (bool, error)

	// Create makes an empty directory for its owner. What has the name already
	// is an error.
	Create(ctx context.Context, path, owner string) error

	// Publish gives a directory its final name, when all that is in it is on
	// the disk. It replaces nothing.
	Publish(ctx context.Context, staging, path string) error
}

// A DirectoryReport is the state of a data directory, and the reason for it.
type DirectoryReport struct {
	State   DirectoryState
	Version string // of the newest engine that is known to have used it, or ""
	Reason  string // why it is not ready: "ibdata1 is missing"
	Hint    string // what a person can do

	// Empty says that the directory is ready and has none of the engine's files:
	// the engine takes it for an empty database. Whether data was lost from it,
	// its files cannot tell.
	Empty bool

	// Elsewhere is what links in the directory put outside of it.
	Elsewhere []Place

	// LastStop is how the engine itself, by its own marks, last stopped on it;
	// LastStopSays is what says so: "pg_control: in production".
	LastStop     LastStop
	LastStopSays string
}

// LastStop is how an engine last stopped.
type LastStop string

// The ways in which an engine last stopped.
const (
	StopUnknown LastStop = ""        // its files do not tell
	StopClean   LastStop = "clean"   // it has nothing to recover
	StopUnclean LastStop = "unclean" // it was cut off, and recovers at its next start
)

// A Place is where a part of an engine's data is, outside of its data directory.
type Place struct {
	Setting string // what puts it there: "innodb_undo_directory", "the link pg_wal"
	Value   string // as it is written
	Path    string // absolute and clean
}

// DirectoryState is the state of a data directory.
type DirectoryState string

// The states of a data directory.
const (
	Absent  DirectoryState = "absent"  // there is none
	Ready   DirectoryState = "ready"   // the engine can start on it
	Foreign DirectoryState = "foreign" // it has no data of this engine
	Damaged DirectoryState = "damaged" // it has data of this engine, and a part is missing
	Unfit   DirectoryState = "unfit"   // it is complete, and the engine must not start on it as it is
)

// Engines asks the engines of the machine, and runs them.
type Engines interface {
	// Settings asks the engine of the data how it is set when these units start
	// it. It is an error if they do not agree, or if that cannot be told.
	Settings(ctx context.Context, d Data, units []string) (EngineSettings, error)

	// Initialize lets the engine make a new database in the empty directory
	// d.Dir, for an engine that has these settings. If an earlier agent has
	// begun that, it goes on.
	Initialize(ctx context.Context, d Data, set EngineSettings) error

	// Initializing tells whether an Initialize of d.Dir runs, or has succeeded
	// and is not forgotten.
	Initializing(ctx context.Context, d Data, set EngineSettings) (bool, error)

	// Initialized forgets an Initialize of the data, whose directory has its
	// final name now.
	Initialized(ctx context.Context, d Data) error
}

// EngineSettings are the settings of an engine that decide where its data is.
type EngineSettings struct {
	DataDirectory string   // absolute and clean
	Version       string   // of the engine itself: "10.11.14-MariaDB-0+deb12u2"
	Files         []string // that its settings name, relative to the data directory
	Program       string   // absolute path of the server that the services start, or ""
	Options       []string // of its command line, that say which files have its settings
	Elsewhere     []Place  // what its settings put outside of the data directory

	// Inside says that settings are in the data directory, and are known when that
	// is where the engine looks for it.
	Inside bool

	// Values are further settings that decide which files are its data, by the
	// engine's own names: "appendonly": "yes".
	Values map[string]string
}
