package status

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
	me := ThisAgent("1.2.3")
	for name, c := range map[string]struct {
		agent Agent
		runs  bool
	}{
		"this process":                        {me, true},
		"one that had its number before":      {Agent{PID: me.PID, Ticks: me.Ticks - 1}, false},
		"one that has ended":                  {Agent{PID: ended.Process.Pid, Ticks: other}, false},
		"no process, as 1<<22 is the largest": {Agent{PID: 1<<22 + 1, Ticks: 1}, false}, // proc(5)
		"none at all":                         {Agent{}, false},
		"another program, without its ticks":  {Agent{PID: me.PID}, false},
	} {
		if c.agent.Running() != c.runs {
			t.Errorf("%s runs: %v", name, !c.runs)
		}
	}
}

// written writes a status of an agent, and returns its file.
func written(t *testing.T, file string, s Status, by Agent) string {
	t.Helper()
	s.Agent = by
	if err := s.Write(file); err != nil {
		t.Fatal(err)
	}
	return file
}

var leftAgent = Agent{PID: 1<<22 + 1, Ticks: 1}

func TestAStatusWhoseAgentIsGoneIsAStateOfItsOwn(t *testing.T) {
	ready := Status{Role: "mysql", State: Ready}
	s, err := Current(written(t, filepath.Join(t.TempDir(), "status.json"), ready, leftAgent))
	if err != nil || s.State != Gone || s.Last != Ready || s.State.ExitCode() != 5 || s.State.Final() {
		t.Errorf("got %+v, %v", s, err)
	}
	if line := s.Line(); !strings.HasPrefix(line, "the agent does not run; it told last: mysql: ready since ") {
		t.Errorf("it says %q", line)
	}
	if !strings.Contains(s.Hint, "systemctl start bootagent") {
		t.Errorf("its hint is %q", s.Hint)
	}
}
