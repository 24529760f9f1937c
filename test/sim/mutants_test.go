package sim

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A mutant is a mistake in the agent that the simulated world has to find.
type mutant struct {
	name  string
	edits []edit
}

// An edit replaces a text that stands once in a file below pkg.
type edit struct{ file, old, mutated string }

// mutants are mistakes that somebody could make, each of which breaks a promise.
var mutants = []mutant{
	{"what holds something else is formatted", []edit{
		{"boot/volume.go", "case content.Filesystem != string(v.Filesystem):", "case false:"},
		{"boot/volume.go", "if v.content.Blank {\n\t\terr := v.make", "if v.content.Filesystem == \"\" {\n\t\terr := v.make"},
	}},
	{"a blank volume of a snapshot is formatted", []edit{
		{"boot/volume.go", "case origin.From != \"\":", "case false:"},
	}},
	{"a filesystem without a ledger is taken", []edit{
		{"boot/volume.go", "ours := intent.UUID == v.content.UUID", "ours := true"},
	}},
	{"what an intent names is taken for just made, whatever is in it", []edit{
		{"boot/volume.go", "case ours && !intent.Made && len(names) == 0:", "case ours && !intent.Made:"},
		{"boot/volume.go", "l.Made != nil && len(names) > 0", "false && len(names) > 0"},
	}},
	{"a filesystem that lost its ledger is introduced again", []edit{
		{"boot/volume.go", "case ours && !intent.Made && len(names) == 0:", "case ours:"},
		{"boot/volume.go", "l.Made != nil && len(names) > 0", "false && len(names) > 0"},
	}},
	{"an intent is closed once or never", []edit{
		{"boot/boot.go", "b.Tell(name+\"intent\", vol.close, vol.noted)", "b.Tell(name+\"intent\", func(ctx context.Context) error { _ = vol.close(ctx); return nil }, vol.noted)"},
	}},
	{"that an intent is closed is not noted, and EC2 is told each time", []edit{
		{"boot/volume.go", "return v.record(ctx, func(l *Ledger) { l.Closed = true })", "return nil"},
	}},
	{"a disk that is blank again is formatted again", []edit{
		{"boot/volume.go", "case content.Blank && intent.Made:", "case false:"},
	}},
	{"a new database is made beside one that was renamed", []edit{
		{"boot/data.go", "if was := ledger.Data[name]; was.Ready &&", "if was := ledger.Data[name]; false && was.Ready &&"},
	}},
	{"a copy is taken for the volume", []edit{
		{"boot/volume.go", "case l.Volume != v.disk.Serial:", "case false:"},
	}},
	{"a copy that says so is taken for the volume", []edit{
		{"volume/volume.go", "return ok && original != vol.ID", "return false && ok && original != vol.ID"},
	}},
	{"the volume of another role is taken", []edit{
		{"boot/volume.go", "case l.Role != v.boot.plan.Role:", "case false:"},
	}},
	{"the intent is not noted before mkfs", []edit{
		{"boot/volume.go", "intent.UUID = v.boot.newUUID()\n\t\tif err := v.intend(ctx, intent); err != nil {", "intent.UUID = v.boot.newUUID()\n\t\tif err := error(nil); err != nil {"},
	}},
	{"a database that is gone is made anew", []edit{
		{"boot/data.go", "case noted.Ready:", "case false:"},
	}},
	{"a damaged directory passes for a good one", []edit{
		{"boot/data.go", "case Ready:\n", "case Ready, Damaged:\n"},
	}},
	{"half of a database passes for a whole one", []edit{
		{"datadir/mariadb.go", "case len(missing) > 0:", "case len(missing) > 2:"},
		{"datadir/mariadb.go", `return "can't be looked at: " + err.Error()`, `return ""`},
	}},
	{"a database of somebody else's is started", []edit{
		{"datadir/datadir.go", "report.State == Ready && belongs != uid", "report.State == Ready && belongs == 0"},
	}},
	{"a database that a newer engine used is started", []edit{
		{"datadir/mariadb.go", "case newer(used, set.Version):", "case newer(used, set.Version) && used == set.Version:"},
	}},
	{"what nobody sealed is taken for the secret", []edit{
		{
			"secret/open.go", "if err != nil {\n\t\treturn nil, err\n\t}\n\there := keys.Recipients()",
			"here := keys.Recipients()\n\tif o := (&opened{ciphertext, ciphertext}); err != nil {\n\t\treturn &Plaintext{opened: func() *opened { return o }}, nil\n\t}",
		},
	}},
	{"a service is granted before its needs are met", []edit{
		{"boot/boot.go", "svc.granted = b.Tell(name+\"grant\", svc.grant, b.steps(s.Needs)...)", "svc.granted = b.Tell(name+\"grant\", svc.grant)"},
		{"boot/service.go", "\t\tif !mounted {\n\t\t\ts.boot.unmounted(where)", "\t\tif !mounted && false {\n\t\t\ts.boot.unmounted(where)"},
	}},
	{"a service is granted without its secret", []edit{
		{"boot/boot.go", "steps = append(steps, b.secrets[need.Name].opened)", "_ = b.secrets[need.Name].opened"},
	}},
	{"what a person stopped is started", []edit{
		{"boot/service.go", "if err != nil || byHand || s.byHand.Load() {\n\t\treturn err\n\t}\n\treturn units.StartOnce", "if err != nil || byHand && false {\n\t\treturn err\n\t}\n\treturn units.StartOnce"},
	}},
	{"a service that hangs on a disk that is gone is left hanging", []edit{
		{"boot/service.go", "if gone != \"\" {", "if false {"},
	}},
	{"a plan takes over that changes what stands", []edit{
		{"boot/replan.go", "if len(fixed) == 0 {", "if true {"},
	}},
	{"a wait has no end", []edit{
		{"boot/errors.go", "if rest <= 0 {", "if false {"},
		{"boot/errors.go", "rest = min(rest+s.jitter(rest/4), time.Until(until))", "rest += s.jitter(rest / 4)"},
	}},
	{"what was waited for in vain is given up for good", []edit{
		{
			"boot/volume.go", "p := patience{most: askAnyway, asked: askedByThen, last: *expired.last}\n\tfor {",
			"p := patience{most: askAnyway, asked: askedByThen, last: *expired.last}\n\tif true {\n\t\treturn Final(err)\n\t}\n\tfor {",
		},
	}},
	{"a mount that goes is not noticed, with its grant", []edit{
		{"boot/boot.go", "if down && c.Unit == mountUnit(v.At) {", "if false {"},
		{"boot/boot.go", "if down && c.Unit == mountUnit(d.Bind) {", "if false {"},
		{"boot/boot.go", "case down && c.Unit == grantUnit(s.Unit):", "case false:"},
	}},
	{"a passing error is final", []edit{
		{"boot/story.go", "if !isFinal(err) {", "if false {"},
	}},
	{"nobody tells the key that was brought", []edit{
		{"boot/secret.go", "b.Recheck(b.unlocked, why, Waiting, Failed)", "_ = why"},
		{"boot/errors.go", "case <-time.After(rest):", "case <-time.After(1000 * rest):"},
	}},
	{"a volume that another holds is not waited for", []edit{
		{"boot/errors.go", "if err := ask(ctx); !errors.As(err, &notYet) {", "if err := ask(ctx); true {"},
	}},
	{"any of several volumes will do", []edit{
		{"volume/volume.go", "case len(found) == 1:", "case len(found) > 0:"},
	}},
	{"a disk that came back passes for the one that was pulled", []edit{
		{"boot/volume.go", "return mounted && dev != disk.Dev, err", "return false && dev != disk.Dev && mounted, err"},
	}},
	{"what EC2 does not tell at once is taken for not so", []edit{
		{"boot/volume.go", "intent.UUID != v.content.UUID {\n\t\t\terr = ", "intent.UUID != v.content.UUID && false {\n\t\t\terr = "},
	}},
	{"a directory on a disk that is gone is looked at for ever", []edit{
		{"boot/data.go", "findErr == nil && gone", "findErr == nil && gone && false"},
	}},
	{"whatever is mounted there passes for the disk that was proven", []edit{
		{"boot/volume.go", "case dev != v.disk.Dev:", "case false:"},
	}},
	{"a volume is mounted that was found mounted and not read", []edit{
		{"boot/volume.go", "if !mounted && !v.proven {", "if false {"},
	}},

	// Events.
	{"an event of a step that runs is lost", []edit{
		{"boot/story.go", "step.kept = append(step.kept, happen)", "_ = happen"},
		{"boot/service.go", "\t\t\t\tdown(errDown)\n\t\t\t\treturn\n", "\t\t\t\treturn\n"},
	}},
	{"an event of a step that runs is lost, in its last moment", []edit{
		{"boot/story.go", "step.kept = append(step.kept, happen)", "_ = happen"},
	}},
	{"an event that says nothing new is one", []edit{
		{"boot/disk.go", "disk, there, err); why != \"\" {", "disk, there, err); true {"},
	}},
	{"an event of any disk is one of all, and begins anew", []edit{
		{"boot/disk.go", "if !about {", "if !about && false {"},
		{"boot/disk.go", "disk, there, err); why != \"\" {", "disk, there, err); true {"},
		{"boot/disk.go", "b.Again(why, v.steps...)", "b.Retry()"},
	}},
	{"a step that starts over rests as if it had never failed", []edit{
		{"boot/story.go", "func (s *Step) reset(cause error) {\n", "func (s *Step) reset(cause error) {\n\ts.attempts = 0\n"},
	}},
	{"the probe does not see that its service was stopped", []edit{
		{"boot/service.go", "\t\t\t\tdown(errDown)\n\t\t\t\treturn\n", "\t\t\t\treturn\n"},
	}},
	{"a grant that is gone is not made again", []edit{
		{"boot/service.go", "s.boot.Undone(s.granted, \"the grant of \"+s.Unit+\" is gone\", s.granted)", "_ = s.granted"},
	}},

	// Deadlines.
	{"what fails is never failed", []edit{
		{"boot/story.go", "return !step.troubled.IsZero() && time.Since(step.troubled) >= s.withinOf(step)", "return false"},
		{"boot/story.go", "if step.attempts == 0 || step.gaveUp ||", "if step.attempts >= 0 || step.gaveUp ||"},
	}},
	{"what fails is failed only where it is not tried again", []edit{
		{"boot/story.go", "GaveUp: st.gaveUp,", "GaveUp: false,"},
	}},
	{"a hiccup is a failure", []edit{
		{"boot/story.go", "return cmp.Or(step.within, s.RetryWithin, DefaultRetryWithin)", "return cmp.Or(step.within, s.RetryWithin, DefaultRetryWithin) / 10"},
	}},

	// Services.
	{"a service that dies is ready until somebody looks", []edit{
		{"boot/boot.go", "case c.Active == \"activating\":", "case false:"},
	}},
	{"a service that was restarted is ready at once", []edit{
		{"boot/service.go", "return min(holdsAfter<<min(restarts-1, 6), holdsMost)", "return 0"},
	}},
	{"what ended by itself was stopped by a person", []edit{
		{"boot/service.go", "case ended.ByItself && !byHand && !s.dead:", "case false:"},
	}},
}

// TestEachMutantIsFound runs the schedules with each mistake in the agent.
func TestEachMutantIsFound(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			overlay := m.overlay(t)
			cmd := exec.Command("go", "test", "-overlay="+overlay, "-count=1", "-failfast", "-run=^(TestWhatWasFoundStaysMended|TestSchedules)$", ".", "-seeds=10000", "-most=1")
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("no schedule finds it")
			case !strings.Contains(string(out), "BROKEN"):
				t.Errorf("it does not run: %v\n%s", err, out)
			}
		})
	}
}

// What a mutant changes moves, and a mutant that changes nothing finds nothing.
func TestEachMistakeStillApplies(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) { m.overlay(t) })
	}
}

// overlay writes the mutated files, and what go build's -overlay takes.
func (m mutant) overlay(t *testing.T) (file string) {
	t.Helper()
	dir := t.TempDir()
	pkg, err := filepath.Abs("../../pkg")
	if err != nil {
		t.Fatal(err)
	}
	replaced := make(map[string]string)
	for i, e := range m.edits {
		path := filepath.Join(pkg, e.file)
		from := path
		if replaced[path] != "" {
			from = replaced[path]
		}
		src, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(src), e.old); n != 1 {
			t.Fatalf("edit %d does not apply: %q stands %d times in pkg/%s", i+1, e.old, n, e.file)
		}
		replaced[path] = filepath.Join(dir, strings.ReplaceAll(e.file, "/", "-"))
		if err := os.WriteFile(replaced[path], []byte(strings.Replace(string(src), e.old, e.mutated, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
