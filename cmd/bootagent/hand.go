package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"bootagent/cmd/bootagent/ondisk"
	"bootagent/pkg/block"
	"bootagent/pkg/command"
	"bootagent/pkg/datadir"
	"bootagent/pkg/fault"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// A task is one thing to do with a disk or in a filesystem that may hang: it is
// frozen, or its disk does not answer. It is done in a process of its own, see
// children.
type task struct {
	Do     taskKind
	Path   string
	Other  string    `json:",omitempty"` // another path
	Ledger []byte    `json:",omitempty"`
	Data   role.Data // whose directory it is
	Set    host.EngineSettings
}

type taskKind string

const (
	readLedger    taskKind = "read-ledger"
	writeLedger   taskKind = "write-ledger"
	examine       taskKind = "examine"
	names         taskKind = "names"
	sameDirectory taskKind = "same-directory"
	create        taskKind = "create"
	publish       taskKind = "publish"
	findDisk      taskKind = "find-disk" // whose serial number is Path
)

// A reply is what a hand answers: something, or an error.
type reply struct {
	Answer json.RawMessage `json:",omitempty"`
	Error  *replyError     `json:",omitempty"`
}

// A replyError is an error of a hand's, with what its caller may ask of it.
type replyError struct {
	Text   string
	Advice string `json:",omitempty"` // its hint
	Ends   bool   `json:",omitempty"` // it is final, see boot.Final
	Absent bool   `json:",omitempty"` // it is block.ErrAbsent
}

func asReplyError(err error) *replyError {
	e := &replyError{Text: err.Error(), Advice: fault.HintOf(err), Absent: errors.Is(err, block.ErrAbsent)}
	if may := (interface{ Permanent() bool })(nil); errors.As(err, &may) {
		e.Ends = may.Permanent()
	}
	return e
}

func (e *replyError) Error() string   { return e.Text }
func (e *replyError) Hint() string    { return e.Advice }
func (e *replyError) Permanent() bool { return e.Ends }

func (e *replyError) Unwrap() error {
	if e.Absent {
		return block.ErrAbsent
	}
	return nil
}

// do does the task in this process.
func (t task) do(ctx context.Context) (answer any, err error) {
	switch t.Do {
	case readLedger:
		return filesystem.ReadLedger(t.Path)
	case writeLedger:
		return nil, filesystem.WriteLedger(t.Path, t.Ledger)
	case examine:
		return ondisk.Directory(datadir.Host{}, t.Path, t.Data, t.Set)
	case names:
		found, err := datadir.Names(t.Path)
		if errors.Is(err, datadir.ErrMany) {
			err = nil // as many as are listed say enough
		}
		return found, err
	case sameDirectory:
		return datadir.Same(t.Path, t.Other)
	case create:
		return nil, datadir.Create(t.Path, t.Data.Owner)
	case publish:
		return nil, datadir.Publish(t.Other, t.Path)
	case findDisk:
		return block.Host().Find(ctx, t.Path)
	}
	return nil, fmt.Errorf("there is no task %q", t.Do)
}

// inWords says what is done and waited for.
func (t task) inWords() string {
	return map[taskKind]string{
		readLedger:    "the ledger of the filesystem at %s to be read",
		writeLedger:   "the ledger of the filesystem at %s to be written",
		examine:       "the directory %s to be looked at",
		names:         "the directory %s to be listed",
		sameDirectory: "the directory %s to be looked at",
		create:        "the directory %s to be made",
		publish:       "the data of %s to be brought to its disk",
		findDisk:      "the disk with serial %s to tell which it is",
	}[t.Do]
}

// doTasks does the tasks that standard input names until it ends, one after the
// other. The agent runs it as a child of its own.
func doTasks(ctx context.Context, args []string, out io.Writer) error {
	if err := command.Parse(handCommand, args, nil, 0, 0); err != nil {
		return err
	}
	in, answers := json.NewDecoder(os.Stdin), json.NewEncoder(out)
	for {
		var t task
		if err := in.Decode(&t); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r reply
		answer, err := t.do(ctx)
		if err == nil {
			r.Answer, err = json.Marshal(answer)
		}
		if err != nil {
			r.Error = asReplyError(err)
		}
		if err := answers.Encode(r); err != nil {
			return err
		}
	}
}

// lookAtKernel is a hint for what hangs.
const lookAtKernel = "journalctl --dmesg --priority=warning --no-pager tells of a disk that does not answer"

const (
	// reachWithin bounds one call into a filesystem. A disk that is busy
	// answers within seconds.
	reachWithin = 2 * time.Minute

	// syncWithin bounds the sync of a filesystem, to which all that was
	// written to it meanwhile belongs.
	syncWithin = 10 * time.Minute
)

// reach has a hand do a task, for as long as that may take.
func (c *children) reach(ctx context.Context, t task, answer any) error {
	within := reachWithin
	if t.Do == publish {
		within = syncWithin
	}
	doing := fmt.Sprintf(t.inWords(), t.Path)
	hint := lookAtKernel
	if t.Do != findDisk {
		hint += "; where somebody has frozen the filesystem: fsfreeze --unfreeze " + t.Path
	}
	return c.do(ctx, about{
		key: string(t.Do) + " " + t.Path, doing: doing, within: within, hint: hint,
		late: fmt.Errorf("waited %s in vain for %s: its filesystem or its disk hangs", within, doing),
	}, t, answer)
}

// ledgers and directories are on mounted volumes.
type ledgers struct{ children *children }

func (l ledgers) ReadLedger(ctx context.Context, root string) (ledger []byte, err error) {
	err = l.children.reach(ctx, task{Do: readLedger, Path: root}, &ledger)
	return ledger, err
}

func (l ledgers) WriteLedger(ctx context.Context, root string, ledger []byte) error {
	return l.children.reach(ctx, task{Do: writeLedger, Path: root, Ledger: ledger}, nil)
}

type directories struct{ children *children }

func (d directories) Examine(ctx context.Context, path string, of role.Data, set host.EngineSettings) (found host.Directory, err error) {
	err = d.children.reach(ctx, task{Do: examine, Path: path, Data: of, Set: set}, &found)
	return found, err
}

func (d directories) Names(ctx context.Context, path string) (found []string, err error) {
	err = d.children.reach(ctx, task{Do: names, Path: path}, &found)
	return found, err
}

func (d directories) SameDirectory(ctx context.Context, a, b string) (same bool, err error) {
	err = d.children.reach(ctx, task{Do: sameDirectory, Path: a, Other: b}, &same)
	return same, err
}

func (d directories) Create(ctx context.Context, path, owner string) error {
	return d.children.reach(ctx, task{Do: create, Path: path, Data: role.Data{Owner: owner}}, nil)
}

func (d directories) Publish(ctx context.Context, staging, path string) error {
	return d.children.reach(ctx, task{Do: publish, Path: path, Other: staging}, nil)
}
