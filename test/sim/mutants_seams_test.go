package sim

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
)

// answers changes what a seam answers. An error stays as it is.
func answers[Q, A any](seam *func(context.Context, Q) (A, error), change func(Q, *A)) {
	ask := *seam
	*seam = func(ctx context.Context, about Q) (A, error) {
		answer, err := ask(ctx, about)
		if err == nil {
			change(about, &answer)
		}
		return answer, err
	}
}

// says is answers for a seam that has no context.
func says[Q, A any](seam *func(Q) (A, error), change func(Q, *A)) {
	ask := *seam
	*seam = func(about Q) (A, error) {
		answer, err := ask(about)
		if err == nil {
			change(about, &answer)
		}
		return answer, err
	}
}

// reads changes what the proof of a disk finds.
func reads(change func(*host.Content)) func(*seams) {
	return func(s *seams) {
		read := s.readDisk
		s.readDisk = func(ctx context.Context, d host.Disk, of host.Reading) (host.Content, error) {
			content, err := read(ctx, d, of)
			if err == nil {
				change(&content)
			}
			return content, err
		}
	}
}

// finds changes in which state a data directory is found.
func finds(change func(path string, found *host.DirectoryReport)) func(*seams) {
	return func(s *seams) {
		examine := s.examine
		s.examine = func(ctx context.Context, d host.Data, set host.EngineSettings) (host.DirectoryReport, error) {
			found, err := examine(ctx, d, set)
			if err == nil {
				change(d.Dir, &found)
			}
			return found, err
		}
	}
}

// isReady says of a directory that the engine can start on it, where what is
// wrong with it has these words.
func isReady(words string) func(*seams) {
	return finds(func(_ string, found *host.DirectoryReport) {
		if found.State != host.Absent && strings.Contains(found.Reason, words) {
			found.State = host.Ready
		}
	})
}

// edited changes a ledger, where there is one.
func edited(src []byte, change func(*storage.Ledger)) []byte {
	l, err := ledger.Decode(src)
	if err != nil || l == nil {
		return src
	}
	change(l)
	changed, err := l.Encode()
	if err != nil {
		return src
	}
	return changed
}

// readsLedger changes what a ledger says when it is read.
func readsLedger(change func(*storage.Ledger)) func(*seams) {
	return func(s *seams) {
		answers(&s.readLedger, func(_ string, ledger *[]byte) { *ledger = edited(*ledger, change) })
		answers(&s.look, func(_ host.Disk, seen *host.Look) { seen.Ledger = edited(seen.Ledger, change) })
	}
}

// writesLedger changes what is written into a ledger.
func writesLedger(change func(*storage.Ledger)) func(*seams) {
	return func(s *seams) {
		write := s.writeLedger
		s.writeLedger = func(ctx context.Context, root string, ledger []byte) error {
			return write(ctx, root, edited(ledger, change))
		}
		introduce := s.introduce
		s.introduce = func(ctx context.Context, d host.Disk, i host.Introduction) error {
			i.Ledger = edited(i.Ledger, change)
			return introduce(ctx, d, i)
		}
	}
}

// step replaces what the steps do whose names begin so.
func (s *seams) step(prefix string, does func(ctx context.Context, run graph.Func) error) {
	before := s.run
	s.run = func(step string, run graph.Func) graph.Func {
		run = before(step, run)
		if !strings.HasPrefix(step, prefix) {
			return run
		}
		return func(ctx context.Context) error { return does(ctx, run) }
	}
}

// fails changes the errors of steps.
func fails(prefix string, change func(error) error) func(*seams) {
	return func(s *seams) {
		s.step(prefix, func(ctx context.Context, run graph.Func) error {
			err := run(ctx)
			if err == nil || ctx.Err() != nil {
				return err
			}
			return change(err)
		})
	}
}

// asksCloud changes each question about a volume to which the answer may be
// that it is to be waited for.
func asksCloud(change func(ask func(context.Context) error) func(context.Context) error) func(*seams) {
	return func(s *seams) {
		find, claim, attach := s.findVolume, s.claim, s.attach
		s.findVolume = func(ctx context.Context, of host.Find) (id name.VolumeID, err error) {
			err = change(func(ctx context.Context) (err error) { id, err = find(ctx, of); return err })(ctx)
			return id, err
		}
		s.claim = func(ctx context.Context, id name.VolumeID) error {
			return change(func(ctx context.Context) error { return claim(ctx, id) })(ctx)
		}
		s.attach = func(ctx context.Context, id name.VolumeID) error {
			return change(func(ctx context.Context) error { return attach(ctx, id) })(ctx)
		}
	}
}

// lastDisk returns what returns the disk that was found last.
func (s *seams) lastDisk() func() host.Disk {
	var mu sync.Mutex
	var last host.Disk
	find := s.findDisk
	s.findDisk = func(ctx context.Context, serial string) (host.Disk, bool, error) {
		disk, there, err := find(ctx, serial)
		if there && err == nil {
			mu.Lock()
			defer mu.Unlock()
			last = disk
		}
		return disk, there, err
	}
	return func() host.Disk {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

// both makes two changes.
func both(changes ...func(*seams)) func(*seams) {
	return func(s *seams) {
		for _, change := range changes {
			change(s)
		}
	}
}

// inStep reports whether a step calls, and not another part of the agent.
func (s *seams) inStep(prefix string) bool {
	actor := s.agent.actor()
	return strings.Contains(actor, ": ") && strings.HasPrefix(actor, prefix)
}

// works reports whether the function of a step runs.
func (a *agent) works(step string) bool {
	state := a.stateOf(step)
	return state == graph.Running || state == graph.Waiting
}

// isPending reports whether something is to be waited for.
func isPending(err error) bool { return errors.As(err, new(*fault.Pending)) }

// patience changes how long things may take: to n times of it, or one nth.
func patience(times, part time.Duration) func(*role.Role) {
	return func(p *role.Role) {
		p.Volumes = slices.Clone(p.Volumes)
		for i := range p.Volumes {
			p.Volumes[i].Timeout = p.Volumes[i].Timeout * times / part
		}
	}
}

// needs changes what services need.
func needs(change func([]role.Need) []role.Need) func(*role.Role) {
	return func(p *role.Role) {
		p.Services = slices.Clone(p.Services)
		for i := range p.Services {
			p.Services[i].Needs = change(slices.Clone(p.Services[i].Needs))
		}
	}
}
