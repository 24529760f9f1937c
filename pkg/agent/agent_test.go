package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bootagent/pkg/boot"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/machine"
	"bootagent/pkg/plan"
	"bootagent/pkg/role"
	"bootagent/pkg/status"
)

const servesWeb = "version: 1\nrole: web\nservices:\n  nginx.service: {}\n"

// edited is the files of a local machine, as a person writes them.
type edited struct {
	t   *testing.T
	dir string
}

func newEdited(t *testing.T) edited {
	e := edited{t, t.TempDir()}
	if err := os.Mkdir(filepath.Join(e.dir, "roles.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	e.write("agent.yaml", "user-data: {file: "+filepath.Join(e.dir, "user-data")+"}\n")
	e.write("user-data", "#bootagent\nversion: 1\nrole: web\n")
	e.write("roles.d/web.yaml", servesWeb)
	return e
}

func (e edited) write(name, text string) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o644); err != nil {
		e.t.Fatal(err)
	}
}

// reported keeps what the agent reports.
type reported struct {
	mu    sync.Mutex
	last  status.Status
	ready bool
}

func (r *reported) tell(s status.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = s
}

func (r *reported) NoPlan(why error, _ []string, bypassed []status.Bypass) {
	state := status.Failed
	if errors.Is(why, plan.ErrNoRole) {
		state = status.Idle
	}
	r.tell(status.Status{State: state, Bypassed: bypassed, Reason: why.Error(), Hint: fault.HintOf(why)})
}

func (r *reported) Ready() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = true
}

func (r *reported) Identifying([]graph.Progress)                                       {}
func (r *reported) Booting(status.Status, map[string]graph.Progress, []graph.Progress) {}
func (r *reported) SetProblem(_, _ string)                                             {}

// now is what was reported last.
func (r *reported) now() (status.Status, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, r.ready
}

// keepsNothing is the Keeper of a machine on which no unit is held.
type keepsNothing struct{}

func (keepsNothing) Plan(role.Plan, host.Instance) error       { return nil }
func (keepsNothing) InForce() (*role.Plan, error)              { return nil, nil }
func (keepsNothing) Check(*role.Plan, host.Instance) error     { return nil }
func (keepsNothing) Granted(string) bool                       { return false }
func (keepsNothing) Held() []string                            { return nil }
func (keepsNothing) Bypassed() (map[string]host.Bypass, error) { return nil, nil }
func (keepsNothing) WarnOfGuards(context.Context, role.Plan)   {}

// An alive agent runs until the test ends.
type alive struct {
	*Agent
	report *reported
}

// lives runs an agent with files, on a machine on which its services need nothing.
// It learns as the program does, and boots with no step.
func lives(t *testing.T, e edited) alive {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	report := new(reported)
	a := alive{New(Config{
		Log: log, Report: report, Keep: keepsNothing{},
		Inputs: machine.Inputs{
			SettingsFile: filepath.Join(e.dir, "agent.yaml"), RolesDir: filepath.Join(e.dir, "roles.d"), StateDir: e.dir, Log: log,
		},
	}), report}
	a.boots = func(ctx context.Context, by *Lesson) error {
		b := boot.New(role.Plan{Role: by.Plan.Role}, host.Host{}, log) // of the plan, what needs no machine
		a.begin(b.Graph, b, by)
		b.Run(ctx, func([]graph.Progress) { report.tell(status.Status{Role: by.Plan.Role, State: status.Ready}) })
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a
}

// tells waits until an agent reports a state with all of the words.
func (a alive) tells(t *testing.T, state status.State, words ...string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		s, _ := a.report.now()
		text := s.Role + " " + s.Reason + " hint: " + s.Hint
		if s.State == state && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			return
		}
		if time.Since(began) > 5*time.Second {
			t.Fatalf("it does not tell %s with %q, but %s: %s", state, words, s.State, text)
		}
	}
}

// Whatever is broken, the agent says so and lives, and what a person has mended
// counts after bootagent retry.
func TestAnAgentOutlivesWhatIsBrokenAndGoesOnAfterARetry(t *testing.T) {
	for name, c := range map[string]struct {
		broken, text string
		state        status.State
		words        []string
	}{
		"agent.yaml":             {"agent.yaml", "user-dta: 1\n", status.Failed, []string{`unknown key "user-dta"`, "hint: mend ", "agent.yaml, then: bootagent retry"}},
		"the user-data":          {"user-data", "#bootagent\nversion: 1\nroel: web\n", status.Failed, []string{`unknown key "roel"`, "hint: mend ", "user-data", "then: bootagent retry"}},
		"a role of another name": {"user-data", "#bootagent\nversion: 1\nrole: wbe\n", status.Failed, []string{`unknown role "wbe"`, "then: bootagent retry"}},
		"the role file":          {"roles.d/web.yaml", "version: 1\nrole: web\nservces: {}\n", status.Failed, []string{`unknown key "servces"`, "mend the role files", "bootagent validate", "then: bootagent retry"}},
		"a parameter":            {"user-data", "#bootagent\nversion: 1\nrole: web\nparams: {x: y}\n", status.Failed, []string{"unknown parameter", "then: bootagent retry"}},
		"no role":                {"user-data", "", status.Idle, []string{"has no role", "then: bootagent retry"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdited(t)
			whole, err := os.ReadFile(filepath.Join(e.dir, c.broken))
			if err != nil {
				t.Fatal(err)
			}
			e.write(c.broken, c.text)
			a := lives(t, e)
			a.tells(t, c.state, c.words...)
			if answer, err := a.Retry(t.Context()); err == nil || fault.HintOf(err) == "" {
				t.Errorf("a retry with nothing mended: %q, %v", answer, err)
			}
			a.tells(t, c.state, c.words...)
			if _, ready := a.report.now(); !ready {
				t.Error("the boot of the machine waits for it")
			}
			e.write(c.broken, string(whole))
			if answer, err := a.Retry(t.Context()); err != nil || answer != "everything was read again, and there is a plan now" {
				t.Errorf("a retry after it was mended: %q, %v", answer, err)
			}
			a.tells(t, status.Ready, "web")
		})
	}
}

func TestARetryOfABootTakesOverWhatWasEdited(t *testing.T) {
	e := newEdited(t)
	a := lives(t, e)
	a.tells(t, status.Ready, "web")
	first := a.Boot()
	again := func(want, wantErr string) {
		t.Helper()
		answer, err := a.Retry(t.Context())
		if answer != want || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("got %q, %v", answer, err)
		}
	}
	again("nothing else was read than before; what failed is tried again", "")
	if b := a.Boot(); b != first {
		t.Error("it began anew")
	}
	// What is broken meanwhile does not take away what is in force.
	e.write("roles.d/web.yaml", "version: 1\n")
	again("", "tries again by the plan that is in force")
	a.tells(t, status.Ready, "web")
	if b := a.Boot(); b != first {
		t.Error("it began anew")
	}
	e.write("roles.d/web.yaml", servesWeb+"  cron.service: {}\n")
	again("what was read again is in force now", "")
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if b := a.Boot(); b != nil && b != first {
			break
		}
		if time.Since(began) > 5*time.Second {
			t.Fatal("it did not begin anew")
		}
	}
	again("nothing else was read than before; what failed is tried again", "")
	e.write("agent.yaml", "user-data: {file: "+filepath.Join(e.dir, "user-data")+"}\nunlock-within: 2h\n")
	again("what was read again is in force now", "")
}

func TestAnAgentWhoseRoleHasNoSecretsTakesNoKey(t *testing.T) {
	a := New(Config{AddKeys: func([]byte) (string, error) { return "taken", nil }})
	b := boot.New(role.Plan{}, host.Host{}, slog.New(slog.DiscardHandler))
	a.begin(b.Graph, b, nil)
	if answer, err := a.Unlock(t.Context(), []byte("a key")); err == nil || err.Error() != "the role of this instance has no secrets, so it needs no key" {
		t.Errorf("got %q, %v", answer, err)
	}
}
