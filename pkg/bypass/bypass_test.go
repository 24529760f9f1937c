package bypass

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

func given(unit string) host.Bypass {
	return host.Bypass{Unit: unit, Reason: "the secrets are away", By: "alice", At: time.Date(2026, 11, 28, 3, 4, 0, 0, time.UTC), WithoutProof: true}
}

func TestABypassIsInForceUntilItEnds(t *testing.T) {
	dir := Below(t.TempDir())
	if all, err := dir.Bypassed(); len(all) > 0 || err != nil {
		t.Errorf("before any: %v, %v", all, err)
	}
	for _, unit := range []string{"mariadb.service", "nginx.service"} {
		if err := dir.Bypass(given(unit)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := dir.Bypassed()
	if err != nil || all["mariadb.service"] != given("mariadb.service") || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	for range 2 { // to end what is not in force is no error
		if err := dir.EndBypass("mariadb.service"); err != nil {
			t.Error(err)
		}
	}
	if all, err := dir.Bypassed(); err != nil || !slices.Equal(slices.Collect(maps.Keys(all)), []string{"nginx.service"}) {
		t.Errorf("got %v, %v", all, err)
	}
	if err := dir.EndAll(); err != nil {
		t.Fatal(err)
	}
	if all, err := dir.Bypassed(); len(all) > 0 || err != nil {
		t.Errorf("after the machine has stopped: %v, %v", all, err)
	}
}

func TestAFileThatIsNoBypassHidesNoOther(t *testing.T) {
	dir := Below(t.TempDir())
	if err := dir.Bypass(given("mariadb.service")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"broken.service": "{", "other.service": `{"unit": "mariadb.service"}`} {
		if err := os.WriteFile(filepath.Join(string(dir), name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := dir.Bypassed()
	if len(all) != 1 || err == nil || !strings.Contains(err.Error(), "broken.service") || !strings.Contains(err.Error(), "other.service") {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestABypassThatNobodyWouldUnderstandIsRefused(t *testing.T) {
	for words, change := range map[string]func(*host.Bypass){
		"needs a reason":         func(b *host.Bypass) { b.Reason = " " },
		"at most 200":            func(b *host.Bypass) { b.Reason = strings.Repeat("x", 201) },
		"one line":               func(b *host.Bypass) { b.Reason = "a\nb" },
		"not the name of a serv": func(b *host.Bypass) { b.Unit = "mariadb.socket" },
		"not the name":           func(b *host.Bypass) { b.Unit = "../mariadb.service" },
		"a template":             func(b *host.Bypass) { b.Unit = "mariadb@.service" },
	} {
		b, dir := given("mariadb.service"), Below(t.TempDir())
		change(&b)
		if err := dir.Bypass(b); err == nil || !strings.Contains(err.Error(), words) || !fault.IsPermanent(err) {
			t.Errorf("%+v: got %v, want a refusal that says %q", b, err, words)
		}
		if left, _ := os.ReadDir(string(dir)); len(left) > 0 {
			t.Errorf("%+v left %v", b, left)
		}
	}
}
