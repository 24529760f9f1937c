// Package service is what the services of the fake cloud share: where they are, work in the background,
// the faults that a test sets, and the record of all calls.
package service

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// An Env is what all services of one cloud share.
type Env struct {
	Region  string
	Account string
	Log     *slog.Logger
	Calls   *Recorder

	// ctx ends with Stop. Background work and requests that are never answered end with it.
	ctx     context.Context
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu sync.Mutex // held while working grows
}

// NewEnv returns the Env of a cloud that runs until Stop.
func NewEnv(region, account string, log *slog.Logger) *Env {
	e := &Env{Region: region, Account: account, Log: log, Calls: &Recorder{log: log}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	return e
}

// Stop ends background work and the requests that hang. Wait returns when they have ended.
func (e *Env) Stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cancel()
}

// Wait waits until all background work has ended.
func (e *Env) Wait() { e.working.Wait() }

// Done is closed by Stop.
func (e *Env) Done() <-chan struct{} { return e.ctx.Done() }

// Go runs do in the background. It reports false, and runs nothing, after Stop.
func (e *Env) Go(do func(ctx context.Context)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return false
	}
	e.working.Go(func() { do(e.ctx) })
	return true
}

// Later runs do in the background after a delay, unless Stop comes first.
func (e *Env) Later(delay time.Duration, do func(ctx context.Context)) {
	e.Go(func(ctx context.Context) {
		if Sleep(ctx, delay) {
			do(ctx)
		}
	})
}

// Begin returns the fault of a call, after the fault's delay. If the call is never to be answered, Begin
// records it and keeps the connection open until the client or Stop ends it; it does not return then.
func (e *Env) Begin(w http.ResponseWriter, r *http.Request, faults *Faults, action string, call Call) Fault {
	fault := faults.next(action)
	if Sleep(r.Context(), fault.Delay) && !fault.Hang {
		return fault
	}
	call.Code = Unanswered
	e.Calls.Add(call)
	_, _ = io.Copy(io.Discard, r.Body) // the server notices that a client is gone once the body is read
	select {
	case <-r.Context().Done():
	case <-e.ctx.Done():
	}
	panic(http.ErrAbortHandler)
}

// Sleep reports whether the time passed before ctx ended.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Random returns n random bytes in hexadecimal.
func Random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
