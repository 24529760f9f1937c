// Package status is the agent's state as people and programs read it: a file
// of JSON that holds no secret, a line for systemctl status, a page for a
// person, and exit codes for scripts.
package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// State is the state of the role as a whole.
type State string

// The states of a role.
const (
	Idle     State = "idle"     // this instance has no role
	Starting State = "starting" // on its way
	Waiting  State = "waiting"  // for something outside
	Ready    State = "ready"    // all that the role needs is true
	Degraded State = "degraded" // some of its services run
	Failed   State = "failed"   // none can, or there is no plan
	Gone     State = "gone"     // the agent does not run, see Status.Left
)

// ExitCode is what bootagent status exits with.
func (s State) ExitCode() int {
	switch s {
	case Ready, Idle:
		return 0
	case Failed:
		return 1
	case Degraded:
		return 3
	case Gone:
		return 5
	default:
		return 4
	}
}

// Final tells whether a state lasts until something happens that the agent
// can't bring about.
func (s State) Final() bool { return s == Ready || s == Idle || s == Failed || s == Degraded }

// Status is the state of the agent and of its role.
type Status struct {
	Version   int       `json:"version"` // of this format
	Agent     Agent     `json:"agent"`
	Role      string    `json:"role,omitempty"`
	State     State     `json:"state"`
	Last      State     `json:"last_state,omitempty"` // that was told, where the agent is gone
	Since     time.Time `json:"since"`                // when it came into this state
	Reason    string    `json:"reason,omitempty"`     // why it is not ready
	Hint      string    `json:"hint,omitempty"`       // what a person can do
	Warnings  []string  `json:"warnings,omitempty"`   // what is to be known although all is well
	Bypassed  []Bypass  `json:"bypassed,omitempty"`   // services that a person's order started
	Held      []Held    `json:"held,omitempty"`       // services that may not start
	Volumes   []Volume  `json:"volumes,omitempty"`
	LeftAlone []string  `json:"left_alone,omitempty"` // volumes of a former role that are attached, in words
	Steps     []Step    `json:"steps,omitempty"`
}

// Agent says which agent wrote a status.
type Agent struct {
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`

	// Ticks is when the process was started, as the kernel counts it (starttime
	// of proc_pid_stat(5)): with PID, it names that process and no later one.
	Ticks uint64 `json:"start_ticks,omitempty"`
}

// Left is what is known where the agent that wrote a status does not run any
// more: nothing of it need be so still.
func (s Status) Left() Status {
	s.Reason = "the agent does not run; it told last: " + s.Line()
	s.State, s.Last = Gone, s.State
	s.Hint = "systemctl start bootagent; if that fails: journalctl --unit=bootagent --boot --lines=50 --no-pager"
	return s
}

// Bypass is a service that a person has started although not all that it needs is
// there.
type Bypass struct {
	Unit         string    `json:"unit"`
	Reason       string    `json:"reason"`
	By           string    `json:"by"`
	At           time.Time `json:"at"`
	WithoutProof bool      `json:"without_proof,omitempty"`
	Lacks        []string  `json:"lacks,omitempty"` // steps that are not done, in words
}

// line says it in one line.
func (b Bypass) line() string {
	text := fmt.Sprintf("BYPASS of %s by %s since %s", oneLine(b.Unit), oneLine(b.By), b.At.Local().Format(time.DateTime))
	if b.WithoutProof {
		text += ", WITHOUT PROOF of its data"
	}
	text += ": " + oneLine(b.Reason)
	if len(b.Lacks) == 0 {
		return text + "; all that it needs is there now"
	}
	return text + "; it lacks: " + oneLine(strings.Join(b.Lacks, "; "))
}

// Held is a service that may not start, and why.
type Held struct {
	Unit string `json:"unit"`
	Why  string `json:"why"`
}

// Volume is a volume that is in use.
type Volume struct {
	Name     string   `json:"name"`
	LastStop LastStop `json:"last_stop"`
}

// LastStop is how the services on a volume had stopped before it was taken into use.
type LastStop struct {
	At      time.Time    `json:"at,omitzero"`
	On      string       `json:"on,omitempty"` // the machine that had the volume
	Clean   bool         `json:"clean"`
	Why     string       `json:"why,omitempty"`     // it was not clean
	Engines []EngineStop `json:"engines,omitempty"` // what the engines' own files say
	Text    string       `json:"text"`              // all of it, in words
}

// EngineStop is what the files of a database engine say of its last stop.
type EngineStop struct {
	Data   string `json:"data"`
	Engine string `json:"engine"`
	Clean  bool   `json:"clean"`
	Says   string `json:"says,omitempty"` // what says so
}

// Step is one step of the way.
type Step struct {
	Name    string     `json:"name"`
	State   string     `json:"state"`
	Since   time.Time  `json:"since"`
	Began   *time.Time `json:"began,omitempty"`  // when it was last started
	For     string     `json:"for,omitempty"`    // what it waits for
	Until   *time.Time `json:"until,omitempty"`  // when it gives up, or has failed if it goes on so
	Answer  string     `json:"answer,omitempty"` // the last that it got from what it asks
	Error   string     `json:"error,omitempty"`
	Hint    string     `json:"hint,omitempty"`
	RetryAt *time.Time `json:"retry_at,omitempty"`
	Warning string     `json:"warning,omitempty"` // what is to be known of it although it is done

	// Of a step that fails, again and again:
	Tries      int        `json:"tries,omitempty"`         // in a row
	Failing    *time.Time `json:"failing_since,omitempty"` // since it was last done, or was first tried
	FirstError string     `json:"first_error,omitempty"`   // if it was another
}

const formatVersion = 1

// ErrNone is returned where no agent has written a status since the boot.
var ErrNone = errors.New("bootagent has not run since this machine booted")

// Read reads the status file. ErrNone may pass by itself; other errors do not.
func Read(path string) (Status, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, ErrNone
	}
	if err != nil {
		return Status{}, err
	}
	var s Status
	if err := json.Unmarshal(src, &s); err != nil {
		return Status{}, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if s.Version != formatVersion {
		return Status{}, fmt.Errorf("cannot read %s: it has version %d, and this program reads version %d", path, s.Version, formatVersion)
	}
	return s, nil
}

// Write replaces the status file, in one step, for all to read.
func (s Status) Write(path string) error {
	s.Version = formatVersion
	src, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), ".status.new")
	if err := os.WriteFile(temp, append(src, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// Line is the status in one line. It tells times of day, not durations, which
// would be wrong as soon as they were read.
func (s Status) Line() string {
	if s.State == Gone {
		return oneLine(s.Reason)
	}
	line := fmt.Sprintf("%s since %s", s.State, s.Since.Local().Format(time.DateTime))
	if s.Role != "" {
		line = oneLine(s.Role) + ": " + line
	}
	if s.Reason != "" {
		line += ": " + oneLine(s.Reason)
	}
	for i := len(s.Bypassed) - 1; i >= 0; i-- {
		line = fmt.Sprintf("BYPASS of %s in force; %s", oneLine(s.Bypassed[i].Unit), line)
	}
	for _, warning := range s.Warnings {
		line += "; " + oneLine(warning)
	}
	return line
}

// Print writes the status for a person.
func (s Status) Print(w io.Writer) {
	fmt.Fprintln(w, s.Line())
	if s.Hint != "" {
		fmt.Fprintln(w, "  hint:", oneLine(s.Hint))
	}
	for _, b := range s.Bypassed {
		fmt.Fprintln(w, b.line())
		fmt.Fprintf(w, "  to end it: bootagent bypass %s --end\n", oneLine(b.Unit))
	}
	for _, h := range s.Held {
		fmt.Fprintf(w, "%s is held: %s\n", oneLine(h.Unit), oneLine(h.Why))
	}
	for _, v := range s.Volumes {
		fmt.Fprintf(w, "volume %s: %s\n", oneLine(v.Name), oneLine(v.LastStop.Text))
	}
	for _, left := range s.LeftAlone {
		fmt.Fprintln(w, oneLine(left))
	}
	width := 0
	for _, st := range s.Steps {
		width = max(width, len(oneLine(st.Name)))
	}
	if len(s.Steps) > 0 {
		fmt.Fprintln(w)
	}
	for _, st := range s.Steps {
		line := fmt.Sprintf("  %s  %-8s %-*s %s", clock(st.Since), st.State, width, oneLine(st.Name), st.detail())
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

func (s Step) detail() string {
	var parts []string
	if s.For != "" {
		parts = append(parts, "for "+oneLine(s.For))
	}
	if s.Until != nil && s.For != "" {
		parts = append(parts, "until "+s.beside(*s.Until))
	}
	if s.Answer != "" && s.Error == "" {
		parts = append(parts, "(answer: "+oneLine(s.Answer)+")")
	}
	if s.Error != "" {
		parts = append(parts, oneLine(s.Error))
	}
	if s.FirstError != "" {
		parts = append(parts, "(at first: "+oneLine(s.FirstError)+")")
	}
	if tries := s.tries(); tries != "" {
		parts = append(parts, "("+tries+")")
	}
	if s.Warning != "" {
		parts = append(parts, oneLine(s.Warning))
	}
	return strings.Join(parts, " ")
}

// Timeline writes when each step was started, after the machine was, and how
// long it took: the steps of one boot in their order.
func (s Status) Timeline(w io.Writer, booted time.Time) {
	steps := slices.DeleteFunc(slices.Clone(s.Steps), func(st Step) bool { return st.Began == nil })
	slices.SortStableFunc(steps, func(a, b Step) int { return a.Began.Compare(*b.Began) })
	for _, st := range steps {
		took := "so far"
		if st.State == "done" || st.State == "failed" {
			took = fmt.Sprintf("%6.2f s", st.Since.Sub(*st.Began).Seconds())
		}
		fmt.Fprintf(w, "%8.2f s  %8s  %-8s %s\n", st.Began.Sub(booted).Seconds(), took, st.State, oneLine(st.Name))
	}
}

// tries says how often a step has failed, when it does so for good if it goes
// on, and when it is tried again.
func (s Step) tries() string {
	var parts []string
	if s.Tries > 1 && s.Failing != nil {
		parts = append(parts, fmt.Sprintf("%d tries since %s", s.Tries, s.beside(*s.Failing)))
	}
	if s.RetryAt != nil {
		parts = append(parts, "next try "+s.beside(*s.RetryAt))
	}
	if s.Until != nil && s.For == "" {
		parts = append(parts, "counts as failed at "+s.beside(*s.Until))
	}
	return strings.Join(parts, ", ")
}

// beside is a time of day as it stands beside that since when the step is as it
// is, with its day where that is another.
func (s Step) beside(t time.Time) string {
	if t.Local().Format(time.DateOnly) != s.Since.Local().Format(time.DateOnly) {
		return t.Local().Format(time.DateTime)
	}
	return clock(t)
}

func clock(t time.Time) string { return t.Local().Format(time.TimeOnly) }
