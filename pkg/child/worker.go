package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"bootagent/pkg/fault"
)

// A worker is a child that does one task after another, because starting a
// process takes longer than most of the tasks.
type worker struct {
	*process
	in   io.WriteCloser
	out  *json.Decoder
	rest *time.Timer // ends the worker while it is idle
}

// Command is the command of the program that a worker runs: it calls Serve.
const Command = "worker"

// Do sends a request to a worker, and decodes its answer, unless answer is nil.
// An error of the worker keeps its hint, whether it is permanent, and which of the
// Sentinels it is.
func (c *Group) Do(ctx context.Context, t Task, request, answer any) error {
	ctx, done := c.bound(ctx, t)
	defer done()
	if err := c.free(ctx, t); err != nil {
		return err
	}
	w, err := c.worker(ctx)
	if err != nil {
		return err
	}
	var r reply
	ended := make(chan error, 1)
	go func() {
		err := json.NewEncoder(w.in).Encode(request)
		if err == nil {
			err = w.out.Decode(&r)
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			c.abandon(t, w.process)
			return fmt.Errorf("the child process ended before it answered: %w", err)
		}
		c.keep(w)
	case <-ctx.Done():
		c.abandon(t, w.process)
		return context.Cause(ctx)
	}
	if r.Error != nil {
		if n := r.Error.Is; n > 0 && n <= len(c.Sentinels) {
			r.Error.sentinel = c.Sentinels[n-1]
		}
		return r.Error
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(r.Answer, answer)
}

// worker returns an idle worker, or a new one.
func (c *Group) worker(ctx context.Context) (*worker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.idle) > 0 {
		w := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if w.rest.Stop() && !w.over() {
			return w, nil
		}
	}
	return newWorker(ctx)
}

func newWorker(ctx context.Context) (*worker, error) {
	cmd := exec.Command("/proc/self/exe", Command)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// Not StdoutPipe: Wait would close it while an answer is read.
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	cmd.Stdout = theirs
	p, err := begin(ctx, cmd)
	theirs.Close()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	go func() {
		<-p.ended
		out.Close()
	}()
	return &worker{process: p, in: in, out: json.NewDecoder(bufio.NewReader(out))}, nil
}

// keep keeps a worker for the next request, for a while.
func (c *Group) keep(w *worker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.rest = time.AfterFunc(idleFor, func() {
		c.mu.Lock()
		c.idle = slices.DeleteFunc(c.idle, func(o *worker) bool { return o == w })
		c.mu.Unlock()
		w.end()
	})
	c.idle = append(c.idle, w)
}

// end lets a worker end by itself.
func (w *worker) end() {
	w.rest.Stop()
	w.in.Close()
}

// Serve answers the requests that a Group sends to a worker, one after the other,
// until in ends. sentinels are the Group's.
func Serve(ctx context.Context, in io.Reader, out io.Writer, do func(ctx context.Context, request json.RawMessage) (answer any, err error), sentinels ...error) error {
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var request json.RawMessage
		if err := requests.Decode(&request); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r reply
		answer, err := do(ctx, request)
		if err == nil {
			r.Answer, err = json.Marshal(answer)
		}
		if err != nil {
			r.Error = asReplyError(err, sentinels)
		}
		if err := replies.Encode(r); err != nil {
			return err
		}
	}
}

// A reply is what a worker sends: an answer, or an error.
type reply struct {
	Answer json.RawMessage `json:",omitempty"`
	Error  *replyError     `json:",omitempty"`
}

// A replyError is an error of a worker, with what its caller may ask of it.
type replyError struct {
	Text   string
	Advice string `json:",omitempty"` // its hint
	Ends   bool   `json:",omitempty"` // it is permanent
	Is     int    `json:",omitempty"` // the number of the sentinel that it is, from 1

	sentinel error
}

func asReplyError(err error, sentinels []error) *replyError {
	return &replyError{
		Text: err.Error(), Advice: fault.HintOf(err), Ends: fault.IsPermanent(err),
		Is: 1 + slices.IndexFunc(sentinels, func(s error) bool { return errors.Is(err, s) }),
	}
}

func (e *replyError) Error() string   { return e.Text }
func (e *replyError) Hint() string    { return e.Advice }
func (e *replyError) Permanent() bool { return e.Ends }
func (e *replyError) Unwrap() error   { return e.sentinel }
