package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
)

// hangsAfter is how long a service whose disk is gone may take to stop.
const hangsAfter = 30 * time.Second

// Stopped waits, if the service is being stopped, until it has stopped. One
// that hangs because its disk is gone is killed: nothing that it still holds
// can be written any more, and until it ends, its mounts can't go and nothing
// can come back. MariaDB's unit is never killed by systemd (SendSIGKILL=no).
func (s *Service) Stopped(ctx context.Context) error {
	stopping := func(u host.UnitState) bool { return u.Active == "deactivating" }
	state, err := s.Host.Units.State(ctx, s.Unit)
	if err != nil || !stopping(state) {
		return err
	}
	defer graph.SetWaiting(ctx, graph.Wait{
		For: s.Unit + " to stop", Until: time.Now().Add(startWithin), Hint: "systemctl status " + s.Unit,
	})()
	for range startWithin / hangsAfter {
		patience, cancel := context.WithTimeout(ctx, hangsAfter)
		_, err := s.Host.Units.Await(patience, s.Unit, func(u host.UnitState) bool { return !stopping(u) })
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
		gone, err := s.diskGone(ctx)
		if err != nil {
			return err
		}
		if gone != "" {
			s.Log.Warn("killing "+s.Unit+", which hangs", "why", "its disk "+gone+" is gone")
			if err := s.Host.Jobs.Kill(ctx, s.Unit); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%s did not stop within %s", s.Unit, startWithin)
}

// diskGone is the serial number of a disk that the service stands on and that
// is not there, or "".
func (s *Service) diskGone(ctx context.Context) (string, error) {
	for _, v := range s.Volumes {
		if gone, err := v.Gone(ctx); err != nil || gone {
			return v.Serial(), err
		}
	}
	return "", nil
}

// RanSince reports whether the service was started at some time, or later: since
// counts from the start of the kernel.
func (s *Service) RanSince(ctx context.Context, since time.Duration) (bool, error) {
	began, err := s.Host.Runs.Began(ctx, s.Unit)
	return err == nil && began >= since, err
}

// UncleanStop says what was not clean about how the service stopped, or "".
func (s *Service) UncleanStop(ctx context.Context) string {
	state, err := s.Host.Units.State(ctx, s.Unit)
	if err != nil {
		return err.Error()
	}
	ended, err := s.Host.Runs.Ended(ctx, s.Unit)
	switch {
	case err != nil:
		return err.Error()
	case state.Active != "inactive" && state.Active != "failed":
		return s.Unit + " had not stopped"
	case ended.Result == "timeout" && ended.Processes: // SendSIGKILL=no
		return s.Unit + " had not stopped within TimeoutStopSec= of its unit, and still runs"
	case ended.Result == "timeout":
		return s.Unit + " was killed when it had not stopped within TimeoutStopSec= of its unit"
	case ended.Result == "watchdog":
		return s.Unit + " was killed by its watchdog"
	case ended.Died != "" && ended.Result != "success":
		return fmt.Sprintf("%s failed: %s", s.Unit, ended.Died)
	case state.Active != "inactive":
		return fmt.Sprintf("%s is %s: %s", s.Unit, state.Active, ended.Result)
	case ended.Result != "success":
		return fmt.Sprintf("%s ended with %s", s.Unit, ended.Result)
	case ended.Processes:
		return s.Unit + " left processes behind"
	}
	return ""
}
