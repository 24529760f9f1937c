package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"bootagent/pkg/block"
	"bootagent/pkg/child"
	"bootagent/pkg/command"
	"bootagent/pkg/datadir"
	"bootagent/pkg/engine"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/filesystem/growfs"
	"bootagent/pkg/host"
	"bootagent/pkg/machine/marked"
	"bootagent/pkg/probe"
	"bootagent/pkg/selinux"
)

// A task is one call to a disk or into a filesystem that may hang: the filesystem
// is frozen, or its disk does not answer. A worker does it, see package child.
type task struct {
	Do     taskKind
	Path   string
	Other  string    `json:",omitempty"` // another path
	Ledger []byte    `json:",omitempty"`
	Data   host.Data // for examine, create and give
	Set    host.EngineSettings

	Mark host.Mark // for find-marked, whose Path is its text

	Inside []host.Data `json:",omitempty"` // for look-at

	Dev        uint64 `json:",omitempty"` // of the device, for look-at and size-of
	Filesystem string `json:",omitempty"` // its type, for both
}

type taskKind string

const (
	readLedger    taskKind = "read-ledger"
	writeLedger   taskKind = "write-ledger"
	examine       taskKind = "examine"
	names         taskKind = "names"
	sameDirectory taskKind = "same-directory"
	create        taskKind = "create"
	give          taskKind = "give"
	compare       taskKind = "compare"
	syncAll       taskKind = "sync"
	publish       taskKind = "publish"
	connect       taskKind = "connect"     // to the socket at Path
	findMarked    taskKind = "find-marked" // disks, whose filesystem is Mark
	findDisk      taskKind = "find-disk"   // whose serial number is Path
	lookAt        taskKind = "look-at"     // the filesystem on a device
	stopped       taskKind = "stopped"     // why nothing can be written to the filesystem at Path
	sizeOf        taskKind = "size-of"     // the filesystem that is mounted from the device Other
)

// do does the task in this process.
func (t task) do(ctx context.Context) (answer any, err error) {
	switch t.Do {
	case readLedger:
		return filesystem.ReadLedger(t.Path)
	case writeLedger:
		return nil, filesystem.WriteLedger(t.Path, t.Ledger)
	case examine:
		return engine.Examine(datadir.Host{}, t.Data, t.Set)
	case names:
		found, err := datadir.Names(t.Path)
		if errors.Is(err, datadir.ErrMany) {
			err = nil // as many as are listed say enough
		}
		return found, err
	case sameDirectory:
		return datadir.Same(t.Path, t.Other)
	case create:
		return nil, t.give(datadir.Create)
	case give:
		return nil, t.give(datadir.Give)
	case compare:
		return datadir.Compare(ctx, t.Path, t.Other)
	case syncAll:
		return nil, datadir.Sync(t.Path)
	case publish:
		return nil, datadir.Publish(t.Other, t.Path)
	case connect:
		return nil, probe.Connect(ctx, "unix", t.Path)
	case findDisk:
		return block.Host().Find(ctx, t.Path)
	case findMarked:
		serials, err := block.Host().Serials()
		if err != nil {
			return nil, err
		}
		return marked.Find(ctx, serials, block.Host().Find, t.Mark)
	case lookAt:
		return t.look()
	case stopped:
		return filesystem.Stopped(t.Path)
	case sizeOf:
		return growfs.Size(t.Path, t.Dev, t.Filesystem, t.Other)
	}
	return nil, fmt.Errorf("there is no task %q", t.Do)
}

// look looks at a filesystem, and at directories in it. What can't be told of one of
// those is no error: the person who asks for it sees why.
func (t task) look() (seen host.Look, err error) {
	seen.Ledger, seen.Names, err = filesystem.Look(t.Path, t.Dev, t.Filesystem, func(root string) {
		for _, d := range t.Inside {
			d.Dir = root + "/" + d.Dir // which for the root itself is no link
			found, err := engine.Examine(datadir.Host{}, d, host.EngineSettings{})
			if err != nil {
				found = host.DirectoryReport{State: host.Damaged, Reason: err.Error()}
			}
			seen.Inside = append(seen.Inside, found)
		}
	})
	return seen, err
}

// give makes a directory that is the owner's, and to SELinux what the directory is
// on which it will be bound.
func (t task) give(do func(string, datadir.Access) error) error {
	label, err := selinux.Kernel.Of(t.Data.Bind)
	if err != nil {
		return err
	}
	return do(t.Path, datadir.Access{Owner: t.Data.Owner, Group: t.Data.Group, Mode: t.Data.Mode, Label: label})
}

// words says what is done and waited for.
func (t task) words() string {
	return map[taskKind]string{
		readLedger:    "the ledger of the filesystem at %s to be read",
		writeLedger:   "the ledger of the filesystem at %s to be written",
		examine:       "the directory %s to be looked at",
		names:         "the directory %s to be listed",
		sameDirectory: "the directory %s to be looked at",
		create:        "the directory %s to be made",
		give:          "the directory %s to get its owner",
		compare:       "the directory %s to be compared with its copy",
		syncAll:       "the data of %s to be brought to its disk",
		publish:       "the data of %s to be brought to its disk",
		findDisk:      "the disk with serial %s to tell which it is",
		findMarked:    "the disk with %s to be looked for",
		lookAt:        "the filesystem on %s to be looked at",
		sizeOf:        "the filesystem at %s to tell its size",
		stopped:       "the filesystem at %s to tell whether it can be written",
	}[t.Do]
}

// Worker is the command that a child of the agent runs: it does the tasks that
// standard input names.
func Worker(ctx context.Context, args []string, out io.Writer) error {
	if err := command.Parse(child.Command, args, nil, 0, 0); err != nil {
		return err
	}
	return Serve(ctx, os.Stdin, out)
}

// Serve does the tasks that in names until it ends, one after the other. The agent
// runs it in a child of its own.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	return child.Serve(ctx, in, out, func(ctx context.Context, request json.RawMessage) (any, error) {
		var t task
		if err := json.Unmarshal(request, &t); err != nil {
			return nil, err
		}
		return t.do(ctx)
	}, sentinels...)
}

// sentinels are the errors of tasks that their callers ask for.
var sentinels = []error{block.ErrAbsent, filesystem.ErrUnmountable}

// lookAtKernel is a hint for what hangs.
const lookAtKernel = "journalctl --dmesg --priority=warning --no-pager tells of a disk that does not answer"

const (
	// reachWithin bounds one call into a filesystem. A disk that is busy
	// answers within seconds.
	reachWithin = 2 * time.Minute

	// syncWithin bounds the sync of a filesystem, to which all that was
	// written to it meanwhile belongs.
	syncWithin = 10 * time.Minute

	// compareWithin bounds the look at each file of a directory and its copy.
	compareWithin = time.Hour
)

// reach does a task in a worker, for as long as that may take.
func reach(ctx context.Context, c *child.Group, t task, answer any) error {
	within := reachWithin
	switch t.Do {
	case publish, syncAll:
		within = syncWithin
	case compare:
		within = compareWithin
	}
	doing := fmt.Sprintf(t.words(), t.Path)
	hint := lookAtKernel
	if t.Do != findDisk && t.Do != findMarked && t.Do != lookAt {
		hint += "; where somebody has frozen the filesystem: fsfreeze --unfreeze " + t.Path
	}
	return c.Do(ctx, child.Task{
		Key: string(t.Do) + " " + t.Path, Doing: doing, Within: within, Hint: hint,
		Late: fmt.Errorf("waited %s in vain for %s: its filesystem or its disk hangs", within, doing),
	}, t, answer)
}

// ledgers and directories are on mounted volumes.
type ledgers struct{ children *child.Group }

func (l ledgers) ReadLedger(ctx context.Context, root string) (ledger []byte, err error) {
	err = reach(ctx, l.children, task{Do: readLedger, Path: root}, &ledger)
	return ledger, err
}

func (l ledgers) WriteLedger(ctx context.Context, root string, ledger []byte) error {
	return reach(ctx, l.children, task{Do: writeLedger, Path: root, Ledger: ledger}, nil)
}

type directories struct{ children *child.Group }

func (d directories) Examine(ctx context.Context, of host.Data, set host.EngineSettings) (found host.DirectoryReport, err error) {
	err = reach(ctx, d.children, task{Do: examine, Path: of.Dir, Data: of, Set: set}, &found)
	return found, err
}

func (d directories) Names(ctx context.Context, path string) (found []string, err error) {
	err = reach(ctx, d.children, task{Do: names, Path: path}, &found)
	return found, err
}

func (d directories) SameDirectory(ctx context.Context, a, b string) (same bool, err error) {
	err = reach(ctx, d.children, task{Do: sameDirectory, Path: a, Other: b}, &same)
	return same, err
}

func (d directories) Create(ctx context.Context, of host.Data) error {
	return reach(ctx, d.children, task{Do: create, Path: of.Dir, Data: of}, nil)
}

func (d directories) Give(ctx context.Context, of host.Data) error {
	return reach(ctx, d.children, task{Do: give, Path: of.Dir, Data: of}, nil)
}

func (d directories) Compare(ctx context.Context, directory, replica string) (differs string, err error) {
	err = reach(ctx, d.children, task{Do: compare, Path: directory, Other: replica}, &differs)
	return differs, err
}

func (d directories) Sync(ctx context.Context, path string) error {
	return reach(ctx, d.children, task{Do: syncAll, Path: path}, nil)
}

func (d directories) Publish(ctx context.Context, staging, path string) error {
	return reach(ctx, d.children, task{Do: publish, Path: path, Other: staging}, nil)
}
