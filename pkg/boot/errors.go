package boot

import (
	"errors"
	"fmt"
)

// Final marks an error that no amount of trying again will mend by itself:
// its step runs again only after an event that touches it, or when a person
// says so.
func Final(err error) error { return &finalError{err} }

// Finalf is Final of an error made as by fmt.Errorf.
func Finalf(format string, args ...any) error { return Final(fmt.Errorf(format, args...)) }

type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// WithHint adds to an error what a person can do about it.
func WithHint(err error, hint string) error { return &hintedError{err, hint} }

// HintOf is the hint that was added to an error, or "".
func HintOf(err error) string {
	if h := (*hintedError)(nil); errors.As(err, &h) {
		return h.hint
	}
	return ""
}

type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }
