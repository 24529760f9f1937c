package probe

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/golden"
)

// The properties of the unit are what bounds a program that probes.
func TestTheUnitOfAProbeIsTheOneThatWasReviewed(t *testing.T) {
	c := command{
		unit: "bootagent-probe-redis-server.service", service: "redis-server.service",
		argv: []string{"/usr/bin/redis-cli", "-e", "ping", "$USER"}, user: "redis", timeout: 10 * time.Second,
	}
	var b strings.Builder
	for _, p := range c.properties("/run/bootagent/bootagent-probe-redis-server.out") {
		value, err := json.Marshal(p.Value.Value())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %s = %s\n", p.Name, p.Value.Signature(), value)
	}
	golden.Check(t, "testdata/unit.golden", b.String())
}

func TestTheStatusesOfSystemdAreExplained(t *testing.T) {
	c := command{argv: []string{"/usr/bin/none"}, user: "nobody"}
	for died, want := range map[string]string{
		"it exited with status 1":   "exited with status 1",
		"it exited with status 203": "exited with status 203, as /usr/bin/none can't be run (EXEC)",
		"it exited with status 217": "exited with status 217, as there is no user nobody (USER)",
		"it was killed by SIGSEGV":  "was killed by SIGSEGV",
	} {
		if got := c.howEnded(died); got != want {
			t.Errorf("%s: got %s", died, got)
		}
	}
}

// printed is what an output keeps of what print writes to it.
func printed(t *testing.T, print func(net.Conn)) string {
	o, err := listenTo(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	if print != nil {
		conn, err := net.Dial("unix", o.path)
		if err != nil {
			t.Fatal(err)
		}
		print(conn)
		conn.Close()
	}
	return o.close()
}

func TestTheOutputOfAProgramIsBounded(t *testing.T) {
	endless := func(conn net.Conn) {
		if n, err := conn.Write(make([]byte, 1<<20)); err != nil || n != 1<<20 {
			t.Errorf("the program was held up after %d bytes: %v", n, err)
		}
	}
	if got := printed(t, endless); len(got) != printMax {
		t.Errorf("%d bytes are kept of many", len(got))
	}
	if got := printed(t, func(conn net.Conn) { fmt.Fprint(conn, "PONG\n") }); got != "PONG\n" {
		t.Errorf("got %q", got)
	}
	if got := printed(t, nil); got != "" { // it never ran
		t.Errorf("got %q", got)
	}
}
