// Package service brings up the services of a plan: it grants each what it stands
// on, has it started, waits until it serves, and sees when it stops, and how.
//
// Each service adds two steps to the graph of a boot. The package reads and
// changes nothing itself: it asks the interfaces of package host. Of what a
// service stands on, it knows mount points and disks.
package service

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/unit"
)

// A Config is what a service needs to know of the boot that it is part of.
type Config struct {
	Graph *graph.Graph // gets the steps
	Host  host.Host
	Log   *slog.Logger

	After   []*graph.Step // the last steps of what the service needs
	Mounts  []string      // the mount points that it stands on, sorted
	Secrets []host.Secret // those that it gets even if they are not there, see host.Bypass
	Volumes []Volume      // those that it stands on

	Bypass *host.Bypass // a person's order to start it all the same; nil if there is none

	// Unmounted starts over from the disk of a mount point where nothing is
	// mounted any more, or something whose disk is gone.
	Unmounted func(where string)
}

// A Volume is a volume that a service stands on.
type Volume interface {
	// Device is the step that finds its disk.
	Device() *graph.Step

	// Serial is the serial number of its disk.
	Serial() string

	// Gone reports whether its disk is not there.
	Gone(ctx context.Context) (bool, error)
}

// A Service is one service of the plan: held, granted, up.
type Service struct {
	role.Service
	Config
	granted *graph.Step
	up      *graph.Step
	byHand  atomic.Bool // a person stopped it, as far as this agent knows
	revoked atomic.Bool // the agent has taken its grant away, see Revoke

	// What comeUp knows of it.
	restarts atomic.Int64 // of its own unit, as they were last counted
	looked   bool         // they were counted
	longAgo  int          // of these, those before it last stayed up for long
	upAt     time.Time    // when it was found to serve; zero while it is not
	dead     bool         // it waits for its restart
	died     string       // what it died of last, if that is known
}

// startWithin bounds how long a granted service may take until systemd calls
// it active. Databases set themselves 15 minutes for recovery from a crash;
// this is more, so that their own limit speaks first.
const startWithin = 20 * time.Minute

// Add adds the steps of a service to a graph.
func Add(c Config, plan role.Service) *Service {
	s := &Service{Service: plan, Config: c}
	name := "service " + s.Unit + ": "
	s.granted = c.Graph.Add(name+"grant", s.Grant, c.After...)
	s.up = c.Graph.Add(name+"up", s.comeUp, s.granted).Within(startWithin).Serving()
	return s
}

// Granted is the step that is done when the service may start.
func (s *Service) Granted() *graph.Step { return s.granted }

// Lost reports whether a disk that the service stands on is waited for, by the
// progress of all steps. One that was granted is being stopped then. It keeps its
// grant until it has ended, which can take as long as the disk is away.
func (s *Service) Lost(at map[string]graph.Progress) bool {
	return slices.ContainsFunc(s.Volumes, func(v Volume) bool {
		state := at[v.Device().Name()].State
		return state == graph.Waiting || state == graph.Failed
	})
}

// A Change is a unit whose state has changed.
type Change struct {
	Unit   string
	Active string // its ActiveState= now
	Again  bool   // it was the same at the last look, and perhaps another meanwhile
}

// Down tells whether the unit does not run.
func (c Change) Down() bool { return c.Active == "inactive" || c.Active == "failed" }

// UndoneBy returns what has the steps of the service run again that a change
// undoes, or nil.
func (s *Service) UndoneBy(ctx context.Context, c Change) (undo func()) {
	recheck := func(in ...graph.State) func() {
		return func() { s.Graph.Recheck(s.up, s.Unit+" is "+c.Active, in...) }
	}
	switch {
	case c.Down() && c.Unit == unit.GrantOf(s.Unit):
		return func() { s.lostGrant(ctx, c.Unit) }
	case c.Unit != s.Unit:
	case c.Again && c.Down():
		return recheck(graph.Done)
	case c.Again && c.Active == "active" && s.crashed(ctx):
		return recheck(graph.Done)
	case c.Again:
	case c.Active == "active" && s.startedBySomebody(ctx):
		return func() { s.Graph.Reset(s.up, s.Unit+" was started", graph.Failed) }
	case c.Active == "active":
		return recheck(graph.Failed)
	case c.Active == "activating":
		return recheck(graph.Done) // systemd, or somebody, starts it again
	case c.Down() || c.Active == "deactivating":
		return recheck(graph.Done, graph.Failed)
	}
	return nil
}

// Inspect checks the files that the service relies on and that root can delete:
// that of its grant, and the note that a person stopped it.
func (s *Service) Inspect(ctx context.Context) (err error) {
	if s.Graph.IsDone(s.granted) {
		err = s.keepGrant(ctx)
	}
	if s.byHand.Load() {
		err = errors.Join(err, s.Host.Stops.SetStoppedByHand(s.Unit, true))
	}
	return err
}
