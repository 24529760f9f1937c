package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// Identify asks the metadata service which instance this is, and for its user-data,
// and makes the plan of the two.
type Identify struct {
	*graph.Graph
	metadata host.Metadata
	make     func(host.Identity) (role.Plan, error)

	identity host.Identity
	stale    bool // identity is the cached one
	misled   bool // no plan could be made from the cached one
	plan     role.Plan
	err      error
}

const (
	// askMetadataWithin is how long the metadata service may give no answer until
	// the step has failed. The agent goes on asking.
	askMetadataWithin = 10 * time.Minute

	// askOnceWithin bounds one question to the metadata service.
	askOnceWithin = time.Minute

	// staleAfter is how long the metadata service may give no answer until the
	// cached answer is used, if there is one. A slow network comes up within some
	// seconds.
	staleAfter = 3 * time.Second
)

// NewIdentify returns the graph that identifies the instance. An error of makePlan
// is permanent.
func NewIdentify(m host.Metadata, makePlan func(host.Identity) (role.Plan, error)) *Identify {
	l := &Identify{Graph: graph.New(), metadata: m, make: makePlan}
	asked := l.Add("instance: metadata", l.ask).Within(askMetadataWithin)
	l.Add("instance: plan", l.makePlan, asked).From(asked)
	return l
}

// Run returns the plan and the identity that it was made from, or why there is no
// plan: a mistake in the user-data or the role file, or the error of ctx.
func (l *Identify) Run(ctx context.Context, log *slog.Logger, report func([]graph.Progress)) (role.Plan, host.Identity, error) {
	running, end := context.WithCancel(ctx)
	defer end()
	l.Graph.Run(running, log, func(progress []graph.Progress) {
		report(progress)
		if last := progress[len(progress)-1]; last.State == graph.Done || last.State == graph.Failed && fault.IsPermanent(last.Err) {
			end()
		}
	})
	if l.err == nil {
		l.err = ctx.Err()
	}
	return l.plan, l.identity, l.err
}

// ask asks the metadata service, and uses the cached answer if there is none.
func (l *Identify) ask(ctx context.Context) error {
	cached, when, cachedErr := l.metadata.Cached()
	if l.misled {
		cachedErr = errors.New("no plan can be made from the cached answer")
	}
	began, within := graph.Since(ctx), askMetadataWithin
	if cachedErr == nil {
		began, within = time.Now(), staleAfter
	}
	err := l.AwaitSince(ctx, began, graph.MaxRest, within, func(ctx context.Context) (err error) {
		once := time.Now().Add(askOnceWithin)
		if cachedErr == nil {
			once = began.Add(staleAfter)
		}
		ctx, cancel := context.WithDeadline(ctx, once)
		defer cancel()
		l.identity, err = l.metadata.Ask(ctx)
		return err
	})
	l.stale = false
	silent := (*fault.Expired)(nil)
	if errors.As(err, &silent) && cachedErr == nil {
		l.identity, l.stale = cached, true
		graph.Warn(ctx, fmt.Sprintf("uses the answer cached at %s, because it %v", stamp(when), silent))
		return nil
	}
	if errors.As(err, &silent) && cachedErr != nil {
		err = fault.WithHint(fmt.Errorf("%w; no cached answer can take its place: %w", err, cachedErr), fault.HintOf(err))
	}
	return err
}

// makePlan makes the plan. A mistake in a fresh answer is permanent; a cached one may
// have been corrected since.
func (l *Identify) makePlan(context.Context) error {
	l.plan, l.err = l.make(l.identity)
	switch {
	case l.err == nil && !l.stale:
		l.metadata.Cache(l.identity)
	case l.err != nil && l.stale:
		l.misled = true
		l.err = fault.WithHint(fmt.Errorf("no plan can be made from the cached answer: %v", l.err), fault.HintOf(l.err)) // not permanent
	case l.err != nil:
		l.err = fault.Permanent(l.err)
	}
	return l.err
}

// Confirm returns when the metadata service has given its answer after all, or at
// once if no cached answer was used. If the two differ, it returns a warning.
func (l *Identify) Confirm(ctx context.Context) (warning string, err error) {
	if !l.stale {
		return "", nil
	}
	var now host.Identity
	for {
		err := l.Await(ctx, askMetadataWithin, func(ctx context.Context) (err error) {
			now, err = l.metadata.Ask(ctx)
			return err
		})
		switch {
		case errors.As(err, new(*fault.Expired)):
			continue
		case err != nil:
			return "", err
		case !now.Equal(l.identity):
			return "used the cached answer, and the metadata service now says something else; to use that: bootagent retry", nil
		}
		return "", nil
	}
}

// stamp is a time as logs write it.
func stamp(t time.Time) string { return t.Local().Format(time.DateTime) }
