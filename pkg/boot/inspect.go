package boot

import (
	"context"
	"errors"

	"bootagent/pkg/host"
)

// Inspect checks what the boot made and what no event tells the loss of: the file of
// a grant, a note that a person stopped a service, a staged secret, a configuration
// file. All of these are files, which root can delete.
func (b *Boot) Inspect(ctx context.Context) error {
	errs := []error{b.lookForLeft(ctx)}
	for _, s := range b.services {
		errs = append(errs, s.Inspect(ctx))
	}
	for _, f := range b.plan.Files {
		errs = append(errs, b.files[f.Name].Inspect())
	}
	for _, s := range b.plan.Secrets {
		sec := b.secrets[s.Name]
		if !b.IsDone(sec.opened) {
			continue
		}
		version, err := b.host.Secrets.Staged(host.Secret(s))
		if err == nil && version == "" {
			b.Invalidate(sec.opened, "secret "+s.Name+" is not staged any more", sec.needs...)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
