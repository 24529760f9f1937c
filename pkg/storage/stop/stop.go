// Package stop is how the services on a volume were last stopped: what the volume's
// ledger keeps of it, and how people are told. It reads nothing itself.
package stop

import (
	"fmt"
	"time"
)

// A Stop says how the services that use a volume were last stopped.
type Stop struct {
	At      time.Time `json:"at,omitzero"`       // zero if nobody noted it
	On      string    `json:"on,omitempty"`      // the machine that had the volume
	Clean   bool      `json:"clean"`             // each ended by its own will, to the last process
	Why     string    `json:"why,omitempty"`     // it was not clean
	Bypass  string    `json:"bypass,omitempty"`  // a service had run by a bypass: which, by whom, and why
	Engines []Engine  `json:"engines,omitempty"` // what the engines' own files say of it
}

// An Engine is what the files of a database engine say of its last stop.
type Engine struct {
	Data  string `json:"data"` // of the plan, by name
	Name  string `json:"engine"`
	Clean bool   `json:"clean"`          // it has nothing to recover
	Says  string `json:"says,omitempty"` // what says so: "pg_control: in production"
}

// String says it in words that continue "volume data: ".
func (s Stop) String() string {
	text := "not stopped cleanly"
	if s.Clean {
		text = "stopped cleanly"
	}
	if !s.At.IsZero() {
		text += " " + s.At.Local().Format("2006-01-02 15:04")
	}
	if s.On != "" {
		text += " on " + s.On
	}
	if s.Why != "" {
		text += ": " + s.Why
	}
	if s.Bypass != "" {
		text += "; " + s.Bypass
	}
	for _, e := range s.Engines {
		text += e.beside(s.Clean)
	}
	return text
}

// Disagrees reports whether an engine's own files say something else than the
// ledger.
func (s Stop) Disagrees() bool {
	for _, e := range s.Engines {
		if e.Clean != s.Clean {
			return true
		}
	}
	return false
}

// beside says what the engine says, beside what the ledger does.
func (e Engine) beside(clean bool) string {
	switch {
	case clean && e.Clean:
		return fmt.Sprintf("; %s says so too (%s)", e.Name, e.Says)
	case clean:
		return fmt.Sprintf("; but %s says otherwise (%s), and recovers when it starts", e.Name, e.Says)
	case e.Clean:
		return fmt.Sprintf("; but %s says that it stopped cleanly (%s)", e.Name, e.Says)
	}
	return fmt.Sprintf("; %s recovers when it starts (%s)", e.Name, e.Says)
}

// A Use is by whom, and since when, a volume is used.
type Use struct {
	Machine string // what names the machine to people
	BootID  string
	DiskSeq uint64 // another one each time that the disk is plugged in; 0 if it is not known
}

// Same reports whether two uses are one.
func (u Use) Same(as Use) bool {
	return u.Machine == as.Machine && u.BootID == as.BootID && (u.DiskSeq == as.DiskSeq || u.DiskSeq == 0 || as.DiskSeq == 0)
}

// Unnoted returns the Stop after a use that nobody noted the end of, from how the
// volume is used now. Released is when the machine had released the volume, if it
// shut down in between in its order, and else zero.
func Unnoted(before, now Use, released time.Time) Stop {
	s := Stop{On: before.Machine}
	switch {
	case before.Machine != now.Machine:
		s.Why = "that machine did not note how: it lost its power or was terminated, its agent did not run, or the volume was detached while it was in use"
	case before.BootID == now.BootID && before.Same(now):
		s.Why = "it was unmounted while the machine ran on, and nobody noted how its services had stopped"
	case before.BootID == now.BootID:
		s.Why = "its disk was detached while the machine ran on"
	case !released.IsZero():
		s.Why = fmt.Sprintf("nobody noted how its services stopped before the shutdown at %s, when it was not mounted any more: "+
			"the agent did not run then, or the disk was detached before", released.Local().Format("2006-01-02 15:04"))
	default:
		s.Why = "the machine lost its power or was reset"
	}
	return s
}
