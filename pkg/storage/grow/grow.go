// Package grow makes the filesystem of a volume larger when its disk is: while it is
// mounted and in use, where the role or a person allows it. It decides, and asks the
// interfaces of package host.
//
// A volume is grown layer by layer, from its disk up; layers.go lists the layers.
package grow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/size"
)

// A Config is what a growth needs to know of the boot that it is part of.
type Config struct {
	Graph  *graph.Graph // gets the step
	Host   host.Host
	Role   string // of this instance; a ledger has to name it
	Log    *slog.Logger
	Volume *storage.Volume
	Needs  []*graph.Step // all steps that read or change what is on the volume
}

// A Growth is the growth of one volume.
type Growth struct {
	Config
	plan    role.Volume
	step    *graph.Step
	ordered atomic.Bool // a person has asked for it
}

// Add adds the step of a growth to the graph of a boot. Nothing needs it, and the
// role is ready without it: what it waits for, and what it fails of, is a warning.
func Add(c Config, plan role.Volume) *Growth {
	g := &Growth{Config: c, plan: plan}
	g.step = c.Graph.Add("volume "+plan.Name+": grow", g.run, c.Needs...).Within(plan.Timeout).Aside()
	return g
}

// Again looks again whether the disk is larger than its filesystem, because of why.
func (g *Growth) Again(why string) { g.Graph.Recheck(g.step, why, graph.Done, graph.Failed) }

// within is how long a growth may take. ext4 writes the tables of each new group: at
// the 125 MiB/s that a gp3 volume has at least, those of 64 TiB take two hours.
const within = 6 * time.Hour

// run grows the volume if it is larger than its filesystem, and if that is allowed.
// It may run again after a crash at any point: what it does is to compare sizes, and
// what it has begun goes on without it.
func (g *Growth) run(ctx context.Context) error {
	at, err := g.look(ctx)
	if err != nil {
		return err
	}
	if at.layer == nil {
		g.ordered.Store(false)
		return nil
	}
	if !g.plan.Grow && !g.ordered.Load() {
		graph.Warn(ctx, fmt.Sprintf("%s; to grow it: bootagent grow %s", at, g.plan.Name))
		return nil
	}
	if err := g.Volume.Await(ctx, g.confirmTwice(at.disk)); err != nil {
		return err
	}
	done := graph.SetWaiting(ctx, graph.Wait{For: at.layer.name() + " to be " + at.change(), Until: time.Now().Add(within)})
	err = at.layer.grow(ctx, at)
	done()
	if err != nil {
		return err
	}
	now, err := g.look(ctx)
	switch {
	case err != nil:
		return err
	case now.layer != nil:
		return fmt.Errorf("it was grown, and yet: %s", now)
	}
	g.ordered.Store(false)
	graph.Answer(ctx, "it was "+at.change())
	g.Log.Info("a filesystem was grown", "volume", g.plan.Name, "serial", at.disk.Serial, "from", at.size, "to", at.room)
	return nil
}

// confirm returns nil once EC2 is sure of the size of the disk. Where EC2 does not
// answer, or may not be asked, the volume is not grown: room can be waited for.
func (g *Growth) confirm(ctx context.Context, disk host.Disk) error {
	return size.Sure(ctx, g.Host.Volumes, g.plan.Find, disk)
}

// told is how late EC2 may tell of a modification: until then it may call the volume
// never modified, and yet of the new size.
const told = 15 * time.Second

// confirmTwice is confirm where EC2 may be late: EC2 has to be sure twice.
func (g *Growth) confirmTwice(disk host.Disk) func(context.Context) error {
	var first time.Time // that it was sure
	return func(ctx context.Context) error {
		if err := g.confirm(ctx, disk); err != nil {
			first = time.Time{}
			return err
		}
		if first.IsZero() {
			first = time.Now()
		}
		if g.plan.Find.Plugged() || time.Since(first) >= told {
			return nil
		}
		return &fault.Pending{For: fmt.Sprintf("EC2 to say a second time that disk %s has %d bytes: it may tell late of a modification that can fail", disk.Serial, disk.Size)}
	}
}

// Order grows the volume because a person asks for it, and says what is done; or
// only what would be, if it is only to be told. The error says why nothing is done.
func (g *Growth) Order(ctx context.Context, only bool) (answer string, err error) {
	for _, need := range g.Needs {
		if !g.Graph.IsDone(need) {
			return "", fault.WithHint(fmt.Errorf("not before this is done: %s", need.Name()), "bootagent status says why it is not")
		}
	}
	at, err := g.look(ctx)
	if err != nil {
		return "", err
	}
	if at.layer == nil {
		return fmt.Sprintf("volume %s has nothing to grow: %s", g.plan.Name, at), nil
	}
	later, pending := "", (*fault.Pending)(nil)
	if err := g.confirm(ctx, at.disk); errors.As(err, &pending) {
		later = "; it has to wait for " + pending.For
	} else if err != nil {
		return "", err
	}
	answer = fmt.Sprintf("volume %s: %s. %s", g.plan.Name, at, at.layer.name())
	if only {
		return answer + " would be " + at.change() + ", while it is in use" + later +
			". It can't be made smaller again. Nothing was changed; to do it: bootagent grow " + g.plan.Name, nil
	}
	g.ordered.Store(true)
	g.Log.Info("a person has a filesystem grown", "volume", g.plan.Name, "serial", at.disk.Serial, "from", at.size, "to", at.room)
	g.Again("bootagent grow")
	return answer + " is " + at.change() + ", while it is in use" + later + ". bootagent status tells how it goes", nil
}
