package qemu

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

// A Guest speaks to qemu-guest-agent in the guest: JSON objects without IDs, one at a time. The line
// keeps bytes that were sent while no agent was running.
// https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
type Guest struct {
	mu     sync.Mutex // one command at a time
	conn   net.Conn
	in     *bufio.Reader
	synced bool
	last   int64
}

func newGuest(conn net.Conn) *Guest {
	return &Guest{conn: conn, in: bufio.NewReader(conn)}
}

// sentinel resets the parser of the side that reads it. No UTF-8 text contains this byte.
const sentinel = 0xff

// resync is how long to wait for the answer to a synchronisation before the next one is sent. An agent
// that is restarted loses the requests that it had read.
const resync = 2 * time.Second

// Do waits until the agent answers, and then executes a command. It decodes the result of the command
// if result is not nil. If ctx ends first, the command may or may not have run.
func (g *Guest) Do(ctx context.Context, command string, args, result any) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.sync(ctx); err != nil {
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
	if err := g.exchange(ctx, append(request, '\n'), func(line []byte) (bool, error) {
		return true, json.Unmarshal(line, &reply)
	}); err != nil {
		g.synced = false // a late answer must not be taken for the answer to the next command
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

// sync drops late answers to earlier commands.
func (g *Guest) sync(ctx context.Context) error {
	for !g.synced {
		g.last++
		request := fmt.Appendf([]byte{sentinel}, "{\"execute\": \"guest-sync-delimited\", \"arguments\": {\"id\": %d}}\n", g.last)
		try, cancel := context.WithTimeout(ctx, resync)
		err := g.exchange(try, request, func(line []byte) (bool, error) {
			var reply struct {
				Return int64 `json:"return"`
			}
			// Any other answer is a late one.
			return json.Unmarshal(line, &reply) == nil && reply.Return == g.last, nil
		})
		expired := try.Err() != nil
		cancel()
		switch {
		case err == nil:
			g.synced = true
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !expired:
			return err
		}
	}
	return nil
}

// exchange sends a request, and reads lines until take returns true or an error, or ctx ends.
func (g *Guest) exchange(ctx context.Context, request []byte, take func(line []byte) (bool, error)) error {
	if err := g.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = g.conn.SetDeadline(time.Unix(1, 0)) // makes the read return
	})
	defer func() {
		if !stop() {
			<-interrupted
		}
	}()

	_, err := g.conn.Write(request)
	for taken := false; err == nil && !taken; {
		var line []byte
		if line, err = g.in.ReadBytes('\n'); err != nil {
			break
		}
		taken, err = take(line[bytes.LastIndexByte(line, sentinel)+1:])
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
