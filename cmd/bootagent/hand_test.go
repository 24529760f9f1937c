package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/block"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

func newChildren(t *testing.T) *children {
	c := &children{log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	t.Cleanup(c.close)
	return c
}

// What a hand answers is what the call itself would.
func TestAHandDoesWhatItIsToldAndTellsWhatWentWrong(t *testing.T) {
	c := newChildren(t)
	dir := t.TempDir()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	d := directories{c}
	if err := d.Create(t.Context(), filepath.Join(dir, "data"), me.Username); err != nil {
		t.Error(err)
	}
	if found, err := d.Names(t.Context(), dir); err != nil || !reflect.DeepEqual(found, []string{"data"}) {
		t.Errorf("there is %q, %v", found, err)
	}
	if same, err := d.SameDirectory(t.Context(), dir, dir+"/data/.."); !same || err != nil {
		t.Errorf("%t, %v", same, err)
	}
	of := role.Data{Engine: "mariadb", Owner: me.Username}
	if found, err := d.Examine(t.Context(), filepath.Join(dir, "data"), of, host.EngineSettings{}); err != nil || found.State != host.Foreign || found.Hint == "" {
		t.Errorf("got %+v, %v", found, err)
	}
	if err := d.Publish(t.Context(), filepath.Join(dir, "data"), filepath.Join(dir, "published")); err != nil {
		t.Error(err)
	}
	if err := d.Publish(t.Context(), filepath.Join(dir, "data"), filepath.Join(dir, "published")); err == nil || !strings.Contains(err.Error(), "cannot rename "+dir+"/data to "+dir+"/published") {
		t.Errorf("got %v", err)
	}
	if _, err := (ledgers{c}).ReadLedger(t.Context(), "/absent"); err == nil || !strings.Contains(err.Error(), "cannot read the ledger of the filesystem at /absent") {
		t.Errorf("got %v", err)
	}
	if err := c.reach(t.Context(), task{Do: "nothing"}, nil); err == nil || !strings.Contains(err.Error(), `there is no task "nothing"`) {
		t.Errorf("got %v", err)
	}
	if _, there, err := (disks{children: c}).Find(t.Context(), "absent"); there || err != nil {
		t.Errorf("a disk that is not there: %t, %v", there, err)
	}
	if len(c.idle) != 1 {
		t.Errorf("for one task after another there were %d hands", len(c.idle))
	}
	for range 3 { // as it may have been killed meanwhile
		unix.Kill(c.idle[0].cmd.Process.Pid, unix.SIGKILL)
		<-c.idle[0].ended
		if _, err := d.Names(t.Context(), dir); err != nil {
			t.Error(err)
		}
	}
}

// What a caller asks of an error outlives the way from the hand.
func TestAnErrorOfAHandKeepsItsHintAndWhetherItIsFinal(t *testing.T) {
	src, err := json.Marshal(reply{Error: asReplyError(fault.Permanent(fault.WithHint(fmt.Errorf("no: %w", block.ErrAbsent), "plug it in")))})
	var r reply
	if err := errors.Join(err, json.Unmarshal(src, &r)); err != nil {
		t.Fatal(err)
	}
	if r.Error.Error() != "no: no such disk" || fault.HintOf(r.Error) != "plug it in" || !r.Error.Permanent() || !errors.Is(r.Error, block.ErrAbsent) {
		t.Errorf("got %#v", r.Error)
	}
	if plain := asReplyError(errors.New("no")); plain.Permanent() || fault.HintOf(plain) != "" || errors.Is(plain, block.ErrAbsent) {
		t.Errorf("got %#v", plain)
	}
}

// frozen is a mounted filesystem in which nothing can be written: who writes
// there waits in the kernel, and can't be killed.
func frozen(t *testing.T) (root string, thaw func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	for _, tool := range []string{"mkfs.ext4", "fsfreeze"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	do := func(argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	root = t.TempDir()
	do("truncate", "--size=16M", image)
	do("mkfs.ext4", "-q", image)
	do("mount", "-o", "loop", image, root)
	do("fsfreeze", "--freeze", root)
	var once sync.Once
	thaw = func() { once.Do(func() { do("fsfreeze", "--unfreeze", root) }) }
	t.Cleanup(func() {
		thaw()
		do("umount", root)
	})
	return root, thaw
}

// A filesystem that hangs keeps the agent from nothing: it says what it waits
// for and until when, its stop does not wait, and no more than one child hangs.
func TestAFilesystemThatHangsHoldsUpNothing(t *testing.T) {
	root, thaw := frozen(t)
	c := newChildren(t)
	c.sayAfter = time.Second
	var mu sync.Mutex
	left := make(map[int]int)
	c.leave = func(_ context.Context, pid int) error {
		mu.Lock()
		defer mu.Unlock()
		left[pid]++
		return nil
	}
	write := func(ctx context.Context) error { return ledgers{c}.WriteLedger(ctx, root, []byte("ledger")) }

	// The status says so.
	ctx, stop := context.WithCancel(t.Context())
	story := graph.New()
	story.Add("ledger", write)
	told := make(chan graph.Progress, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		story.Run(ctx, slog.New(slog.DiscardHandler), func(p []graph.Progress) { told <- p[0] })
	}()
	for p := range told {
		if p.State != graph.Waiting {
			continue
		}
		if text := p.String(); !strings.Contains(text, "until ") || !strings.Contains(text, "for the ledger of the filesystem at "+root+" to be written") ||
			!strings.Contains(p.Wait.Hint, "fsfreeze --unfreeze "+root) {
			t.Errorf("it says %q, hint %q", text, p.Wait.Hint)
		}
		break
	}

	// The agent is stopped in time.
	began := time.Now()
	stop()
	<-ended
	if took := time.Since(began); took > time.Second {
		t.Errorf("its stop took %s", took)
	}

	// Who tries again waits for the child that hangs, which systemd has been
	// given, and starts no other.
	late := errors.New("it took too long")
	for range 3 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, late)
		if err := write(ctx); !errors.Is(err, late) {
			t.Errorf("got %v", err)
		}
		cancel()
	}
	mu.Lock()
	if len(left) != 1 {
		t.Errorf("systemd was given the children %v", left)
	}
	mu.Unlock()

	// What does not touch it goes on.
	if _, err := (directories{c}).Names(t.Context(), t.TempDir()); err != nil {
		t.Error(err)
	}
	thaw()
	if err := write(t.Context()); err != nil {
		t.Errorf("when it answers again: %v", err)
	}
	if ledger, err := (ledgers{c}).ReadLedger(t.Context(), root); err != nil || string(ledger) != "ledger" {
		t.Errorf("the ledger is %q, %v", ledger, err)
	}
}

// sealedIn is set where the test runs with no more capabilities than the unit
// gives to the agent.
const sealedIn = "BOOTAGENT_TEST_SEALED"

// An engine runs as another user, whom a process without CAP_KILL can't end,
// root or not.
func TestAnEngineThatHangsLeavesNothing(t *testing.T) {
	if os.Getenv(sealedIn) == "" {
		underTheUnit(t, "^TestAnEngineThatHangsLeavesNothing$")
		return
	}
	c := newChildren(t)
	as, _, err := credential("nobody")
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
		if _, err := c.run(ctx, about{key: "engine"}, as, "/bin/sh", "-c", "trap '' TERM; sleep 61.5 & sleep 61.5"); !errors.Is(err, late) {
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
