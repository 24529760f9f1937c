package sim

import (
	"context"

	"bootagent/pkg/host"
)

// bypassesAs changes which bypasses an agent sees.
func bypassesAs(change func(*agent, map[string]host.Bypass)) func(*seams) {
	return func(s *seams) {
		bypassed := s.bypassed
		s.bypassed = func() (map[string]host.Bypass, error) {
			all, err := bypassed()
			change(s.agent, all)
			return all, err
		}
	}
}

// The mistakes about bypasses.
var ofBypasses = []mutant{
	{name: "a bypass skips the proof of the data, too", change: bypassesAs(func(_ *agent, all map[string]host.Bypass) {
		for unit, b := range all {
			b.WithoutProof = true
			all[unit] = b
		}
	})},
	{name: "a new agent forgets that a bypass was without proof", breaks: "under a database", change: bypassesAs(func(a *agent, all map[string]host.Bypass) {
		for unit, b := range all {
			b.WithoutProof = b.WithoutProof && a.machine.agents < 2
			all[unit] = b
		}
	})},
	{name: "a service goes on when its bypass has ended", breaks: "without its secret", change: func(s *seams) {
		s.revoke = func(context.Context, string) error { return nil }
	}},
	{name: "a bypass is forgotten with its agent", breaks: "has to be told", change: bypassesAs(func(a *agent, all map[string]host.Bypass) {
		if a.machine.agents > 1 {
			clear(all)
		}
	})},
}
