package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/command"
	"bootagent/pkg/status"
)

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
				time.AfterFunc(bear/3, func() { written(t, file, ready, status.ThisAgent("1.2.3")) })
			}
			var out bytes.Buffer
			began := time.Now()
			err := waitFor(t.Context(), file, bear, &out)
			var code command.Ends
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
