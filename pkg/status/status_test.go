package status

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"bootagent/pkg/golden"
)

// TestMain has times told as on a machine whose clock shows UTC.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

func at(clock string) time.Time {
	t, err := time.Parse(time.DateTime, "2026-11-23 "+clock)
	if err != nil {
		panic(err)
	}
	return t
}

func ptr(t time.Time) *time.Time { return &t }

var agent = Agent{Version: "1.2.3", PID: 412, Started: at("10:00:00")}

// statuses are what an agent tells in its life.
var statuses = map[string]Status{
	"idle": {
		Agent: agent, State: Idle, Since: at("10:00:01"),
		Reason: "this instance has no role: its user-data selects none and no default-role is set",
		Hint:   "give it user-data whose first line is #bootagent",
	},
	"waiting": {
		Agent: agent, Role: "mysql", State: Waiting, Since: at("10:00:01"),
		Reason: "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0123456789abcdef0",
		Hint:   "attach it; the agent goes on as soon as it is there",
		Held: []Held{{
			Unit: "mariadb.service",
			Why:  "volume data: device: waiting since 10:00:01 until 10:20:01 for the disk with serial vol0123456789abcdef0",
		}},
		Steps: []Step{
			{
				Name: "volume data: device", State: "waiting", Since: at("10:00:01"), For: "the disk with serial vol0123456789abcdef0",
				Until: ptr(at("10:20:01")), Hint: "attach it; the agent goes on as soon as it is there",
			},
			{Name: "volume data: prove", State: "pending", Since: at("10:00:00")},
			{Name: "data mysql: engine", State: "done", Since: at("10:00:02")},
		},
	},
	"ready": {
		Agent: agent, Role: "web", State: Ready, Since: at("10:00:09"),
		Steps: []Step{
			{Name: "service nginx.service: grant", State: "done", Since: at("10:00:08")},
			{Name: "service nginx.service: up", State: "done", Since: at("10:00:09")},
		},
	},
	"failed": {
		Agent: agent, Role: "mysql", State: Failed, Since: at("10:00:03"),
		Reason: "volume data: prove failed at 10:00:03: disk vol0 does not hold the xfs filesystem of the role: it has an LVM2 signature at 0x218",
		Hint:   "bootagent inspect /dev/nvme1n1 shows what is on it; nothing was changed",
		Steps: []Step{
			{Name: "volume data: device", State: "done", Since: at("10:00:01")},
			{
				Name: "volume data: prove", State: "failed", Since: at("10:00:03"),
				Error: "disk vol0 does not hold the xfs filesystem of the role: it has an LVM2 signature at 0x218",
				Hint:  "bootagent inspect /dev/nvme1n1 shows what is on it; nothing was changed",
			},
			{Name: "volume data: mount", State: "skipped", Since: at("10:00:03"), Error: `needs "volume data: prove"`},
			{
				Name: "data mysql: engine", State: "failed", Since: at("10:00:04"),
				Error: "mariadbd --verbose --help names no datadir", RetryAt: ptr(at("10:00:05")),
			},
		},
	},
	"broken": {
		Agent: agent, State: Failed, Since: at("10:00:01"),
		Reason: "/etc/bootagent/roles.d/mysql.yaml:3:1: unknown key \"volume\"\n/etc/bootagent/roles.d/mysql.yaml:9:1: unknown key \"servics\"\n",
	},
	"trying": {
		Agent: agent, Role: "mysql", State: Failed, Since: at("10:20:01"),
		Reason: "volume data: mount failed at 10:30:03 (27 tries since 10:00:01): the start of srv-data.mount ended as \"failed\" (at first: cannot reach systemd)",
		Steps: []Step{
			{
				Name: "volume data: mount", State: "failed", Since: at("10:30:03"), Error: "the start of srv-data.mount ended as \"failed\"",
				RetryAt: ptr(at("10:31:09")), Tries: 27, Failing: ptr(at("10:00:01")), FirstError: "cannot reach systemd",
			},
			{
				Name: "secret root-sql: fetch", State: "failed", Since: at("10:30:03"), Error: "S3 asks to slow down (SlowDown)",
				RetryAt: ptr(at("10:30:05")), Tries: 2, Failing: ptr(at("10:30:02")), Until: ptr(at("10:45:02")),
			},
			{
				Name: "volume log: attach", State: "waiting", Since: at("10:30:03"), For: "volume vol-1 to be detached from i-1 (running)",
				Error: "EC2 does not answer", Until: ptr(at("10:50:02")), Tries: 1, Failing: ptr(at("10:30:02")),
			},
		},
	},
	"starting": {Agent: agent, Role: "web", State: Starting, Since: at("10:00:01")},
	"degraded": {Agent: agent, Role: "web", State: Degraded, Since: at("10:00:01"), Reason: "service a.service: up failed at 10:00:01: a.service failed: exit-code"},
}

func TestPageForAPerson(t *testing.T) {
	for name, s := range statuses {
		var page strings.Builder
		s.Print(&page)
		golden.Check(t, filepath.Join("testdata", name+".golden"), page.String())
	}
}

// Users' scripts read it.
func TestJSONKeepsItsForm(t *testing.T) {
	for name, s := range statuses {
		path := filepath.Join(t.TempDir(), "status.json")
		if err := s.Write(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, filepath.Join("testdata", name+".json"), string(text))
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for name, s := range statuses {
		path := filepath.Join(t.TempDir(), "status.json")
		if err := s.Write(path); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		s.Version = formatVersion
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// What is sent to systemd as STATUS= ends with its line.
func TestLineIsOneLine(t *testing.T) {
	for name, s := range statuses {
		if line := s.Line(); strings.Contains(line, "\n") || !strings.Contains(line, s.Since.Format("15:04:05")) {
			t.Errorf("%s: %q", name, line)
		}
	}
}

func TestTimesAreThoseOfTheMachinesClock(t *testing.T) {
	time.Local = time.FixedZone("CET", 3600)
	defer func() { time.Local = time.UTC }()
	want := "web: ready since 2026-11-23 11:00:09"
	if line := statuses["ready"].Line(); line != want {
		t.Errorf("got %q, want %q", line, want)
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		state State
		code  int
		final bool
	}{
		{Ready, 0, true},
		{Idle, 0, true},
		{Failed, 1, true},
		{Degraded, 3, true},
		{Starting, 4, false},
		{Waiting, 4, false},
		{"", 4, false},
		{"of a newer agent", 4, false},
	} {
		if code := c.state.ExitCode(); code != c.code {
			t.Errorf("%q exits with %d, want %d", c.state, code, c.code)
		}
		if c.state.Final() != c.final {
			t.Errorf("%q is final: %t, want %t", c.state, c.state.Final(), c.final)
		}
	}
}

func TestReadOfWhatIsNoStatus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	if _, err := Read(path); !errors.Is(err, ErrNone) {
		t.Errorf("of nothing: %v", err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":           {"", "unexpected end of JSON input"},
		"cut":             {`{"version": 1, "state": "rea`, "unexpected end of JSON input"},
		"no JSON":         {"ready\n", "invalid character"},
		"other types":     {`{"version": 1, "state": 7}`, "cannot unmarshal number"},
		"foreign":         {`{"status": "ok"}`, "it has version 0, and this program reads version 1"},
		"of a newer time": {`{"version": 2, "state": "ready"}`, "it has version 2, and this program reads version 1"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Read(path)
		if err == nil || errors.Is(err, ErrNone) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	if _, err := Read(filepath.Dir(path)); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("of a directory: %v", err)
	}
}

func TestWriteLeavesAFileThatAllMayRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "status.json")
	for range 2 {
		if err := statuses["ready"].Write(path); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("it is %v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("%q is left, %v", left, err)
	}
	if err := statuses["ready"].Write(filepath.Join(dir, "absent", "status.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// A link in its place is replaced, and not followed.
func TestWriteReplacesALink(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "status.json"), filepath.Join(dir, "other")
	if err := errors.Join(os.WriteFile(other, []byte("other"), 0o600), os.Symlink(other, path)); err != nil {
		t.Fatal(err)
	}
	if err := statuses["ready"].Write(path); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "other" {
		t.Errorf("behind the link there is %q, %v", text, err)
	}
}

func TestAReaderNeverSeesHalfAStatus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "status.json")
	short, long := statuses["starting"], statuses["failed"]
	if err := short.Write(path); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			s := short
			if i%2 == 0 {
				s = long
			}
			if err := s.Write(path); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2000 {
		if _, err := Read(path); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	writer.Wait()
}

func TestJSONHoldsNoEmptyFields(t *testing.T) {
	text, err := json.Marshal(Status{})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"role", "reason", "hint", "held", "steps"} {
		if strings.Contains(string(text), `"`+field+`"`) {
			t.Errorf("%s is in %s", field, text)
		}
	}
}

func TestTheTimelineIsInTheOrderOfTheBoot(t *testing.T) {
	s := Status{Steps: []Step{
		{Name: "volume data: mount", State: "done", Began: ptr(at("10:00:21")), Since: at("10:00:22")},
		{Name: "service a.service: up", State: "pending", Since: at("10:00:01")},
		{Name: "instance: metadata", State: "done", Began: ptr(at("10:00:18")), Since: at("10:00:19")},
		{Name: "key", State: "waiting", Began: ptr(at("10:00:20")), Since: at("10:00:20")},
	}}
	var b strings.Builder
	s.Timeline(&b, at("10:00:00"))
	const want = `   18.00 s    1.00 s  done     instance: metadata
   20.00 s    so far  waiting  key
   21.00 s    1.00 s  done     volume data: mount
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestWhatIsReliedOnIsSaid(t *testing.T) {
	s := Status{
		Role: "mysql", State: Ready, Since: at("10:00:30"),
		Warnings: []string{"instance: metadata: relies on what was kept"},
		Steps:    []Step{{Name: "instance: metadata", State: "done", Since: at("10:00:19"), Warning: "relies on what was kept"}},
	}
	if want := "mysql: ready since 2026-11-23 10:00:30; instance: metadata: relies on what was kept"; s.Line() != want {
		t.Errorf("got %q", s.Line())
	}
	var b strings.Builder
	s.Print(&b)
	if !strings.Contains(b.String(), "10:00:19  done     instance: metadata relies on what was kept") {
		t.Errorf("got\n%s", b.String())
	}
}

func TestAWaitOverMidnightTellsItsDay(t *testing.T) {
	day := at("10:04:06").Add(24 * time.Hour)
	s := Step{Name: "key", State: "waiting", Since: at("10:04:06"), For: "a key", Until: &day}
	if want := "for a key until 2026-11-24 10:04:06"; s.detail() != want {
		t.Errorf("got %q", s.detail())
	}
	soon := at("10:24:06")
	s.Until = &soon
	if want := "for a key until 10:24:06"; s.detail() != want {
		t.Errorf("got %q", s.detail())
	}
}

func TestABypassIsToldFirst(t *testing.T) {
	at := time.Date(2026, 11, 28, 3, 4, 0, 0, time.Local)
	s := Status{
		Role: "mysql", State: Degraded, Since: at, Reason: "key: waiting",
		Bypassed: []Bypass{
			{Unit: "mariadb.service", Reason: "secrets are down", By: "alice", At: at, Lacks: []string{"key: waiting since 03:00:00"}},
			{Unit: "nginx.service", Reason: "a\nb", By: "bob", At: at, WithoutProof: true},
		},
	}
	var b strings.Builder
	s.Print(&b)
	want := `BYPASS of mariadb.service in force; BYPASS of nginx.service in force; mysql: degraded since 2026-11-28 03:04:00: key: waiting
BYPASS of mariadb.service by alice since 2026-11-28 03:04:00: secrets are down; it lacks: key: waiting since 03:00:00
  to end it: bootagent bypass mariadb.service --end
BYPASS of nginx.service by bob since 2026-11-28 03:04:00, WITHOUT PROOF of its data: a; b; all that it needs is there now
  to end it: bootagent bypass nginx.service --end
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", &b, want)
	}
}

func TestHowTheServicesOfAVolumeStoppedIsTold(t *testing.T) {
	s := Status{Role: "mysql", State: Ready, Volumes: []Volume{{Name: "data", LastStop: LastStop{Clean: true, Text: "stopped cleanly 2026-11-28 10:04 on i-0abc"}}}}
	var b strings.Builder
	s.Print(&b)
	if !strings.Contains(b.String(), "\nvolume data: stopped cleanly 2026-11-28 10:04 on i-0abc\n") {
		t.Errorf("got\n%s", &b)
	}
}
