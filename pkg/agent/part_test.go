package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
)

// ailing is a reporter that keeps what ails the agent.
type ailing struct {
	Reporter
	said []string
}

func (a *ailing) SetProblem(_, why string) { a.said = append(a.said, why) }

func TestAPartOfTheAgentThatStopsIsStartedAgainAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ran, report := 0, new(ailing)
		KeepRunning(t.Context(), "part", func(context.Context) error {
			if ran++; ran < 4 {
				return errors.New("it broke")
			}
			return nil
		}, report, slog.New(slog.DiscardHandler))
		if ran != 4 || len(report.said) != 6 || !strings.Contains(report.said[0], "started again: it broke") || report.said[5] != "" {
			t.Errorf("it ran %d times, and was said: %q", ran, report.said)
		}
	})
}
