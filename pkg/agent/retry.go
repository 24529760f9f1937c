package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
)

// startOver ends what the agent does now, and has it start over with what was
// learnt; nil is to learn everything.
func (a *Agent) startOver(learnt *Lesson) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next = learnt
	if learnt != nil {
		a.identified = identifiedAgain(a.identified, learnt)
	}
	if a.again != nil { // else Run has yet to begin
		a.again(errAgain)
	}
}

// identifiedAgain is the progress of Identify after everything was read again: what
// failed there has been done since. A warning about a cached answer stays if the
// metadata service has not answered since.
func identifiedAgain(before []graph.Progress, learnt *Lesson) []graph.Progress {
	now := slices.Clone(before)
	for i, p := range now {
		warning := p.Warning
		if learnt.confirm != nil {
			warning = ""
		}
		if p.State != graph.Done {
			p.Since = time.Now()
		}
		now[i] = graph.Progress{Step: p.Step, State: graph.Done, Since: p.Since, Started: p.Started, Warning: warning}
	}
	return now
}

// Retry reads everything again, and goes on by what it says now: a person has
// changed something. The answer says what is done.
func (a *Agent) Retry(ctx context.Context) (answer string, err error) {
	a.retrying <- struct{}{}
	defer func() { <-a.retrying }()
	a.mu.Lock()
	g, b, by, known, h := a.graph, a.boot, a.lesson, a.identity, a.host
	a.mu.Unlock()
	if g != nil && b == nil { // it is learning
		a.startOver(nil)
		return "everything is read again", nil
	}
	learnt, err := a.relearn(ctx, known)
	if b != nil && err == nil {
		err = a.bindOnce(ctx, learnt, h)
	}
	switch pending := (*fault.Pending)(nil); {
	case b == nil && errors.As(err, &pending):
		a.startOver(nil) // that waits for an answer
		return "everything is read again, as soon as the metadata service answers", nil
	case b == nil && err != nil:
		a.withoutPlan(err)
		return "", err
	case b == nil:
		a.startOver(learnt)
		return "everything was read again, and there is a plan now", nil
	case err != nil:
		return "", errors.Join(fault.WithHint(fmt.Errorf("tries again by the plan that is in force, as there is no other: %w", err), fault.HintOf(err)), b.RetryNow(ctx))
	case by.same(learnt):
		return "nothing else was read than before; what failed is tried again", b.RetryNow(ctx)
	}
	if err := b.Takes(ctx, learnt.Plan); err != nil {
		return "", err
	}
	if err := b.StartAgain(ctx); err != nil {
		return "", err
	}
	a.startOver(learnt)
	return "what was read again is in force now", nil
}

// Unlock takes keys that a person brings. The answer says which they are.
func (a *Agent) Unlock(_ context.Context, text []byte) (answer string, err error) {
	b := a.Boot()
	if b != nil && !b.HasSecrets() {
		return "", fault.Permanent(errors.New("the role of this instance has no secrets, so it needs no key"))
	}
	if answer, err = a.AddKeys(text); err == nil && b != nil {
		b.Unlocked()
	}
	return answer, err
}
