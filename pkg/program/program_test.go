package program

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func shell(script string) Command {
	return Command{Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"PATH=/usr/bin:/bin", "A=b"}, Within: 10 * time.Second, Output: 1000}
}

func TestWhatAProgramPrintsAndItsStatusAreReturned(t *testing.T) {
	r, err := shell("echo $A in $(pwd); echo no >&2; exit 3").Run(t.Context())
	if want := (Result{Name: "sh", Exit: 3, Stdout: "b in /\n", Stderr: "no\n"}); r != want || err != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	if got, want := r.Failure().Error(), "sh failed with exit status 3: no"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.Stderr = ""
	if got, want := r.Failure().Error(), "sh failed with exit status 3: it printed no error message"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAProgramReadsAnOpenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := shell("cat /proc/self/fd/3")
	c.Files = []*os.File{f}
	if r, err := c.Run(t.Context()); r.Stdout != "content" || err != nil {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestAProgramThatDoesNotEndWellIsAnError(t *testing.T) {
	late := shell("echo x; exec sleep 60")
	late.Within = 200 * time.Millisecond
	missing := shell("")
	missing.Path = "/nowhere/program"
	for name, test := range map[string]struct {
		command Command
		stdout  string
		want    string
	}{
		"too late":  {late, "x\n", "sh: it did not end within 200ms"},
		"too much":  {shell("yes"), "", "sh printed more than 1000 bytes"},
		"a signal":  {shell("kill -9 $$"), "", "sh: signal: killed"},
		"not there": {missing, "", "program: fork/exec /nowhere/program: no such file or directory"},
	} {
		r, err := test.command.Run(t.Context())
		if err == nil || err.Error() != test.want || !strings.HasPrefix(r.Stdout, test.stdout) {
			t.Errorf("%s: got %+v, %v; want %s", name, r, err, test.want)
		}
	}
}

func TestTheEndOfTheContextEndsAProgram(t *testing.T) {
	reason := errors.New("not needed any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	if _, err := shell("exec sleep 60").Run(ctx); !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
}

func TestTheFirstDirectoryThatHasAProgramCounts(t *testing.T) {
	empty, a, b := t.TempDir(), t.TempDir(), t.TempDir()
	for file, mode := range map[string]os.FileMode{a + "/x": 0o755, b + "/x": 0o755, a + "/y": 0o644} {
		if err := os.WriteFile(file, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if got := Find("x", []string{empty, a, b}); got != a+"/x" {
		t.Errorf("found %q", got)
	}
	if got := Find("y", []string{empty, a}); got != "" {
		t.Errorf("found %q, which is not executable", got)
	}
}
