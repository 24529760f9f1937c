package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"bootagent/pkg/role/ready"
)

type probes struct{ *agent }

// Probe asks the database of the machine.
func (p probes) Probe(ctx context.Context, service string, r ready.Ready) (answer string, err error) {
	m, w, done := p.machine, p.machine.world, time.Time{}
	err = p.call(ctx, "probe", r.String(), effect{
		do: func() error {
			p.mayTake(ctx, r)
			done = time.Now().Add(w.between(50*time.Millisecond, 2*time.Second))
			w.in(time.Until(done), m.id, "", func() {})
			return nil
		},
		until: func() bool { return !time.Now().Before(done) && !w.mute },
		result: func() (err error) {
			answer, err = m.services[service].answers(r, w.lies)
			return err
		},
	})
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return answer, err
}

// mayTake breaks where one try may take longer than the role allows.
func (p probes) mayTake(ctx context.Context, r ready.Ready) {
	until, bounded := ctx.Deadline()
	if limit := cmp.Or(r.TryTimeout, r.Timeout); !bounded || time.Until(until) > limit {
		p.machine.world.breaks("%s probes by %s for longer than the %s that one try may take", p.name, r, limit)
	}
}

// recovers is how long a database that accepts connections does not serve yet.
const recovers = 3 * time.Second

// answers is what a service answers to a probe. One that lies succeeds whatever the
// service does: another server listens there.
func (s *service) answers(r ready.Ready, lies bool) (string, error) {
	runs := s.active == "active"
	serves := runs && time.Since(s.since) >= recovers
	switch {
	case r.Unit != "" && !runs:
		return "", fmt.Errorf("the start of %s ended as %q", r.Unit, "failed")
	case r.Unit != "":
		return "", nil
	case lies, (r.TCP != "" || r.Unix != "") && runs, serves:
		return "it serves", nil
	case r.HTTP != "" && runs:
		return "", errors.New("503 Service Unavailable: recovers")
	case len(r.Command) > 0 && runs:
		return "", errors.New("exited with status 1: recovers")
	case len(r.Command) > 0:
		return "", errors.New("exited with status 1: there is no server")
	}
	return "", errors.New("connection refused")
}
