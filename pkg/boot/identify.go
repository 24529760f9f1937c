package boot

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

// A Launch is the way to a plan, where a cloud tells the instance who it is:
// it asks for that and for the user-data, and makes the plan of the two.
type Identify struct {
	*graph.Graph
	metadata host.Metadata
	make     func(host.Identity) (role.Plan, error)

	identity host.Identity
	stale    bool // on facts that were kept
	misled   bool // by them: no plan could be made
	plan     role.Plan
	err      error
}

const (
	// askMetadataWithin is how long the metadata service may be out of reach
	// until its step has failed. It is asked on.
	askMetadataWithin = 10 * time.Minute

	// askOnceWithin bounds one question to it.
	askOnceWithin = time.Minute

	// relyAfter is how long the metadata service may be silent until an
	// instance that was told before who it is goes by that. A network that is
	// slow to come up takes some seconds.
	staleAfter = 3 * time.Second
)

// NewLaunch tells the story of a launch. Make makes the plan; an error of its
// own can't be mended by trying again.
func NewIdentify(m host.Metadata, makePlan func(host.Identity) (role.Plan, error)) *Identify {
	l := &Identify{Graph: graph.New(), metadata: m, make: makePlan}
	asked := l.Add("instance: metadata", l.ask).Within(askMetadataWithin)
	l.Add("instance: plan", l.makePlan, asked).From(asked)
	return l
}

// Run returns the plan and what it was made of, or why there is none: what is
// wrong with the user-data or the role, or the error of ctx.
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

// ask asks the metadata service, and goes by its last answer where it is
// silent.
func (l *Identify) ask(ctx context.Context) error {
	kept, when, keptErr := l.metadata.Cached()
	if l.misled {
		keptErr = errors.New("no plan can be made of what was kept")
	}
	began, within := graph.Since(ctx), askMetadataWithin
	if keptErr == nil {
		began, within = time.Now(), staleAfter
	}
	err := l.AwaitSince(ctx, began, graph.MaxRest, within, func(ctx context.Context) (err error) {
		once := time.Now().Add(askOnceWithin)
		if keptErr == nil {
			once = began.Add(staleAfter)
		}
		ctx, cancel := context.WithDeadline(ctx, once)
		defer cancel()
		l.identity, err = l.metadata.Ask(ctx)
		return err
	})
	l.stale = false
	silent := (*fault.Expired)(nil)
	if errors.As(err, &silent) && keptErr == nil {
		l.identity, l.stale = kept, true
		graph.Warn(ctx, fmt.Sprintf("relies on what was kept at %s, as it %v", Stamp(when), silent))
		return nil
	}
	if errors.As(err, &silent) && keptErr != nil {
		err = fault.WithHint(fmt.Errorf("%w; nothing that was kept can take its place: %w", err, keptErr), fault.HintOf(err))
	}
	return err
}

// makePlan makes the plan. What is wrong with a fresh answer is for a person to
// mend; a kept one may have been mended since.
func (l *Identify) makePlan(context.Context) error {
	l.plan, l.err = l.make(l.identity)
	switch {
	case l.err == nil && !l.stale:
		l.metadata.Cache(l.identity)
	case l.err != nil && l.stale:
		l.misled = true
		l.err = fault.WithHint(fmt.Errorf("no plan can be made of what was kept: %v", l.err), fault.HintOf(l.err)) // not final
	case l.err != nil:
		l.err = fault.Permanent(l.err)
	}
	return l.err
}

// Confirm returns when a launch that relied on what was kept has been told the
// same by the metadata service, which may be at once, or something else: that
// is a remark on what the boot relies on.
func (l *Identify) Confirm(ctx context.Context) (remark string, err error) {
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
			return "relied on what was kept, and the metadata service now says otherwise: that counts after: bootagent retry", nil
		}
		return "", nil
	}
}

// stamp is a time as people find it in a log.
func Stamp(t time.Time) string { return t.Local().Format(time.DateTime) }
