package agent

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// engines give these answers, one after the other, and then the last.
type engines struct {
	host.Engines
	answers []any // a path, or an error
	asked   int
}

func (e *engines) Settings(context.Context, host.Data, []string) (host.EngineSettings, error) {
	answer := e.answers[min(e.asked, len(e.answers)-1)]
	e.asked++
	if err, is := answer.(error); is {
		return host.EngineSettings{}, err
	}
	return host.EngineSettings{DataDirectory: answer.(string)}, nil
}

// bound is an agent that finds where the data of a plan is bound, and what it keeps.
func bound(keep Keeper) (*Agent, *Lesson) {
	a := New(Config{Log: slog.New(slog.DiscardHandler), Report: new(reported), Keep: keep})
	a.identified = []graph.Progress{{Step: "instance: plan", State: graph.Done}}
	return a, &Lesson{Plan: role.Plan{Role: "db", Data: []role.Data{{Name: "mysql", Auto: true, Engine: "mariadb"}}}}
}

func TestTheBootWaitsForAnEngineThatSaysWhereItsDataIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, learnt := bound(keepsNothing{})
		e := &engines{answers: []any{errors.New("no answer"), errors.New("no answer"), "/var/lib/mysql"}}
		if err := a.bind(t.Context(), learnt, host.Host{Engines: e}); err != nil || learnt.Plan.Data[0].Bind != "/var/lib/mysql" || e.asked != 3 {
			t.Errorf("got %+v, %v after %d questions", learnt.Plan, err, e.asked)
		}
		if all := a.identified; len(all) != 2 || all[1].Step != "instance: paths" || all[1].State != graph.Done {
			t.Errorf("it tells %+v", all)
		}
	})
}

func TestAnAnswerThatIsRefusedIsWhyThereIsNoPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, learnt := bound(keepsNothing{})
		e := &engines{answers: []any{"/etc"}}
		err := a.bind(t.Context(), learnt, host.Host{Engines: e})
		if !fault.IsPermanent(err) || e.asked != 1 || learnt.Plan.Data[0].Bind != "" {
			t.Errorf("got %v after %d questions, and %+v", err, e.asked, learnt.Plan)
		}
	})
}

// keepsPlan is a Keeper with a plan in force, or one that can't be read.
type keepsPlan struct {
	keepsNothing
	plan *role.Plan
	err  error
}

func (k keepsPlan) InForce() (*role.Plan, error) { return k.plan, k.err }

// at is what is mounted.
type at struct {
	host.Mounts
	where string
}

func (a at) At(where string) (uint64, bool, error) { return 1, where == a.where, nil }

// The engine may be running on what an earlier agent has bound.
func TestANewAgentKeepsWhatIsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, was := bound(nil)
		was.Plan.Data[0].Bind = "/var/lib/mysql"
		e := &engines{answers: []any{"/var/lib/mariadb"}}
		a, learnt := bound(keepsPlan{plan: &was.Plan})
		if err := a.bind(t.Context(), learnt, host.Host{Engines: e, Mounts: at{where: "/var/lib/mysql"}}); err != nil || learnt.Plan.Data[0].Bind != "/var/lib/mysql" {
			t.Errorf("got %+v, %v", learnt.Plan, err)
		}
		a, learnt = bound(keepsPlan{err: errors.New("it is damaged")})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.bind(ctx, learnt, host.Host{Engines: e}); err == nil || e.asked != 0 {
			t.Errorf("what is in force is not known, and it is bound to %+v", learnt.Plan)
		}
	})
}
