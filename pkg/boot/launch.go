package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"bootagent/pkg/role"
)

// A Launch is the way to a plan, where a cloud tells the instance who it is:
// it asks for that and for the user-data, and makes the plan of the two.
type Launch struct {
	*Story
	metadata Metadata
	make     func(Facts) (role.Plan, error)

	facts  Facts
	relied bool // on facts that were kept
	misled bool // by them: no plan could be made
	plan   role.Plan
	err    error
}

// Metadata is what the cloud tells of the instance.
type Metadata interface {
	// Ask asks for it. A Pending_ says why there is no answer yet.
	Ask(ctx context.Context) (Facts, error)

	// Keep keeps an answer that a plan could be made of.
	Keep(f Facts)

	// Kept is the answer that was kept last, and when that was, if it was given
	// to this very machine.
	Kept() (Facts, time.Time, error)
}

// Facts are what an instance is told of itself.
type Facts struct {
	Instance role.Instance
	UserData []byte // nil where there is none
	RoleTag  string // of the instance, "" where there is none
}

func (f Facts) equal(to Facts) bool {
	return f.Instance == to.Instance && bytes.Equal(f.UserData, to.UserData) && f.RoleTag == to.RoleTag
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
	relyAfter = 3 * time.Second
)

// NewLaunch tells the story of a launch. Make makes the plan; an error of its
// own can't be mended by trying again.
func NewLaunch(m Metadata, makePlan func(Facts) (role.Plan, error)) *Launch {
	l := &Launch{Story: NewStory(), metadata: m, make: makePlan}
	asked := l.Tell("instance: metadata", l.ask).Within(askMetadataWithin)
	l.Tell("instance: plan", l.makePlan, asked).From(asked)
	return l
}

// Run returns the plan and what it was made of, or why there is none: what is
// wrong with the user-data or the role, or the error of ctx.
func (l *Launch) Run(ctx context.Context, log *slog.Logger, report func([]Progress)) (role.Plan, Facts, error) {
	running, end := context.WithCancel(ctx)
	defer end()
	l.Story.Run(running, log, func(progress []Progress) {
		report(progress)
		if last := progress[len(progress)-1]; last.State == Done || last.State == Failed && IsPermanent(last.Err) {
			end()
		}
	})
	if l.err == nil {
		l.err = ctx.Err()
	}
	return l.plan, l.facts, l.err
}

// ask asks the metadata service, and goes by its last answer where it is
// silent.
func (l *Launch) ask(ctx context.Context) error {
	kept, when, keptErr := l.metadata.Kept()
	if l.misled {
		keptErr = errors.New("no plan can be made of what was kept")
	}
	began, within := since(ctx), askMetadataWithin
	if keptErr == nil {
		began, within = time.Now(), relyAfter
	}
	err := l.awaitSince(ctx, began, mostRest, within, func(ctx context.Context) (err error) {
		once := time.Now().Add(askOnceWithin)
		if keptErr == nil {
			once = began.Add(relyAfter)
		}
		ctx, cancel := context.WithDeadline(ctx, once)
		defer cancel()
		l.facts, err = l.metadata.Ask(ctx)
		return err
	})
	l.relied = false
	silent := (*Expired)(nil)
	if errors.As(err, &silent) && keptErr == nil {
		l.facts, l.relied = kept, true
		Remark(ctx, fmt.Sprintf("relies on what was kept at %s, as it %v", stamp(when), silent))
		return nil
	}
	if errors.As(err, &silent) && keptErr != nil {
		err = WithHint(fmt.Errorf("%w; nothing that was kept can take its place: %w", err, keptErr), HintOf(err))
	}
	return err
}

// makePlan makes the plan. What is wrong with a fresh answer is for a person to
// mend; a kept one may have been mended since.
func (l *Launch) makePlan(context.Context) error {
	l.plan, l.err = l.make(l.facts)
	switch {
	case l.err == nil && !l.relied:
		l.metadata.Keep(l.facts)
	case l.err != nil && l.relied:
		l.misled = true
		l.err = WithHint(fmt.Errorf("no plan can be made of what was kept: %v", l.err), HintOf(l.err)) // not final
	case l.err != nil:
		l.err = Permanent(l.err)
	}
	return l.err
}

// Confirm returns when a launch that relied on what was kept has been told the
// same by the metadata service, which may be at once, or something else: that
// is a remark on what the boot relies on.
func (l *Launch) Confirm(ctx context.Context) (remark string, err error) {
	if !l.relied {
		return "", nil
	}
	var now Facts
	for {
		err := l.await(ctx, askMetadataWithin, func(ctx context.Context) (err error) {
			now, err = l.metadata.Ask(ctx)
			return err
		})
		switch {
		case errors.As(err, new(*Expired)):
			continue
		case err != nil:
			return "", err
		case !now.equal(l.facts):
			return "relied on what was kept, and the metadata service now says otherwise: that counts after: bootagent retry", nil
		}
		return "", nil
	}
}

// stamp is a time as people find it in a log.
func stamp(t time.Time) string { return t.Local().Format(time.DateTime) }
