package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
)

// The mistakes about data directories and secrets.
var ofData = []mutant{
	{name: "a new database is made beside one that was renamed", change: readsLedger(func(l *storage.Ledger) { delete(l.Data, "orders") })},
	{name: "a database that is gone is made anew", breaks: `the volume's ledger says that it was there`, change: readsLedger(func(l *storage.Ledger) {
		for name, d := range l.Data {
			d.Ready = false
			l.Data[name] = d
		}
	})},
	{name: "a damaged directory passes for a good one", change: finds(func(path string, found *host.DirectoryReport) {
		if found.State == host.Damaged && !strings.Contains(path, ".initializing-") {
			found.State = host.Ready
		}
	})},
	{name: "half of a database passes for a whole one", change: both(
		finds(func(path string, found *host.DirectoryReport) {
			if found.State == host.Damaged && strings.Contains(path, ".initializing-") {
				found.State = host.Ready
			}
		}),
		func(s *seams) {
			initialize := s.initialize
			s.initialize = func(ctx context.Context, d host.Data, set host.EngineSettings) error {
				_ = initialize(ctx, d, set)
				return nil
			}
		},
	)},
	{name: "a database of somebody else's is started", change: isReady("belongs to")},
	{name: "a database that a newer engine used is started", change: isReady("used it")},
	{name: "a database of another engine is started", change: isReady("cannot read")},
	{name: "a database whose initialisation did not finish is started", change: finds(func(path string, found *host.DirectoryReport) {
		if strings.Contains(found.Reason, "did not finish") && !strings.Contains(path, ".initializing-") {
			found.State = host.Ready
		}
	})},
	{name: "a database of an older PostgreSQL is started", breaks: "whose version the engine does not open", change: isReady("it is of PostgreSQL 13")},
	{name: "a database of a newer PostgreSQL is started", change: isReady("it is of PostgreSQL 17")},
	{name: "a database of PostgreSQL that initdb did not finish is started", change: isReady("initdb did not finish")},
	{name: "a new database is started where it was made, and gets no name", change: func(s *seams) {
		s.publish = func(context.Context, string, string) error { return nil }
	}},
	{name: "a directory on a disk that is gone is looked at for ever", change: func(s *seams) {
		disk, find, at, stale := s.lastDisk(), s.findDisk, s.at, s.stale
		s.stale = func(where string) (bool, error) { // which would have the way of the volume begin anew
			if !s.inStep("volume ") {
				return false, nil
			}
			return stale(where)
		}
		s.findDisk = func(ctx context.Context, serial string) (host.Disk, bool, error) {
			if s.inStep("data ") {
				return disk(), true, nil
			}
			return find(ctx, serial)
		}
		s.at = func(where string) (uint64, bool, error) {
			if where == volumeAt && s.inStep("data ") {
				return disk().Dev, true, nil
			}
			return at(where)
		}
	}},
	{name: "a part of the data is used that the service does not need", change: func(s *seams) {
		settings := s.settings
		s.settings = func(ctx context.Context, d host.Data, units []string) (host.EngineSettings, error) {
			set, err := settings(ctx, d, units)
			set.Elsewhere = nil
			return set, err
		}
	}},
	{name: "a part of the data that was emptied passes for a new one", breaks: "without what was in a part of its data", change: finds(func(path string, found *host.DirectoryReport) {
		if strings.HasSuffix(path, "/spool") {
			found.Empty = false
		}
	})},
	{name: "an empty directory of Redis passes for a new database", breaks: "on an empty directory, whose data somebody removed", change: finds(func(path string, found *host.DirectoryReport) {
		if strings.HasSuffix(path, "/mysql") {
			found.Empty = false
		}
	})},
	{name: "a new database of Redis is never noted to have data", breaks: "on an empty directory, whose data somebody removed", change: func(s *seams) {
		write := s.writeLedger
		s.writeLedger = func(ctx context.Context, path string, ledger []byte) error {
			return write(ctx, path, edited(ledger, func(l *storage.Ledger) {
				d := l.Data["mysql"]
				d.Filled = d.Filled && d.Engine != "redis"
				if l.Data != nil {
					l.Data["mysql"] = d
				}
			}))
		}
	}},
	{name: "a database of Redis that a newer one used is started", change: isReady("has format")},
	{name: "a copy by hand is taken before all of it is there", breaks: "on half of a copy", change: func(s *seams) {
		names := s.names
		s.names = func(ctx context.Context, path string) ([]string, error) {
			all, err := names(ctx, path)
			return slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == "mysql.copying" && slices.Contains(all, "mysql") }), err
		}
	}},
	{name: "a copy by hand is taken before it is on the disk", change: func(s *seams) {
		s.sync = func(context.Context, string) error { return nil }
	}},
	{name: "half of a copy passes for a whole one", breaks: "on half of a copy", change: func(s *seams) {
		s.compare = func(context.Context, string, string) (string, error) { return "", nil }
	}},

	{name: "an engine is asked again although its data is bound", breaks: "is bound to /var/lib/", forgets: true},

	// Secrets and keys.
	{name: "what nobody sealed is taken for the secret", change: func(s *seams) {
		open := s.open
		s.open = func(ctx context.Context, of host.Secret, p host.Payload) error {
			if open(ctx, of, p) == nil {
				return nil
			}
			return s.agent.call(ctx, "stage", of.Credential+", as it was fetched", effect{do: func() error {
				s.agent.machine.staged[of.Credential] = string(p.Bytes()) + "!"
				return nil
			}})
		}
	}},
	{name: "a service is granted without its secret", role: needs(func(all []role.Need) []role.Need {
		return slices.DeleteFunc(all, func(n role.Need) bool { return n.Kind == role.KindSecret })
	})},
	{name: "a secret counts as staged before it is", change: func(s *seams) {
		says(&s.staged, func(_ host.Secret, staged *string) { *staged = "1" })
	}},
	{name: "a secret is staged each time anew", change: func(s *seams) {
		says(&s.staged, func(_ host.Secret, staged *string) { *staged = "" })
	}},
	{name: "an error tells the secret", change: func(s *seams) {
		open := s.open
		s.open = func(ctx context.Context, of host.Secret, p host.Payload) error {
			if err := open(ctx, of, p); err != nil {
				return fmt.Errorf("cannot open %q: %w", plaintext, err)
			}
			return nil
		}
	}},
	{
		name: "nobody tells the key that was brought", misses: func(_ *agent, event string) bool { return event == keyEvent },
		change: func(s *seams) {
			unlock := s.unlock
			s.unlock = func(ctx context.Context) error {
				err := unlock(ctx)
				if isPending(err) {
					defer graph.SetWaiting(ctx, graph.Wait{For: "a key", Until: s.agent.started.Add(s.real.UnlockWithin)})()
					<-ctx.Done()
				}
				return err
			}
		},
	},
}
