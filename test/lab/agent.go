package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

// An agent speaks to qemu-guest-agent: JSON objects again, but without ids, one at a time, over a
// line that keeps what was sent while nobody listened in the guest.
// https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
type agent struct {
	mu     sync.Mutex // one command at a time
	conn   net.Conn
	in     *bufio.Reader
	synced bool
	last   int64
}

func newAgent(conn net.Conn) *agent {
	return &agent{conn: conn, in: bufio.NewReader(conn)}
}

// sentinel is no part of any UTF-8 text: it resets the parser of the side that reads it.
const sentinel = 0xff

// How long to wait for the answer to a synchronisation before another is sent: an agent that is
// restarted drops what it had read.
const resync = 2 * time.Second

// do executes a command, once the agent answers at all. If ctx ends meanwhile, whether the command
// ran is not known.
func (a *agent) do(ctx context.Context, command string, args, result any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.sync(ctx); err != nil {
		return fmt.Errorf("the guest does not answer: %w", err)
	}
	request, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, args})
	if err != nil {
		return err
	}
	var reply struct {
		Return json.RawMessage `json:"return"`
		Error  *struct {
			Desc string `json:"desc"`
		} `json:"error"`
	}
	if err := a.exchange(ctx, append(request, '\n'), func(line []byte) (bool, error) {
		return true, json.Unmarshal(line, &reply)
	}); err != nil {
		a.synced = false // the answer may come yet, and would be taken for another's
		return fmt.Errorf("the guest agent's %s: %w", command, err)
	}
	if reply.Error != nil {
		return fmt.Errorf("the guest agent's %s: %s", command, reply.Error.Desc)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(reply.Return, result)
}

// sync drops the answers to commands that nobody waits for any more.
func (a *agent) sync(ctx context.Context) error {
	for !a.synced {
		a.last++
		request := fmt.Appendf([]byte{sentinel}, "{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": %d}}\n", a.last)
		try, cancel := context.WithTimeout(ctx, resync)
		err := a.exchange(try, request, func(line []byte) (bool, error) {
			var reply struct {
				Return int64 `json:"return"`
			}
			// What is not a number, or not ours, is late.
			return json.Unmarshal(line, &reply) == nil && reply.Return == a.last, nil
		})
		expired := try.Err() != nil
		cancel()
		switch {
		case err == nil:
			a.synced = true
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !expired:
			return err
		}
	}
	return nil
}

// exchange sends a request, and reads lines until one is taken or refused, or ctx ends.
func (a *agent) exchange(ctx context.Context, request []byte, take func(line []byte) (bool, error)) error {
	if err := a.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = a.conn.SetDeadline(time.Unix(1, 0)) // wakes the read
	})
	defer func() {
		if !stop() {
			<-interrupted
		}
	}()

	_, err := a.conn.Write(request)
	for taken := false; err == nil && !taken; {
		var line []byte
		if line, err = a.in.ReadBytes('\n'); err != nil {
			break
		}
		taken, err = take(line[bytes.LastIndexByte(line, sentinel)+1:])
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
