// Package fault holds the kinds of errors that the packages of bootagent
// share: one that no retry mends, one that says what is not there yet, and the
// hint that tells a person what to do.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Permanent marks an error that no retry mends. A step that fails with it runs
// again only after an event about it, or when a person says so: bootagent retry.
// An error of a type of its own is permanent if it has a method Permanent() bool
// that returns true.
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ error }

func (e *permanentError) Unwrap() error   { return e.error }
func (e *permanentError) Permanent() bool { return true }

// IsPermanent reports whether no retry mends an error. The outermost error of
// the chain that says so, or says that it is not so, counts.
func IsPermanent(err error) bool {
	var may interface{ Permanent() bool }
	return errors.As(err, &may) && may.Permanent()
}

// Refuse returns a permanent error with a hint.
func Refuse(hint, format string, args ...any) error {
	return Permanent(WithHint(fmt.Errorf(format, args...), hint))
}

// WithHint adds to an error what a person can do about it. A command in a hint
// works when it is pasted. An error of a type of its own has a hint if it has a
// method Hint() string.
func WithHint(err error, hint string) error { return &hintedError{err, hint} }

// HintOf returns the hint of the outermost error of the chain that can have
// one, or "".
func HintOf(err error) string {
	var may interface{ Hint() string }
	if errors.As(err, &may) {
		return may.Hint()
	}
	return ""
}

type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }
func (e *hintedError) Hint() string  { return e.hint }

// Pending_ is the error for what is not there yet, and may come by itself or by
// what a person does. Ask again.
type Pending struct {
	For  string // what is waited for; completes "waiting for"
	Hint string // what a person can do, or ""

	// Unanswered says that nobody answered the question, perhaps because too
	// many questions are asked: ask less often.
	Unanswered bool
}

func (e *Pending) Error() string { return "still waiting for " + e.For }

// Expired is the error for what was pending for longer than it may be. Its
// hint is that of the last answer.
type Expired struct {
	Within time.Duration
	Last   *Pending
}

func (e *Expired) Error() string {
	return fmt.Sprintf("waited %s in vain for %s", e.Within, e.Last.For)
}

func (e *Expired) Unwrap() error { return WithHint(e.Last, e.Last.Hint) }
