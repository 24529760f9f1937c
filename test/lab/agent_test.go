package lab

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

// A guest answers as qemu-guest-agent does: guest-sync-delimited with its id, guest-ping with {}, and
// anything else not before it is told to.
type guest struct {
	conn net.Conn
	late chan struct{}
}

func startGuest(t *testing.T) (*agent, *guest) {
	ours, file, err := socketpair() // net.Pipe keeps nothing while nobody reads
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	g := &guest{theirs, make(chan struct{})}
	go g.serve()
	return newAgent(ours), g
}

func (g *guest) serve() {
	in := bufio.NewReader(g.conn)
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
			fmt.Fprintf(g.conn, "%s{\"return\": %d}\n", prefix, request.Arguments.ID)
		case "guest-ping":
			fmt.Fprintln(g.conn, `{"return": {}}`)
		case "guest-bad":
			fmt.Fprintln(g.conn, `{"error": {"class": "GenericError", "desc": "no such thing"}}`)
		default:
			<-g.late
			fmt.Fprintln(g.conn, `{"return": {"late": true}}`)
		}
	}
}

func TestAgentTakesNoLateAnswerForAnothers(t *testing.T) {
	a, g := startGuest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	soon, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if err := a.do(soon, "guest-slow", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a slow command: %v", err)
	}
	close(g.late)
	var pong map[string]any
	if err := a.do(ctx, "guest-ping", nil, &pong); err != nil || len(pong) != 0 {
		t.Fatalf("the next one got %v, %v", pong, err)
	}
}

func TestAgentsRefusalHasItsWords(t *testing.T) {
	a, _ := startGuest(t)
	err := a.do(t.Context(), "guest-bad", nil, nil)
	if err == nil || err.Error() != "the guest agent's guest-bad: no such thing" {
		t.Errorf("got %v", err)
	}
}

func TestAgentSaysThatTheGuestIsGone(t *testing.T) {
	a, g := startGuest(t)
	g.conn.Close()
	if err := a.do(t.Context(), "guest-ping", nil, nil); err == nil {
		t.Error("a ping came back from nowhere")
	}
}
