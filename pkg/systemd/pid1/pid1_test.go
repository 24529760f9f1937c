package pid1

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"bootagent/pkg/systemd/pid1/pid1test"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// newConn starts a PID 1 and connects to it.
func newConn(t *testing.T) (p *pid1test.PID1, c *Conn) {
	t.Helper()
	p = pid1test.New(t)
	return p, Dialing(p.Dial, slog.New(slog.DiscardHandler))
}

func TestAwaitIsWokenByAChange(t *testing.T) {
	p, c := newConn(t)
	p.Add("mariadb.service", "activating")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // less than the net below
	defer cancel()
	go c.Follow(ctx)
	time.AfterFunc(100*time.Millisecond, func() { p.Becomes("mariadb.service", "active") })
	state, err := c.Await(ctx, "mariadb.service", func(s UnitState) bool { return s.Active == "active" })
	if err != nil || state.Active != "active" || state.Load != "loaded" {
		t.Errorf("got %+v, %v", state, err)
	}
}

func TestWhoEndedAServiceIsToldByWhatCameFirst(t *testing.T) {
	p, conn := newConn(t)
	for name, c := range map[string]struct {
		code, status                 int32
		began, entered, left, exited uint64
		want                         Ended
	}{
		"a stop that was asked for":          {1, 0, 9, 10, 20, 21, Ended{Died: "it exited with status 0", Ran: true}},
		"a process that ends":                {1, 3, 9, 10, 21, 20, Ended{Died: "it exited with status 3", Ran: true, ByItself: true}},
		"at the same time":                   {2, 15, 9, 10, 20, 20, Ended{Died: "it was killed by SIGTERM", Ran: true, ByItself: true}},
		"a process that dumps core":          {3, 11, 9, 10, 21, 20, Ended{Died: "it was killed by SIGSEGV and dumped core", Ran: true, ByItself: true}},
		"a signal without a name":            {2, 64, 9, 10, 21, 20, Ended{Died: "it was killed by signal 64", Ran: true, ByItself: true}},
		"a oneshot that stays, stopped":      {1, 0, 9, 10, 20, 9, Ended{Died: "it exited with status 0", Ran: true}},
		"a stop before it was active again":  {2, 15, 9, 10, 11, 40, Ended{Died: "it was killed by SIGTERM", Ran: true}},
		"stopped as it waits for a restart":  {2, 11, 22, 10, 21, 20, Ended{Died: "it was killed by SIGSEGV", Ran: true}},
		"it never ran":                       {0, 0, 0, 0, 0, 0, Ended{}},
		"stopped, and its process not known": {0, 0, 9, 10, 20, 0, Ended{Ran: true}},
	} {
		p.Told("mariadb.service", "inactive", "dead", map[string]any{
			"ExecMainCode": c.code, "ExecMainStatus": c.status, "ExecMainExitTimestampMonotonic": c.exited,
			"ActiveEnterTimestampMonotonic": c.entered, "ActiveExitTimestampMonotonic": c.left,
			"InactiveExitTimestampMonotonic": c.began,
		})
		c.want.Result = "success"
		if got, err := conn.Ended(t.Context(), "mariadb.service"); got != c.want || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestRestartsAreAskedForWithFewCalls(t *testing.T) {
	p, conn := newConn(t)
	restarted := map[string]any{
		"NRestarts": uint32(3), "ExecMainCode": int32(2), "ExecMainStatus": int32(11), "ActiveEnterTimestampMonotonic": uint64(1),
	}
	first := map[string]any{"ExecMainCode": int32(1), "ExecMainStatus": int32(7)}
	for name, c := range map[string]struct {
		active, sub string
		props       map[string]any
		want        Restarts
		long        bool // it is active for long
		calls       int
	}{
		"never":                       {"active", "running", nil, Restarts{}, false, 1},
		"never, and it starts":        {"activating", "start", nil, Restarts{}, false, 1},
		"it waits for its first":      {"activating", "auto-restart", first, Restarts{Died: "it exited with status 7"}, false, 4},
		"it waits, on a new systemd":  {"activating", "auto-restart-queued", first, Restarts{Died: "it exited with status 7"}, false, 4},
		"it was, and is active":       {"active", "running", restarted, Restarts{Count: 3, Died: "it was killed by SIGSEGV"}, true, 4},
		"it was, and waits for a 4th": {"activating", "auto-restart", restarted, Restarts{Count: 3, Died: "it was killed by SIGSEGV"}, false, 4},
	} {
		p.Told("mariadb.service", c.active, c.sub, c.props)
		got, err := conn.Restarts(t.Context(), "mariadb.service")
		if long := got.Active > time.Second; long != c.long {
			t.Errorf("%s: it is active for %s", name, got.Active)
		}
		got.Active = 0
		if got != c.want || err != nil || p.Asked != c.calls {
			t.Errorf("%s: %+v, %v, by %d calls; want %+v by %d", name, got, err, p.Asked, c.want, c.calls)
		}
	}
	if s, err := conn.State(t.Context(), "mariadb.service"); err != nil || s.Sub == "" {
		t.Errorf("its state is %+v, %v", s, err)
	}
}

func TestStateOfAUnitThatIsNotThere(t *testing.T) {
	_, c := newConn(t)
	state, err := c.State(t.Context(), "absent.service")
	if want := (UnitState{Load: "not-found", Active: "inactive"}); state != want || err != nil {
		t.Errorf("got %+v, %v", state, err)
	}
	ok(t, c.ResetFailed(t.Context(), "absent.service"))
	if known, err := c.Stop(t.Context(), "absent.service", "fail"); known || err != nil {
		t.Errorf("the stop of a unit that is not there: %t, %v", known, err)
	}
}

func TestStoppingIsTheSystemsState(t *testing.T) {
	p, c := newConn(t)
	for state, want := range map[string]bool{"running": false, "degraded": false, "starting": false, "stopping": true} {
		p.SetState(state)
		if stopping, err := c.Stopping(t.Context()); stopping != want || err != nil {
			t.Errorf("%s: %t, %v", state, stopping, err)
		}
	}
}

func TestAJobWhoseEndCanNotBeToldIsAnError(t *testing.T) {
	p, c := newConn(t)
	p.Ends = func(string, string) string { return "" }
	p.Add("mariadb.service", "inactive")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("no patience"))
	defer cancel()
	if err := c.StartAndWait(ctx, "mariadb.service"); err == nil || err.Error() != "the start of mariadb.service has not ended: no patience" {
		t.Errorf("with a deadline: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, p.HangUp)
	want := "cannot tell how the start of mariadb.service ended: systemd closed the connection"
	if err := c.StartAndWait(t.Context(), "mariadb.service"); err == nil || err.Error() != want {
		t.Errorf("without systemd: %v", err)
	}
}

func TestJobErrorSaysWhereToLook(t *testing.T) {
	err := &JobError{Unit: "srv-data.mount", Verb: "start", Result: "assert"}
	want := `the start of srv-data.mount ended as "assert"; journalctl -u srv-data.mount tells more`
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func TestBusErrorsAreToldByTheirName(t *testing.T) {
	gone := godbus.Error{Name: "org.freedesktop.systemd1.NoSuchUnit", Body: []any{"Unit x not loaded."}}
	if !IsError(gone, "NoSuchUnit") || !IsError(fmt.Errorf("cannot stop x: %w", gone), "NoSuchUnit") {
		t.Error("it is not told")
	}
	for _, err := range []error{nil, &JobError{}, errors.New(gone.Name), context.Canceled} {
		if IsError(err, "NoSuchUnit") {
			t.Errorf("%v counts as it", err)
		}
	}
	if IsError(gone, "UnitExists") {
		t.Error("another error counts as it")
	}
}

func TestExecArgvIsReadAsTheBusTellsIt(t *testing.T) {
	argv := []string{"/sbin/mkfs.xfs", "-m", "uuid=1", "/dev/nvme1n1"}
	for name, c := range map[string]struct {
		told any
		want []string
	}{
		"one":      {[]pid1test.Exec{{Path: argv[0], Argv: argv}}, argv},
		"several":  {[]pid1test.Exec{{Path: argv[0], Argv: argv}, {Path: "/bin/true", Argv: []string{"true"}}}, argv},
		"none":     {[]pid1test.Exec{}, nil},
		"no list":  {"text", nil},
		"too few":  {[]struct{ Path string }{{"/bin/true"}}, nil},
		"no words": {[]struct{ Path, Argv string }{{"/bin/true", "true"}}, nil},
	} {
		equal(t, name, execArgv(overTheBus(t, c.told)), c.want)
	}
}

// overTheBus sends a value through the bus's own encoding.
func overTheBus(t *testing.T, v any) any {
	t.Helper()
	msg := &godbus.Message{
		Type: godbus.TypeMethodReply,
		Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldReplySerial: godbus.MakeVariant(uint32(1)),
			godbus.FieldSignature:   godbus.MakeVariant(godbus.SignatureOf(godbus.MakeVariant(v))),
		},
		Body: []any{godbus.MakeVariant(v)},
	}
	var wire bytes.Buffer
	ok(t, msg.EncodeTo(&wire, binary.LittleEndian))
	got, err := godbus.DecodeMessage(&wire)
	ok(t, err)
	return got.Body[0].(godbus.Variant).Value()
}

func TestACgroupThatCanNotBeReadMayHoldProcesses(t *testing.T) {
	if cgroupPopulated("") || cgroupPopulated("/system.slice/absent-"+filepath.Base(t.TempDir())+".service") {
		t.Error("what is not there holds processes")
	}
}
