package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
	"bootagent/pkg/unit"
)

// A service is one service of the plan: held, granted, up.
type service struct {
	role.Service
	boot    *Boot
	granted *graph.Step
	up      *graph.Step
	byHand  atomic.Bool // a person stopped it, as far as this agent knows

	// What comeUp knows of it.
	restarts atomic.Int64 // of its own unit, as they were last counted
	looked   bool         // they were counted
	longAgo  int          // of these, those before it last stayed up for long
	upAt     time.Time    // when it was found to serve; zero while it is not
	dead     bool         // it waits for its restart
	died     string       // what it died of last, if that is known
}

// hangsAfter is how long a service whose disk is gone may take to stop.
const hangsAfter = 30 * time.Second

// grant lets the service start, now that all it needs is there, and starts
// it, unless a person had stopped it.
func (s *service) grant(ctx context.Context) error {
	for _, where := range s.mounts() {
		_, mounted, err := s.boot.host.Mounts.At(where)
		if err != nil {
			return err
		}
		if !mounted {
			s.boot.unmounted(where) // systemd may not have told
			return fmt.Errorf("%s is not mounted any more", where)
		}
		// Systemd tells nothing of one that a process holds.
		stale, err := s.boot.host.Mounts.Stale(where)
		if err != nil {
			return err
		}
		if stale {
			s.boot.unmounted(where)
			return fmt.Errorf("the disk is gone that is mounted at %s", where)
		}
	}
	if err := s.boot.host.Grants.Grant(ctx, s.Unit, s.mounts()); err != nil {
		return err
	}
	graph.Observed(ctx) // what was told of the grant is older than this one
	byHand, err := s.boot.host.Stops.StoppedByHand(s.Unit)
	if err != nil || byHand || s.byHand.Load() {
		return err
	}
	return s.boot.host.Jobs.StartOnce(ctx, s.Unit)
}

// mounts are the mount points that the service stands on.
func (s *service) mounts() (at []string) {
	for _, need := range s.Needs {
		switch need.Kind {
		case role.KindVolume:
			at = append(at, s.boot.volumes[need.Name].Mount)
		case role.KindData:
			d := s.boot.data[need.Name]
			at = append(at, d.volume.Mount, d.Bind)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// volumes are those that the service stands on.
func (s *service) volumes() (volumes []*storage.Volume) {
	for _, need := range s.Needs {
		switch need.Kind {
		case role.KindVolume:
			volumes = append(volumes, s.boot.volumes[need.Name])
		case role.KindData:
			volumes = append(volumes, s.boot.data[need.Name].volume)
		}
	}
	return volumes
}

// lostGrant starts over from what the grant stands on. Where that is all
// there, it was a person who took the grant away, and with it the service. A
// grant that has yet to start, after the agent itself, is not lost.
func (s *service) lostGrant(ctx context.Context, grant string) {
	now, err := s.boot.host.Units.State(ctx, grant)
	if err != nil || now.Active == "active" || now.Busy {
		return
	}
	if !s.boot.IsDone(s.granted) {
		s.boot.Recheck(s.granted, grant+" is not active", graph.Done) // if it is just being made
		return
	}
	standing := true
	for _, where := range s.mounts() {
		mount, err := s.boot.host.Units.State(ctx, unit.MountAt(where))
		standing = standing && err == nil && mount.Active == "active" && !mount.Busy
		// One that a process holds stays after its disk has gone.
		stale, err := s.boot.host.Mounts.Stale(where)
		standing = standing && err == nil && !stale
	}
	from := []*graph.Step{s.granted}
	if standing {
		if err := s.setByHand(true); err != nil {
			s.boot.log.Error("cannot note that a person stopped a service", "unit", s.Unit, "error", err)
		}
	}
	for _, v := range s.volumes() {
		from = append(from, v.Device())
	}
	s.boot.Invalidate(s.granted, "the grant of "+s.Unit+" is gone", from...)
}

// stopped waits, if the service is being stopped, until it has stopped. One
// that hangs because its disk is gone is killed: nothing that it still holds
// can be written any more, and until it ends, its mounts can't go and nothing
// can come back. MariaDB's unit is never killed by systemd (SendSIGKILL=no).
func (s *service) stopped(ctx context.Context) error {
	stopping := func(u host.UnitState) bool { return u.Active == "deactivating" }
	state, err := s.boot.host.Units.State(ctx, s.Unit)
	if err != nil || !stopping(state) {
		return err
	}
	defer graph.SetWaiting(ctx, graph.Wait{
		For: s.Unit + " to stop", Until: time.Now().Add(startWithin), Hint: "systemctl status " + s.Unit,
	})()
	for range startWithin / hangsAfter {
		patience, cancel := context.WithTimeout(ctx, hangsAfter)
		_, err := s.boot.host.Units.Await(patience, s.Unit, func(u host.UnitState) bool { return !stopping(u) })
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
		gone, err := s.diskGone(ctx)
		if err != nil {
			return err
		}
		if gone != "" {
			s.boot.log.Warn("killing "+s.Unit+", which hangs", "why", "its disk "+gone+" is gone")
			if err := s.boot.host.Jobs.Kill(ctx, s.Unit); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%s did not stop within %s", s.Unit, startWithin)
}

// diskGone is the serial number of a disk that the service stands on and that
// is not there, or "".
func (s *service) diskGone(ctx context.Context) (string, error) {
	for _, v := range s.volumes() {
		if gone, err := v.Gone(ctx); err != nil || gone {
			return v.Serial(), err
		}
	}
	return "", nil
}

// startAgain forgets that a person stopped the service, and starts it if it is
// granted and does not run. One that is not granted yet starts when it is.
func (s *service) startAgain(ctx context.Context) error {
	if err := s.setByHand(false); err != nil {
		return err
	}
	granted, err := s.boot.host.Grants.Granted(ctx, s.Unit)
	if err != nil || !granted {
		return err
	}
	if err := s.keepGrant(ctx); err != nil {
		return err
	}
	state, err := s.boot.host.Units.State(ctx, s.Unit)
	if err != nil || state.Active != "inactive" && state.Active != "failed" {
		return err
	}
	return s.boot.host.Jobs.Start(ctx, s.Unit)
}

// release waits until the services that stand on a volume have stopped, if they
// are being stopped, and unmounts what is bound from a disk that is gone.
func (b *Boot) release(ctx context.Context, v *storage.Volume) (err error) {
	for _, s := range b.services {
		if slices.Contains(s.volumes(), v) {
			err = errors.Join(err, s.stopped(ctx))
		}
	}
	for _, d := range b.plan.Data {
		if err == nil && d.Volume == v.Name {
			err = v.UnmountStale(ctx, d.Bind)
		}
	}
	return err
}

// uncleanStop says what was not clean about how the services that stand on a
// volume stopped, or "".
func (b *Boot) uncleanStop(ctx context.Context, v *storage.Volume) (why string) {
	for _, s := range b.services {
		if slices.Contains(s.volumes(), v) {
			why = cmp.Or(s.uncleanStop(ctx), why)
		}
	}
	return why
}

// uncleanStop says what was not clean about how the service stopped, or "".
func (s *service) uncleanStop(ctx context.Context) string {
	state, err := s.boot.host.Units.State(ctx, s.Unit)
	if err != nil {
		return err.Error()
	}
	ended, err := s.boot.host.Runs.Ended(ctx, s.Unit)
	switch {
	case err != nil:
		return err.Error()
	case state.Active != "inactive":
		return fmt.Sprintf("%s is %s: %s", s.Unit, state.Active, ended.Result)
	case ended.Result != "success":
		return fmt.Sprintf("%s ended with %s", s.Unit, ended.Result)
	case ended.Processes:
		return s.Unit + " left processes behind"
	}
	return ""
}

// Held says of each service that may not start yet which step holds it, from
// the progress of all steps.
func (b *Boot) Held(progress []graph.Progress) map[string]graph.Progress {
	at := make(map[string]graph.Progress, len(progress))
	for _, p := range progress {
		at[p.Step] = p
	}
	held := make(map[string]graph.Progress)
	for _, s := range b.services {
		if by := s.granted.HeldBy(at); by != nil {
			held[s.Unit] = at[by.Name()]
		}
	}
	return held
}
