package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/boot"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/status"
)

// TestMain is this program where it is started as the hand of one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == handCommand {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// edited is the files of a local machine, as a person writes them.
type edited struct {
	t   *testing.T
	dir string
	files
}

func newEdited(t *testing.T) edited {
	dir := t.TempDir()
	e := edited{t, dir, files{filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "roles.d")}}
	if err := os.Mkdir(e.roles, 0o755); err != nil {
		t.Fatal(err)
	}
	e.write("agent.yaml", "user-data: {file: "+filepath.Join(dir, "user-data")+"}\n")
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

// lives has an agent live with files, in a world in which its services need
// nothing, until the test ends. It learns as the program does, and boots with
// nothing but the story.
func lives(t *testing.T, e edited) *agent {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	a := &agent{log: log, teller: newTeller(log), files: e.files, children: &children{log: log}}
	a.teller.file = filepath.Join(e.dir, "status.json")
	a.boots = func(ctx context.Context, by *lesson) error {
		b := boot.New(role.Plan{Role: by.plan.Role}, host.Host{}, log) // of the plan, what needs no machine
		a.begin(b.Graph, b, by)
		b.Run(ctx, func([]graph.Progress) { a.teller.tell(status.Status{Role: by.plan.Role, State: status.Ready}) })
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.live(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return a
}

// tells waits until an agent tells a state with all of the words.
func (a *agent) tells(t *testing.T, state status.State, words ...string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		s, _ := status.Read(a.teller.file)
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
			if answer, err := a.retry(t.Context()); err == nil || fault.HintOf(err) == "" {
				t.Errorf("a retry with nothing mended: %q, %v", answer, err)
			}
			a.tells(t, c.state, c.words...)
			if !a.teller.isReady {
				t.Error("the boot of the machine waits for it")
			}
			e.write(c.broken, string(whole))
			if answer, err := a.retry(t.Context()); err != nil || answer != "everything was read again, and there is a plan now" {
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
	_, first := a.told()
	again := func(want, wantErr string) {
		t.Helper()
		answer, err := a.retry(t.Context())
		if answer != want || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("got %q, %v", answer, err)
		}
	}
	again("nothing else was read than before; what failed is tried again", "")
	if _, b := a.told(); b != first {
		t.Error("it began anew")
	}
	// What is broken meanwhile does not take away what is in force.
	e.write("roles.d/web.yaml", "version: 1\n")
	again("", "tries again by the plan that is in force")
	a.tells(t, status.Ready, "web")
	if _, b := a.told(); b != first {
		t.Error("it began anew")
	}
	e.write("roles.d/web.yaml", servesWeb+"  cron.service: {}\n")
	again("what was read again is in force now", "")
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, b := a.told(); b != nil && b != first {
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

// User-data of EC2 can be changed only while the instance is stopped.
func TestAHintAboutUserDataOfEC2SaysThatTheInstanceHasToStop(t *testing.T) {
	broken := host.Identity{Instance: example, UserData: []byte("#bootagent\nversion: 1\nroel: web\n")}
	_, err := makePlan(settings.Settings{}, rolesOf(t, servesWeb), imdsSource, broken)
	for _, words := range []string{
		"only while the instance is stopped", "bootagent retry",
		"aws ec2 stop-instances --region eu-central-1 --instance-ids i-0123456789abcdef0 && ",
		"aws ec2 modify-instance-attribute --region eu-central-1 --instance-id i-0123456789abcdef0 --attribute userData --value file://",
		"aws ec2 start-instances --region eu-central-1 --instance-ids i-0123456789abcdef0",
	} {
		if !strings.Contains(fault.HintOf(err), words) {
			t.Errorf("it does not say %q, but: %s", words, fault.HintOf(err))
		}
	}
	_, err = makePlan(settings.Settings{}, rolesOf(t, servesWeb), imdsSource, host.Identity{Instance: example, RoleTag: "wbe"})
	if want := "the instance's tag bootagent:role, then: bootagent retry"; !strings.Contains(fault.HintOf(err), want) {
		t.Errorf("of the tag it says %s", fault.HintOf(err))
	}
}

func TestWithoutAPlanEveryServiceWithAGuardIsHeldUnlessItWasGranted(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/bootagent/roles.d/web.yaml", "version: 1\nrole: web\nservices:\n  nginx.service: {}\n  cron.service: {}\n")
	write("usr/lib/systemd/system/nginx.service", "[Service]\nExecStart=/usr/sbin/serve\n")
	write("usr/lib/systemd/system/cron.service", "[Service]\nExecStart=/usr/sbin/serve\n")
	write("usr/lib/systemd/system/cron.timer", "[Timer]\nOnBootSec=1\n")
	if err := guardCommand(t.Context(), []string{"install", "--root", root}, new(strings.Builder)); err != nil {
		t.Fatal(err)
	}
	if held := heldUnits(root); !slices.Equal(held, []string{"cron.service", "nginx.service"}) {
		t.Errorf("held are %q", held)
	}
	write("run/bootagent/granted/cron.service", "")
	if held := heldUnits(root); !slices.Equal(held, []string{"nginx.service"}) {
		t.Errorf("with one granted, held are %q", held)
	}
}

func TestTheSocketForOrdersIsThereAgainAfterItWasDeleted(t *testing.T) {
	dir, err := os.MkdirTemp("", "bootagent") // a socket's path has room for 107 bytes, unix(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "control.sock")
	c := newControl(slog.New(slog.DiscardHandler), path, nil)
	defer c.close()
	c.keep()
	first := c.bound
	c.keep()
	if !os.SameFile(first, c.bound) {
		t.Error("the socket was made again, and nobody had touched it")
	}
	for name, harm := range map[string]func() error{
		"deleted":          func() error { return os.Remove(path) },
		"made by somebody": func() error { return os.WriteFile(path+".x", nil, 0o600) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if name != "deleted" {
			if err := os.Rename(path+".x", path); err != nil {
				t.Fatal(err)
			}
		}
		c.keep()
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		conn.Close()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: it is %v, %v", name, info, err)
		}
	}
}
