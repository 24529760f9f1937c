package cloud

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A Fault is what comes instead of an answer, or before it.
type Fault struct {
	Status  int    // of HTTP; without it the request is answered
	Code    string // as in EC2's and S3's error documents
	Message string

	Effect bool          // what was asked for happens all the same, and the caller gets the error
	Hang   bool          // the connection is accepted, and nothing comes
	Cut    int           // the connection ends after so many bytes of the body
	Delay  time.Duration // before all else
}

// What EC2 and S3 answer on a bad day.
var (
	// InternalError and Unavailable are 5xx without effect.
	InternalError = Fault{Status: http.StatusInternalServerError, Code: "InternalError", Message: "An internal error has occurred"}
	Unavailable   = Fault{Status: http.StatusServiceUnavailable, Code: "Unavailable", Message: "The service is unavailable. Please try again shortly."}

	// DoneButUnavailable takes effect and says that it did not: seen of AttachVolume,
	// https://github.com/aws/aws-sdk-java/issues/1623
	DoneButUnavailable = Fault{Status: http.StatusServiceUnavailable, Code: "Unavailable", Message: Unavailable.Message, Effect: true}

	// Throttled is EC2's; see [EC2.Throttle] for the buckets themselves.
	Throttled = Fault{Status: http.StatusServiceUnavailable, Code: "RequestLimitExceeded", Message: "Request limit exceeded."}

	// SlowDown is S3's.
	SlowDown = Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown", Message: "Please reduce your request rate."}

	// Silence is a connection that is accepted and never answered.
	Silence = Fault{Hang: true}
)

// Always is how many times a fault comes that stays until Heal.
const Always = -1

// faults are the faults of one service, by action.
type faults struct {
	mu    sync.Mutex
	dark  bool
	armed []*armed
}

type armed struct {
	action string
	fault  Fault
	left   int
}

// Fail has the next calls of an action fail, so many times, or [Always]. An action may have
// wildcards ("Describe*", "*"). EC2's and S3's are as AWS names them; IMDS's are paths, such as
// "/latest/api/token". Of several faults of one action, the one set first comes first; one that is
// a delay and nothing else comes on top of others.
func (f *faults) Fail(action string, fault Fault, times int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = append(f.armed, &armed{action, fault, times})
}

// Blackhole has all calls accepted and none answered, whatever else is set, until Heal.
func (f *faults) Blackhole() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dark = true
}

// Heal takes back what Fail and Blackhole set. Calls that hang stay unanswered.
func (f *faults) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dark, f.armed = false, nil
}

// next gives the fault of this call, if it has one.
func (f *faults) next(action string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dark {
		return Silence
	}
	fault := Fault{}
	f.armed = slices.DeleteFunc(f.armed, func(a *armed) bool {
		delay := a.fault == Fault{Delay: a.fault.Delay}
		if !like(a.action, action) || !delay && fault != (Fault{Delay: fault.Delay}) {
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

// hang keeps a connection open without a word, until the client or Close ends it.
func (c *Cloud) hang(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // the server sees that a client is gone once the body is read
	select {
	case <-r.Context().Done():
	case <-c.ctx.Done():
	}
	panic(http.ErrAbortHandler)
}

// A cutter ends the connection after some bytes of the body.
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
