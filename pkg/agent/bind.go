package agent

import (
	"context"
	"slices"

	"bootagent/pkg/data/auto"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
)

// bind finds where the data is bound whose bind is auto, before any step of the boot
// depends on it. It tries again until it knows that, or an error is permanent.
func (a *Agent) bind(ctx context.Context, learnt *Lesson, h host.Host) error {
	a.mu.Lock()
	a.host = h
	before := a.identified
	a.mu.Unlock()
	if !auto.Unbound(learnt.Plan) {
		return nil
	}
	running, end := context.WithCancel(ctx)
	defer end()
	var last error
	g := graph.New()
	g.RetryWithin, g.Jitter, g.Wrap = h.RetryWithin, a.Jitter, a.Wrap
	g.Add("instance: paths", func(ctx context.Context) error {
		last = a.bindOnce(ctx, learnt, h)
		return last
	})
	a.begin(g, nil, nil)
	g.Run(running, a.Log, func(progress []graph.Progress) {
		all := slices.Concat(before, progress)
		a.mu.Lock()
		a.identified = all
		a.mu.Unlock()
		a.Report.Identifying(all)
		if p := progress[0]; p.State == graph.Done || p.State == graph.Failed && fault.IsPermanent(p.Err) {
			end()
		}
	})
	return last
}

// bindOnce is bind without a second try.
func (a *Agent) bindOnce(ctx context.Context, learnt *Lesson, h host.Host) error {
	if !auto.Unbound(learnt.Plan) {
		return nil
	}
	former, err := a.Keep.InForce()
	if err != nil {
		return err
	}
	bound, err := auto.Bind(ctx, h.Engines, h.Mounts, learnt.Plan, former)
	if err == nil {
		learnt.Plan = bound
	}
	return err
}
