package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"bootagent/pkg/role"
)

// A service is one service of the plan: held, granted, up.
type service struct {
	role.Service
	boot    *Boot
	granted *Step
	up      *Step
	byHand  atomic.Bool // a person stopped it, as far as this agent knows
}

// startWithin bounds how long a granted service may take until systemd calls
// it active. Databases set themselves 15 minutes for recovery from a crash;
// this is more, so that their own limit speaks first.
const startWithin = 20 * time.Minute

// hangsAfter is how long a service whose disk is gone may take to stop.
const hangsAfter = 30 * time.Second

// probeEvery is the rest between two probes of a service that does not serve.
const probeEvery = 2 * time.Second

// grant lets the service start, now that all it needs is there, and starts
// it, unless a person had stopped it.
func (s *service) grant(ctx context.Context) error {
	units := s.boot.world.Units
	for _, where := range s.mounts() {
		_, mounted, err := s.boot.world.Mounts.At(where)
		if err != nil {
			return err
		}
		if !mounted {
			s.boot.unmounted(where) // systemd may not have told
			return fmt.Errorf("%s is not mounted any more", where)
		}
		// Systemd tells nothing of one that a process holds.
		stale, err := s.boot.world.Mounts.Stale(where)
		if err != nil {
			return err
		}
		if stale {
			s.boot.unmounted(where)
			return fmt.Errorf("the disk is gone that is mounted at %s", where)
		}
	}
	if err := units.Grant(ctx, s.Unit, s.mounts()); err != nil {
		return err
	}
	byHand, err := units.StoppedByHand(s.Unit)
	if err != nil || byHand || s.byHand.Load() {
		return err
	}
	return units.StartOnce(ctx, s.Unit)
}

// mounts are the mount points that the service stands on.
func (s *service) mounts() (at []string) {
	for _, need := range s.Needs {
		switch need.Kind {
		case role.KindVolume:
			at = append(at, s.boot.volumes[need.Name].At)
		case role.KindData:
			d := s.boot.data[need.Name]
			at = append(at, d.volume.At, d.Bind)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// volumes are those that the service stands on.
func (s *service) volumes() (volumes []*volume) {
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
func (s *service) lostGrant(ctx context.Context, grant string, mountUnit func(string) string) {
	units := s.boot.world.Units
	now, err := units.State(ctx, grant)
	if err != nil || now.Active == "active" || now.Busy || !s.boot.IsDone(s.granted) {
		return
	}
	standing := true
	for _, where := range s.mounts() {
		mount, err := units.State(ctx, mountUnit(where))
		standing = standing && err == nil && mount.Active == "active" && !mount.Busy
		// One that a process holds stays after its disk has gone.
		stale, err := s.boot.world.Mounts.Stale(where)
		standing = standing && err == nil && !stale
	}
	from := []*Step{s.granted}
	if standing {
		if err := s.setByHand(true); err != nil {
			s.boot.log.Error("cannot note that a person stopped a service", "unit", s.Unit, "error", err)
		}
	}
	for _, v := range s.volumes() {
		from = append(from, v.found)
	}
	s.boot.Undone(s.granted, "the grant of "+s.Unit+" is gone", from...)
}

// comeUp waits until the service is active and its probe, if it has one, says
// that it serves.
func (s *service) comeUp(ctx context.Context) error {
	state, err := s.settled(ctx)
	if err != nil {
		return err
	}
	if state.Active == "active" {
		if err := s.setByHand(false); err != nil {
			return err
		}
		return s.probe(ctx)
	}
	look := "systemctl status " + s.Unit
	ended, err := s.boot.world.Units.Ended(ctx, s.Unit)
	if err != nil {
		return err
	}
	if state.Active == "failed" {
		return Final(WithHint(fmt.Errorf("%s failed: %s", s.Unit, ended.Result), look))
	}
	byHand, err := s.boot.world.Units.StoppedByHand(s.Unit)
	if err != nil {
		return err
	}
	granted, err := s.boot.world.Units.Granted(ctx, s.Unit)
	switch {
	case err != nil:
		return err
	case !granted && !byHand:
		return fmt.Errorf("%s lost its grant", s.Unit)
	case !ended.Ran && !byHand:
		return Final(WithHint(fmt.Errorf("%s was granted and did not start", s.Unit), look))
	}
	if err := s.setByHand(true); err != nil {
		return err
	}
	return Final(WithHint(fmt.Errorf("%s was stopped by hand, or ended by itself", s.Unit),
		"systemctl start "+s.Unit+", or: bootagent retry"))
}

// settled waits until the service has started, or will not. One that is stopped
// while it starts has to stop first.
func (s *service) settled(ctx context.Context) (UnitState, error) {
	for {
		if err := s.stopped(ctx); err != nil {
			return UnitState{}, err
		}
		state, err := s.started(ctx)
		if err != nil || state.Active != "deactivating" {
			return state, err
		}
	}
}

// stopped waits, if the service is being stopped, until it has stopped. One
// that hangs because its disk is gone is killed: nothing that it still holds
// can be written any more, and until it ends, its mounts can't go and nothing
// can come back. MariaDB's unit is never killed by systemd (SendSIGKILL=no).
func (s *service) stopped(ctx context.Context) error {
	units := s.boot.world.Units
	stopping := func(u UnitState) bool { return u.Active == "deactivating" }
	state, err := units.State(ctx, s.Unit)
	if err != nil || !stopping(state) {
		return err
	}
	defer Waits(ctx, Wait{
		For: s.Unit + " to stop", Until: time.Now().Add(startWithin), Hint: "systemctl status " + s.Unit,
	})()
	for range startWithin / hangsAfter {
		patience, cancel := context.WithTimeout(ctx, hangsAfter)
		_, err := units.Await(patience, s.Unit, func(u UnitState) bool { return !stopping(u) })
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
			if err := units.Kill(ctx, s.Unit); err != nil {
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
		if gone, err := v.gone(ctx); err != nil || gone {
			return v.serial(), err
		}
	}
	return "", nil
}

// started waits until systemd has started the service, stops it, or has nothing
// more to do for it.
func (s *service) started(ctx context.Context) (UnitState, error) {
	until := time.Now().Add(startWithin)
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	defer Waits(ctx, Wait{For: s.Unit + " to start", Until: until, Hint: "systemctl status " + s.Unit})()

	state, err := s.boot.world.Units.Await(ctx, s.Unit, func(u UnitState) bool {
		return u.Active == "active" || u.Active == "deactivating" || !u.Busy && (u.Active == "failed" || u.Active == "inactive")
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%s did not start within %s", s.Unit, startWithin)
	}
	return state, err
}

// probe runs the service's probe until it succeeds.
func (s *service) probe(ctx context.Context) error {
	if s.Ready == nil {
		return nil
	}
	until := time.Now().Add(s.Ready.Within)
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	hint := "systemctl status " + s.Ready.Unit
	defer Waits(ctx, Wait{For: s.Unit + " to serve, as " + s.Ready.Unit + " tells", Until: until, Hint: hint})()
	for {
		err := s.boot.world.Units.Probe(ctx, s.Ready.Unit)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(probeEvery):
		case <-ctx.Done():
			return WithHint(fmt.Errorf("%s is active but did not serve within %s: %w", s.Unit, s.Ready.Within, err), hint)
		}
	}
}

// startAgain forgets that a person stopped the service, and starts it if it is
// granted and does not run. One that is not granted yet starts when it is.
func (s *service) startAgain(ctx context.Context) error {
	units := s.boot.world.Units
	if err := s.setByHand(false); err != nil {
		return err
	}
	granted, err := units.Granted(ctx, s.Unit)
	if err != nil || !granted {
		return err
	}
	if err := s.keepGrant(ctx); err != nil {
		return err
	}
	state, err := units.State(ctx, s.Unit)
	if err != nil || state.Active != "inactive" && state.Active != "failed" {
		return err
	}
	return units.Start(ctx, s.Unit)
}

// uncleanStop says what was not clean about how the service stopped, or "".
func (s *service) uncleanStop(ctx context.Context) string {
	state, err := s.boot.world.Units.State(ctx, s.Unit)
	if err != nil {
		return err.Error()
	}
	ended, err := s.boot.world.Units.Ended(ctx, s.Unit)
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
// the progress of the story.
func (b *Boot) Held(progress []Progress) map[string]Progress {
	at := make(map[string]Progress, len(progress))
	for _, p := range progress {
		at[p.Step] = p
	}
	held := make(map[string]Progress)
	for _, s := range b.services {
		if by := s.granted.heldBy(at); by != nil {
			held[s.Unit] = at[by.name]
		}
	}
	return held
}

// heldBy follows a step's needs to the first one that holds it up.
func (s *Step) heldBy(at map[string]Progress) *Step {
	if at[s.name].State == Done {
		return nil
	}
	for _, need := range s.needs {
		if by := need.heldBy(at); by != nil {
			return by
		}
	}
	return s
}

// String says in a sentence what a step is at.
func (p Progress) String() string {
	switch p.State {
	case Waiting:
		return fmt.Sprintf("%s: waiting since %s until %s for %s",
			p.Step, clock(p.Since), until(p.Since, p.Wait.Until), p.Wait.For)
	case Failed:
		return fmt.Sprintf("%s failed at %s: %v", p.Step, clock(p.Since), p.Err)
	}
	text := fmt.Sprintf("%s: %s since %s", p.Step, p.State, clock(p.Since))
	if p.Err != nil {
		text += fmt.Sprintf(", after it failed: %v", p.Err)
	}
	return text
}

// clock is a time of day as people compare it with their own clock.
func clock(t time.Time) string { return t.Format(time.TimeOnly) }

// until is the end of what began at a time, with its day where that is another.
func until(began, end time.Time) string {
	if began.Format(time.DateOnly) != end.Format(time.DateOnly) {
		return end.Format(time.DateTime)
	}
	return clock(end)
}
