package service

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"bootagent/test/cloud/wildcard"
)

// A Call is a request that a service received.
type Call struct {
	Time      time.Time
	Service   string // imds, ec2, s3
	Action    string // AttachVolume, GetObject; of IMDS the method and path
	Role      string // the caller's IAM role; empty for IMDS, and if the caller is unknown
	Principal string // the ID of the calling instance, or the name of another caller; of IMDS, its instance
	Params    map[string]string
	Needs     []string // the IAM actions that this call needs, such as "ec2:AttachVolume"

	Status int    // of HTTP; 0 if the call was not answered
	Code   string // of the error; empty if there was none
}

// Unanswered is the code of a call that hangs or whose connection was cut.
const Unanswered = "(unanswered)"

func (c Call) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s:%s", c.Time.Format("15:04:05.000"), c.Principal, c.Service, c.Action)
	for _, key := range slices.Sorted(maps.Keys(c.Params)) {
		fmt.Fprintf(&b, " %s=%s", key, c.Params[key])
	}
	fmt.Fprintf(&b, " -> %d", c.Status)
	if c.Code != "" {
		fmt.Fprintf(&b, " %s", c.Code)
	}
	return b.String()
}

// A Recorder records all calls, in the order in which they were answered or began to hang.
type Recorder struct {
	log *slog.Logger

	mu    sync.Mutex
	calls []Call
}

// Add records and logs a call.
func (r *Recorder) Add(c Call) {
	r.log.Info("called", "call", c.String())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
}

// All returns the calls so far, without those that are being answered.
func (r *Recorder) All() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
}

// Of returns the calls of one action, in order: "ec2:AttachVolume", "s3:GetObject",
// "imds:GET /latest/user-data". The action may have wildcards.
func (r *Recorder) Of(action string) []Call {
	var of []Call
	for _, c := range r.All() {
		if wildcard.Match(action, c.Service+":"+c.Action) {
			of = append(of, c)
		}
	}
	return of
}

// Actions returns every action of EC2 and S3 that was called, sorted: "ec2:AttachVolume".
func (r *Recorder) Actions() []string {
	actions := map[string]bool{}
	for _, c := range r.All() {
		if c.Service != "imds" {
			actions[c.Service+":"+c.Action] = true
		}
	}
	return slices.Sorted(maps.Keys(actions))
}

// Needs returns every IAM action that the calls so far needed, sorted. A least-privilege policy allows
// exactly these.
func (r *Recorder) Needs() []string {
	needs := map[string]bool{}
	for _, c := range r.All() {
		for _, need := range c.Needs {
			needs[need] = true
		}
	}
	return slices.Sorted(maps.Keys(needs))
}

// Reset removes all calls from the record.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = nil
}

// Print writes one line for each call.
func (r *Recorder) Print(w io.Writer) error {
	for _, c := range r.All() {
		if _, err := fmt.Fprintln(w, c); err != nil {
			return err
		}
	}
	return nil
}
