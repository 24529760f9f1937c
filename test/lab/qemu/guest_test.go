package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

// A fakeAgent answers as qemu-guest-agent does: guest-sync-delimited with its ID, guest-ping with {},
// guest-bad with an error. It answers other commands after late is closed.
type fakeAgent struct {
	conn net.Conn
	late chan struct{}
}

func startAgent(t *testing.T) (*Guest, *fakeAgent) {
	ours, file, err := socketpair() // net.Pipe has no buffer
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	f := &fakeAgent{theirs, make(chan struct{})}
	go f.serve()
	return newGuest(ours), f
}

func (f *fakeAgent) serve() {
	in := bufio.NewReader(f.conn)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		prefix := ""
		if line[0] == sentinel {
			line, prefix = line[1:], "\xff"
		}
		var request struct {
			Execute   string
			Arguments struct{ ID int64 }
		}
		if json.Unmarshal(line, &request) != nil {
			return
		}
		switch request.Execute {
		case "guest-sync-delimited":
			fmt.Fprintf(f.conn, "%s{\"return\": %d}\n", prefix, request.Arguments.ID)
		case "guest-ping":
			fmt.Fprintln(f.conn, `{"return": {}}`)
		case "guest-bad":
			fmt.Fprintln(f.conn, `{"error": {"class": "GenericError", "desc": "no such thing"}}`)
		default:
			<-f.late
			fmt.Fprintln(f.conn, `{"return": {"late": true}}`)
		}
	}
}

func TestLateAnswerIsNotTakenForTheNextCommands(t *testing.T) {
	g, f := startAgent(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	soon, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := g.Do(soon, "guest-slow", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a slow command: %v", err)
	}
	close(f.late)
	var pong map[string]any
	if err := g.Do(ctx, "guest-ping", nil, &pong); err != nil || len(pong) != 0 {
		t.Fatalf("the next one got %v, %v", pong, err)
	}
}

func TestRefusalOfTheAgentContainsItsMessage(t *testing.T) {
	g, _ := startAgent(t)
	err := g.Do(t.Context(), "guest-bad", nil, nil)
	if err == nil || err.Error() != "the guest agent's guest-bad: no such thing" {
		t.Errorf("got %v", err)
	}
}

func TestClosedLineIsAnError(t *testing.T) {
	g, f := startAgent(t)
	f.conn.Close()
	if err := g.Do(t.Context(), "guest-ping", nil, nil); err == nil {
		t.Error("a ping came back from nowhere")
	}
}
