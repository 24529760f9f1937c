package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/status"
)

func TestAnAgentRunsWhileItsProcessDoes(t *testing.T) {
	ended := exec.Command("true")
	if err := ended.Start(); err != nil {
		t.Fatal(err)
	}
	other, err := startTicks(ended.Process.Pid)
	if err := errors.Join(err, ended.Wait()); err != nil {
		t.Fatal(err)
	}
	me := thisAgent()
	for name, c := range map[string]struct {
		agent status.Agent
		runs  bool
	}{
		"this process":                           {me, true},
		"one that had its number before":         {status.Agent{PID: me.PID, Ticks: me.Ticks - 1}, false},
		"one that has ended":                     {status.Agent{PID: ended.Process.Pid, Ticks: other}, false},
		"no process, as 1<<22 is the largest":    {status.Agent{PID: 1<<22 + 1, Ticks: 1}, false}, // proc(5)
		"none at all":                            {status.Agent{}, false},
		"another program, of an older version's": {status.Agent{PID: me.PID}, false},
	} {
		if runs(c.agent) != c.runs {
			t.Errorf("%s runs: %v", name, !c.runs)
		}
	}
}

// written writes a status of an agent, and returns its file.
func written(t *testing.T, file string, s status.Status, by status.Agent) string {
	t.Helper()
	s.Agent = by
	if err := s.Write(file); err != nil {
		t.Fatal(err)
	}
	return file
}

var leftAgent = status.Agent{PID: 1<<22 + 1, Ticks: 1}

func TestAStatusWhoseAgentIsGoneIsAStateOfItsOwn(t *testing.T) {
	ready := status.Status{Role: "mysql", State: status.Ready}
	s, err := readStatus(written(t, filepath.Join(t.TempDir(), "status.json"), ready, leftAgent))
	if err != nil || s.State != status.Gone || s.Last != status.Ready || s.State.ExitCode() != 5 || s.State.Final() {
		t.Errorf("got %+v, %v", s, err)
	}
	if line := s.Line(); !strings.HasPrefix(line, "the agent does not run; it told last: mysql: ready since ") {
		t.Errorf("it says %q", line)
	}
	if !strings.Contains(s.Hint, "systemctl start bootagent") {
		t.Errorf("its hint is %q", s.Hint)
	}
}

func TestWaitBearsThatAnAgentIsStartedAgainAndNoMore(t *testing.T) {
	const bear = 300 * time.Millisecond
	ready := status.Status{Role: "mysql", State: status.Ready}
	for name, c := range map[string]struct {
		file  string // what is in it, where it is not a status
		comes bool   // the agent is back in time
		code  int    // -1 is another error
	}{
		"the agent is back in time":                {"", true, 0},
		"nobody comes back":                        {"", false, 5},
		"a broken file, which the agent mends":     {"{", true, 0},
		"a broken file, and there is no agent":     {"{", false, -1},
		"a file of another version, and the agent": {`{"version": 99}`, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "status.json")
			if written(t, file, ready, leftAgent); c.file != "" {
				if err := os.WriteFile(file, []byte(c.file), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if c.comes {
				time.AfterFunc(bear/3, func() { written(t, file, ready, thisAgent()) })
			}
			var out bytes.Buffer
			began := time.Now()
			err := waitFor(t.Context(), file, bear, &out)
			var code exitCode
			switch {
			case c.code == 0 && (err != nil || !strings.HasPrefix(out.String(), "mysql: ready since ")),
				c.code > 0 && (!errors.As(err, &code) || int(code) != c.code),
				c.code < 0 && (err == nil || errors.As(err, &code)):
				t.Errorf("got %v, %q", err, out.String())
			}
			if took := time.Since(began); !c.comes && took < bear {
				t.Errorf("it ended after %s", took)
			}
		})
	}
}

func TestErrorsBecomeExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		errs string
	}{
		"nothing":              {nil, 0, ""},
		"help":                 {[]string{"--help"}, 0, ""},
		"help of a command":    {[]string{"wait", "-h"}, 0, ""},
		"version":              {[]string{"version"}, 0, ""},
		"unknown command":      {[]string{"start"}, 2, "bootagent: unknown command \"start\"; bootagent help lists them\n"},
		"too many arguments":   {[]string{"status", "now"}, 2, "usage: bootagent status"},
		"too few arguments":    {[]string{"prove"}, 2, "prove wants 1 more argument(s)"},
		"unknown flag":         {[]string{"plan", "--jsn"}, 2, "not defined: -jsn"},
		"a flag's wrong value": {[]string{"wait", "--timeout", "soon"}, 2, `invalid value "soon"`},
		"an error":             {[]string{"prove", "/absent"}, 1, "bootagent: "},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(context.Background(), c.args, &out, &errs)
			if code != c.code || !strings.Contains(errs.String(), c.errs) || (c.errs == "") != (errs.Len() == 0) {
				t.Errorf("exit %d, %s", code, errs.String())
			}
		})
	}
}
