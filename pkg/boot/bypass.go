package boot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/service"
)

// A bypass lets one service start although not all that it needs is there. It is in
// force for a Boot from its beginning: who gives or ends one starts over.

// applyBypasses reads which bypasses are in force, and sees to it that nothing is
// mounted under a service that started without proof.
func (b *Boot) applyBypasses() {
	if b.host.Bypasses == nil {
		return // the steps of a plan are only printed
	}
	all, err := b.host.Bypasses.Bypassed()
	if err != nil {
		b.log.Error("cannot tell of all bypasses", "error", err)
	}
	b.bypassed = all
	under := make(map[string]string)
	for _, s := range b.plan.Services {
		if bypass, ok := all[s.Unit]; ok && bypass.WithoutProof {
			for _, where := range b.plan.MountsOf(s.Unit) {
				under[where] = s.Unit
			}
		}
	}
	if len(under) > 0 {
		b.host.Mounts = notUnder{b.host.Mounts, under}
	}
}

// notUnder mounts nothing where a service has started without proof: it would use
// its old files and the new ones side by side.
type notUnder struct {
	host.Mounts
	units map[string]string // by mount point
}

func (n notUnder) Mount(ctx context.Context, m host.Mount) error {
	if unit, is := n.units[m.Where]; is {
		return fault.Refuse(fmt.Sprintf("when %s may stop: bootagent bypass %s --end", unit, unit),
			"cannot mount %s: %s was started there by a bypass without proof", m.Where, unit)
	}
	return n.Mounts.Mount(ctx, m)
}

// isProof tells whether a need is a proof of data, which a bypass keeps unless it is
// without proof.
func isProof(k role.NeedKind) bool { return k == role.KindVolume || k == role.KindData }

// secretsOf are the secrets that a service gets.
func (b *Boot) secretsOf(unit string) (secrets []host.Secret) {
	for _, s := range b.plan.Secrets {
		if slices.Contains(s.Services, unit) {
			secrets = append(secrets, host.Secret(s))
		}
	}
	return secrets
}

func (b *Boot) service(unit string) *service.Service {
	i := slices.IndexFunc(b.services, func(s *service.Service) bool { return s.Unit == unit })
	if i < 0 {
		return nil
	}
	return b.services[i]
}

// HasService reports whether the plan has a service.
func (b *Boot) HasService(unit string) bool { return b.service(unit) != nil }

// Bypass puts a bypass of a service of the plan in force, for the next Boot. It is
// refused if the service is granted, and if its volumes and data are not proven, unless
// the bypass is without proof.
func (b *Boot) Bypass(ctx context.Context, want host.Bypass) error {
	s := b.service(want.Unit)
	granted, err := b.host.Grants.Granted(ctx, want.Unit)
	if err != nil {
		return err
	}
	if was, ok := b.bypassed[want.Unit]; ok && (granted || was.WithoutProof || !want.WithoutProof) {
		return fault.Refuse("to end that: bootagent bypass "+want.Unit+" --end", "a bypass is in force already: %s", was)
	}
	if granted {
		return fault.Refuse("systemctl start "+want.Unit, "%s is not held: it has its grant", want.Unit)
	}
	if unproven := b.missing(s, isProof); len(unproven) > 0 && !want.WithoutProof {
		return fault.Refuse("bootagent status says why; only if you know what is at its paths: bootagent help bypass",
			"the data of %s is not proven: not done: %s", want.Unit, strings.Join(unproven, ", "))
	}
	return b.host.Bypasses.Bypass(want)
}

// missing are the last steps of the needs of a service, of some kinds, that are not
// done.
func (b *Boot) missing(s *service.Service, of func(role.NeedKind) bool) (names []string) {
	for _, step := range b.after(s.Needs, of) {
		if !b.IsDone(step) {
			names = append(names, step.Name())
		}
	}
	return names
}

// EndBypass ends a bypass, for the next Boot. If not all that the service needs is
// there by now, its grant is taken away, and so it stops. It returns the steps that
// are missing.
func (b *Boot) EndBypass(ctx context.Context, unit string) (missing []string, err error) {
	bypass, ok := b.bypassed[unit]
	if !ok {
		return nil, fault.Permanent(fmt.Errorf("no bypass of %s is in force", unit))
	}
	missing = b.missing(b.service(unit), func(role.NeedKind) bool { return true })
	if bypass.WithoutProof && missing == nil {
		missing = []string{"the proof of its data, which it started without"}
	}
	if missing != nil {
		err = b.service(unit).Revoke(ctx)
	}
	return missing, errors.Join(err, b.host.Bypasses.EndBypass(unit))
}

// Bypassed says of each bypass that is in force what its service lacks, from the
// progress of all steps.
func (b *Boot) Bypassed(progress []graph.Progress) (all []Lack) {
	at := make(map[string]graph.Progress, len(progress))
	for _, p := range progress {
		at[p.Step] = p
	}
	for _, unit := range slices.Sorted(maps.Keys(b.bypassed)) {
		lack := Lack{Bypass: b.bypassed[unit]}
		if s := b.service(unit); s != nil {
			for _, step := range b.after(s.Needs, func(role.NeedKind) bool { return true }) {
				if by := step.HeldBy(at); by != nil && !slices.Contains(lack.Steps, at[by.Name()].String()) {
					lack.Steps = append(lack.Steps, at[by.Name()].String())
				}
			}
		}
		all = append(all, lack)
	}
	return all
}

// A Lack is what a service lacks that is started by a bypass.
type Lack struct {
	host.Bypass
	Steps []string // that are not done, in words
}
