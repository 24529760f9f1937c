package sim

import (
	"context"
	"time"

	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
	"bootagent/pkg/storage/stop"
)

// The mistakes about how the services on a volume stopped.
var ofStops = []mutant{
	{name: "the mark of a clean stop is not cleared", breaks: "that it has stopped", change: func(s *seams) {
		var last *stop.Stop
		answers(&s.readLedger, func(_ string, src *[]byte) {
			if l, err := ledger.Decode(*src); err == nil && l != nil {
				last = l.Stopped
			}
		})
		writesLedger(func(l *storage.Ledger) {
			if l.Stopped == nil {
				l.Stopped = last
			}
		})(s)
	}},
	{name: "the mark of a clean stop is cleared after the grant", breaks: "that it has stopped", change: func(s *seams) {
		write, grant := s.writeLedger, s.grant
		later := func() error { return nil }
		s.writeLedger = func(ctx context.Context, root string, ledger []byte) error {
			if root == volumeAt && s.inStep("volume data: ledger") {
				later = func() error { return write(ctx, root, ledger) }
				return nil
			}
			return write(ctx, root, ledger)
		}
		s.grant = func(ctx context.Context, unit string, mounts []string) error {
			if err := grant(ctx, unit, mounts); err != nil {
				return err
			}
			return later()
		}
	}},
	{name: "that the mark of a clean stop is cleared is not synced", breaks: "that it has stopped", change: func(s *seams) {
		write := s.writeLedger
		s.writeLedger = func(ctx context.Context, root string, ledger []byte) error {
			if root == volumeAt && s.inStep("volume data: ") {
				return ledgers{s.agent}.write(ctx, root, ledger, false)
			}
			return write(ctx, root, ledger)
		}
	}},
	{name: "a stop that nobody noted was clean", breaks: "which is not so", change: writesLedger(func(l *storage.Ledger) {
		if l.Before != nil {
			l.Before.Clean = true
		}
	})},
	{name: "a service that was killed has stopped cleanly", breaks: "which is not so", change: writesLedger(func(l *storage.Ledger) {
		if l.Stopped != nil {
			l.Stopped.Clean = true
		}
	})},
	{name: "a service that never started has stopped cleanly", breaks: "which is not so", change: func(s *seams) {
		answers(&s.began, func(unit string, began *time.Duration) {
			if unit == database {
				*began = time.Since(s.agent.machine.world.began)
			}
		})
	}},
}
