// Package ec2 is the state of the fake cloud's EC2: instances, volumes, attachments, snapshots and tags, how
// long they take to change, and what EC2 refuses. Its methods are for tests, and need no permission. Package
// api lets instances call them over HTTP.
package ec2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"bootagent/test/cloud/iam"
	"bootagent/test/cloud/service"
)

// EC2 is the EC2 of one region.
type EC2 struct {
	env *service.Env
	iam *iam.IAM
	dir string // of the backing files

	mu        sync.Mutex
	state     State
	history   history
	lag       time.Duration
	delays    Delays
	changed   chan struct{} // closed with each change, and made anew
	instances map[string]*Instance
	slots     map[ends]*slot
	stuck     map[string]string // by volume, the state that its attachment does not leave
}

// Delays is how long EC2 takes to leave a state.
type Delays struct {
	Create    time.Duration // a volume, from creating
	Attach    time.Duration // an attachment, from attaching, without the time that Plug takes
	Detach    time.Duration // an attachment, from detaching, without the time that Unplug takes
	Start     time.Duration // an instance, from pending
	Stop      time.Duration // an instance, from stopping
	Terminate time.Duration // an instance, from shutting-down
	Modify    time.Duration // a modification, from modifying
	Optimize  time.Duration // a modification, from optimizing
}

// Typical returns about the delays of EC2 on a good day.
func Typical() Delays {
	return Delays{
		Create: 2 * time.Second, Attach: 2 * time.Second, Detach: 3 * time.Second,
		Start: 8 * time.Second, Stop: 20 * time.Second, Terminate: 20 * time.Second,
		Modify: 5 * time.Second, Optimize: time.Minute, // of a small volume; a large one takes hours
	}
}

// New returns an EC2 without instances and volumes. The backing files of volumes without a path go to dir; if
// dir is empty, those volumes have none.
func New(env *service.Env, credentials *iam.IAM, dir string, delays Delays) *EC2 {
	e := &EC2{
		env:       env,
		iam:       credentials,
		dir:       dir,
		delays:    delays,
		changed:   make(chan struct{}),
		state:     State{map[string]Volume{}, map[string]Snapshot{}, map[string]InstanceState{}},
		instances: map[string]*Instance{},
		slots:     map[ends]*slot{},
		stuck:     map[string]string{},
	}
	e.history.add(e.state, 0)
	return e
}

// SetDelays sets the delays of everything that begins from now on.
func (e *EC2) SetDelays(d Delays) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.delays = d
}

func (e *EC2) delay() Delays {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.delays
}

// SetLag sets how much later Describe calls see the changes that are made from now on. All other calls see
// them at once.
func (e *EC2) SetLag(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lag = d
}

// change replaces the state by a changed copy, unless do fails. do must not change the tags or attachments of a
// volume in place, but replace them by copies: older states still refer to them.
func (e *EC2) change(do func(s *State) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := State{maps.Clone(e.state.Volumes), maps.Clone(e.state.Snapshots), maps.Clone(e.state.Instances)}
	if err := do(&s); err != nil {
		return err
	}
	e.state = s
	e.history.add(s, e.lag)
	close(e.changed)
	e.changed = make(chan struct{})
	return nil
}

// Now returns the current state.
func (e *EC2) Now() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// Seen returns the state that Describe calls see.
func (e *EC2) Seen() State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.history.now()
}

// wait waits until ok accepts the state. It fails with the cause of ctx, or if the cloud is closed.
func (e *EC2) wait(ctx context.Context, ok func(State) bool) error {
	for {
		e.mu.Lock()
		s, changed := e.state, e.changed
		e.mu.Unlock()
		if ok(s) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.env.Done():
			return errors.New("the cloud is closed")
		}
	}
}

func (e *EC2) zones() []string {
	return []string{e.env.Region + "a", e.env.Region + "b", e.env.Region + "c"}
}

// An Error is an error in EC2's words.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
type Error struct {
	Status  int // of HTTP
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf returns the error of a request that is itself at fault.
func Errorf(code, format string, args ...any) error {
	return &Error{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// newID returns an ID as EC2 makes them: the prefix and 17 hexadecimal digits.
func newID(prefix string) string { return prefix + "-0" + service.Random(8) }

func validID(id, prefix string) bool {
	digits, ok := strings.CutPrefix(id, prefix)
	return ok && (len(digits) == 8 || len(digits) == 17) && strings.Trim(digits, "0123456789abcdef") == ""
}
