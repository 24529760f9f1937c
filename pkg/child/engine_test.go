package child

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An engine runs as another user, whom a process without CAP_KILL can't end,
// root or not.
func TestAnEngineThatHangsLeavesNothing(t *testing.T) {
	if os.Getenv(sealedIn) == "" {
		underTheUnit(t, "^TestAnEngineThatHangsLeavesNothing$")
		return
	}
	c := &Group{Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	t.Cleanup(c.Close)
	as, _, err := As("nobody")
	if err != nil {
		t.Fatal(err)
	}
	count := func() (descriptors, goroutines int) {
		t.Helper()
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(open), runtime.NumGoroutine()
	}
	try := func() {
		late := errors.New("it took too long")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, late)
		defer cancel()
		if _, err := c.Run(ctx, Task{Key: "engine"}, as, "/bin/sh", "-c", "trap '' TERM; sleep 61.5 & sleep 61.5"); !errors.Is(err, late) {
			t.Errorf("got %v", err)
		}
	}
	try() // what Go keeps for itself is there afterwards
	waitUntil := time.Now().Add(5 * time.Second)
	leftNow := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.left)
	}
	for leftNow() > 0 && time.Now().Before(waitUntil) {
		time.Sleep(10 * time.Millisecond)
	}
	fds, goroutines := count()
	for range 5 {
		try()
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		nowFds, nowGoroutines := count()
		_, noChild := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		running, _ := exec.Command("pgrep", "--uid", "nobody", "--full", "sleep 61.5").Output()
		unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if nowFds <= fds && nowGoroutines <= goroutines && errors.Is(noChild, unix.ECHILD) && len(bytes.TrimSpace(running)) == 0 {
			return
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d descriptors more, %d goroutines more, children: %v, processes: %s", nowFds-fds, nowGoroutines-goroutines, noChild, running)
		}
	}
}

// sealedIn is set where the test runs with no more capabilities than the unit
// gives to the agent.
const sealedIn = "BOOTAGENT_TEST_SEALED"

// underTheUnit runs a test of this program as the agent runs: with the
// capabilities that its unit leaves to it.
func underTheUnit(t *testing.T, test string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("running as another user needs root")
	}
	for _, tool := range []string{"setpriv", "pgrep"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	unit, err := os.ReadFile("../../units/bootagent.service")
	if err != nil {
		t.Fatal(err)
	}
	set := "-all"
	for line := range strings.Lines(string(unit)) {
		if caps, is := strings.CutPrefix(strings.TrimSpace(line), "CapabilityBoundingSet="); is {
			for _, name := range strings.Fields(caps) {
				set += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
			}
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("setpriv", "--bounding-set="+set, "--inh-caps=-all", "--no-new-privs", "--", self, "-test.run="+test, "-test.v")
	cmd.Env = append(os.Environ(), sealedIn+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: ")) {
		t.Errorf("%v\n%s", err, out)
	}
}
