package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// metadata is a metadata service that answers after a while.
type metadata struct {
	began    time.Time
	answers  time.Duration
	facts    host.Identity
	kept     host.Identity
	keptWhen time.Time
}

func (m *metadata) Ask(context.Context) (host.Identity, error) {
	if time.Since(m.began) < m.answers {
		return host.Identity{}, &fault.Pending{For: "the metadata service to answer", Hint: "raise the hop limit"}
	}
	return m.facts, nil
}

func (m *metadata) Cache(f host.Identity) { m.kept, m.keptWhen = f, time.Now() }

func (m *metadata) Cached() (host.Identity, time.Time, error) {
	if m.keptWhen.IsZero() {
		return host.Identity{}, time.Time{}, errors.New("nothing was kept")
	}
	return m.kept, m.keptWhen, nil
}

func launch(t *testing.T, ctx context.Context, m *metadata, report func([]graph.Progress)) (role.Plan, host.Identity, error) {
	m.began = time.Now()
	makePlan := func(f host.Identity) (role.Plan, error) {
		if len(f.UserData) == 0 {
			return role.Plan{}, fault.Permanent(errors.New("no role"))
		}
		return role.Plan{Role: string(f.UserData)}, nil
	}
	return NewIdentify(m, makePlan).Run(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)), report)
}

func TestAnInstanceWaitsToBeToldWhoItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &metadata{answers: time.Minute, facts: host.Identity{UserData: []byte("mysql")}}
		var told []string
		plan, _, err := launch(t, t.Context(), m, func(p []graph.Progress) { told = append(told, p[0].String()+" "+p[0].Wait.Hint) })
		if err != nil || plan.Role != "mysql" {
			t.Fatalf("got %+v, %v", plan, err)
		}
		if all := strings.Join(told, "\n"); !strings.Contains(all, "for the metadata service to answer raise the hop limit") {
			t.Errorf("it told\n%s", all)
		}
	})
}

func TestAnInstanceThatWasToldBeforeGoesByThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &metadata{answers: time.Hour, kept: host.Identity{UserData: []byte("mysql")}, keptWhen: time.Now().Add(-time.Hour)}
		began := time.Now()
		var last []graph.Progress
		plan, _, err := launch(t, t.Context(), m, func(p []graph.Progress) { last = p })
		if err != nil || plan.Role != "mysql" {
			t.Fatalf("got %+v, %v", plan, err)
		}
		if took := time.Since(began); took > staleAfter {
			t.Errorf("it took %s", took)
		}
		if remark := last[0].Warning; !strings.Contains(remark, "uses the answer cached at") || !strings.Contains(remark, "metadata service") {
			t.Errorf("it says %q", remark)
		}
	})
}

func TestWhatWasReliedOnIsConfirmed(t *testing.T) {
	for name, c := range map[string]struct{ now, words string }{
		"the same":       {"mysql", ""},
		"something else": {"web", "now says something else"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &metadata{
					began: time.Now(), answers: time.Hour, facts: host.Identity{UserData: []byte(c.now)},
					kept: host.Identity{UserData: []byte("mysql")}, keptWhen: time.Now(),
				}
				l := NewIdentify(m, func(f host.Identity) (role.Plan, error) { return role.Plan{Role: string(f.UserData)}, nil })
				plan, _, err := l.Run(t.Context(), slog.New(slog.DiscardHandler), func([]graph.Progress) {})
				if err != nil || plan.Role != "mysql" {
					t.Fatalf("got %+v, %v", plan, err)
				}
				remark, err := l.Confirm(t.Context())
				if err != nil || (remark == "") != (c.words == "") || !strings.Contains(remark, c.words) {
					t.Errorf("got %q, %v", remark, err)
				}
				if time.Since(m.began) < time.Hour {
					t.Error("it was confirmed before there was an answer")
				}
			})
		})
	}
}

func TestOnlyWhatAPlanCouldBeMadeOfIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &metadata{facts: host.Identity{UserData: []byte("mysql")}}
		if _, _, err := launch(t, t.Context(), m, func([]graph.Progress) {}); err != nil || string(m.kept.UserData) != "mysql" {
			t.Errorf("kept %q, %v", m.kept.UserData, err)
		}
		m.facts = host.Identity{}
		if _, _, err := launch(t, t.Context(), m, func([]graph.Progress) {}); err == nil || string(m.kept.UserData) != "mysql" {
			t.Errorf("kept %q, %v", m.kept.UserData, err)
		}
	})
}

// The user-data may have been mended while the instance was stopped.
func TestAKeptAnswerThatGivesNoPlanIsNotTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &metadata{answers: time.Minute, facts: host.Identity{UserData: []byte("mysql")}, keptWhen: time.Now()}
		var told []string
		plan, _, err := launch(t, t.Context(), m, func(p []graph.Progress) { told = append(told, p[1].String()) })
		if err != nil || plan.Role != "mysql" {
			t.Errorf("got %+v, %v", plan, err)
		}
		if all := strings.Join(told, "\n"); !strings.Contains(all, "instance: plan failed") || !strings.Contains(all, "no role") {
			t.Errorf("it told\n%s", all)
		}
	})
}

func TestANewAnswerCountsMoreThanAKeptOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &metadata{
			answers: 2 * time.Second, facts: host.Identity{UserData: []byte("web")},
			kept: host.Identity{UserData: []byte("mysql")}, keptWhen: time.Now(),
		}
		plan, _, err := launch(t, t.Context(), m, func([]graph.Progress) {})
		if err != nil || plan.Role != "web" {
			t.Errorf("got %+v, %v", plan, err)
		}
	})
}

func TestAnInstanceThatIsNeverToldSaysSoAndAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
		defer cancel()
		m := &metadata{answers: time.Hour}
		var told []string
		_, _, err := launch(t, ctx, m, func(p []graph.Progress) { told = append(told, p[0].String()+fault.HintOf(p[0].Err)) })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		all := strings.Join(told, "\n")
		for _, words := range []string{"waited 10m0s in vain for the metadata service", "nothing was kept", "raise the hop limit", "after it failed"} {
			if !strings.Contains(all, words) {
				t.Errorf("it did not tell %q, but\n%s", words, all)
			}
		}
	})
}

func TestAPlanThatCantBeMadeEndsTheLaunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, err := launch(t, t.Context(), &metadata{}, func([]graph.Progress) {})
		if err == nil || err.Error() != "no role" {
			t.Errorf("got %v", err)
		}
	})
}
