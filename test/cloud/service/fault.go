package service

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"bootagent/test/cloud/wildcard"
)

// A Fault is what a caller gets instead of an answer, or before it.
type Fault struct {
	Status  int    // of HTTP; if it is 0, the request is answered
	Code    string // as in the error documents of EC2 and S3
	Message string

	Effect bool          // the request takes effect, and the caller gets the error all the same
	Hang   bool          // the connection is accepted and never answered
	Cut    int           // the connection ends after this many bytes of the body
	Delay  time.Duration // before anything else
}

// Errors that EC2 and S3 answer now and then.
var (
	// InternalError and Unavailable are 5xx errors; the request has no effect.
	InternalError = Fault{Status: http.StatusInternalServerError, Code: "InternalError", Message: "An internal error has occurred"}
	Unavailable   = Fault{Status: http.StatusServiceUnavailable, Code: "Unavailable", Message: "The service is unavailable. Please try again shortly."}

	// DoneButUnavailable is an error although the request takes effect. AttachVolume has answered so:
	// https://github.com/aws/aws-sdk-java/issues/1623
	DoneButUnavailable = Fault{Status: http.StatusServiceUnavailable, Code: "Unavailable", Message: Unavailable.Message, Effect: true}

	// Throttled is EC2's. EC2's method Throttle sets the token buckets themselves.
	Throttled = Fault{Status: http.StatusServiceUnavailable, Code: "RequestLimitExceeded", Message: "Request limit exceeded."}

	// SlowDown is S3's.
	SlowDown = Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown", Message: "Please reduce your request rate."}

	// Silence is a connection that is accepted and never answered.
	Silence = Fault{Hang: true}
)

// Always is the number of times for a fault that stays until Heal.
const Always = -1

// Faults are the faults of one service, by action. The zero value has none.
type Faults struct {
	mu    sync.Mutex
	dark  bool
	armed []*armed
}

type armed struct {
	action string
	fault  Fault
	left   int
}

// Fail makes the next calls of an action fail, as many times as given, or [Always]. An action may have
// wildcards ("Describe*", "*"). Actions of EC2 and S3 have AWS's names; those of IMDS are paths, such as
// "/latest/api/token". Of several faults of one action, the one that was set first comes first. A fault
// that is only a delay comes on top of others.
func (f *Faults) Fail(action string, fault Fault, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = append(f.armed, &armed{action, fault, times})
}

// Blackhole accepts all calls and answers none until Heal, whatever other faults are set.
func (f *Faults) Blackhole() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dark = true
}

// Heal removes what Fail and Blackhole set. Calls that hang stay unanswered.
func (f *Faults) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dark, f.armed = false, nil
}

// next returns the fault of this call, if there is one.
func (f *Faults) next(action string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dark {
		return Silence
	}
	fault := Fault{}
	f.armed = slices.DeleteFunc(f.armed, func(a *armed) bool {
		delay := a.fault == Fault{Delay: a.fault.Delay}
		if !wildcard.Match(a.action, action) || !delay && fault != (Fault{Delay: fault.Delay}) {
			return false
		}
		if delay {
			fault.Delay += a.fault.Delay
		} else {
			before := fault.Delay
			fault = a.fault
			fault.Delay += before
		}
		if a.left > 0 {
			a.left--
		}
		return a.left == 0
	})
	return fault
}

// Writer returns a writer that ends the connection where the fault cuts the body.
func (f Fault) Writer(w http.ResponseWriter) http.ResponseWriter {
	if f.Cut == 0 {
		return w
	}
	return &cutter{w, f.Cut}
}

// A cutter ends the connection after the first bytes of the body.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	if flusher, ok := c.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
	panic(http.ErrAbortHandler)
}
