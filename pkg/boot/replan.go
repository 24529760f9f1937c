package boot

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// Takes tells whether a plan that was read anew can take this one's place while
// the machine runs, and if not, of what and why. What was not made true yet can
// be another; so can what only says how a step goes on: format, adopt, timeout,
// if-absent, ready. What is mounted, staged or granted in this boot of the
// machine stays as it is until the next.
func (b *Boot) Takes(ctx context.Context, next role.Plan) error {
	var fixed []string // what can't be another, in words
	note := func(what string, changed []string) {
		if len(changed) > 0 {
			fixed = append(fixed, what+": "+strings.Join(changed, ", "))
		}
	}
	anything := false
	for _, v := range b.plan.Volumes {
		_, mounted, err := b.host.Mounts.At(v.Mount)
		if err != nil {
			return err
		}
		if mounted {
			anything = true
			i := slices.IndexFunc(next.Volumes, func(n role.Volume) bool { return n.Name == v.Name })
			note(fmt.Sprintf("volume %s is mounted at %s", v.Name, v.Mount), changedVolume(v, i, next.Volumes))
		}
	}
	for _, d := range b.plan.Data {
		_, mounted, err := b.host.Mounts.At(d.Bind)
		if err != nil {
			return err
		}
		if mounted {
			anything = true
			i := slices.IndexFunc(next.Data, func(n role.Data) bool { return n.Name == d.Name })
			note(fmt.Sprintf("data %s is bound to %s", d.Name, d.Bind), changedData(d, i, next.Data))
		}
	}
	for _, s := range b.plan.Secrets {
		version, err := b.host.Secrets.Staged(host.Secret(s))
		if err != nil {
			return err
		}
		if version != "" {
			anything = true
			i := slices.IndexFunc(next.Secrets, func(n role.Secret) bool { return n.Name == s.Name })
			note(fmt.Sprintf("secret %s is decrypted", s.Name), changedSecret(s, i, next.Secrets))
		}
	}
	for _, s := range b.plan.Services {
		granted, err := b.host.Grants.Granted(ctx, s.Unit)
		if err != nil {
			return err
		}
		if granted {
			anything = true
			i := slices.IndexFunc(next.Services, func(n role.Service) bool { return n.Unit == s.Unit })
			note(s.Unit+" is granted", changedService(s, i, next.Services))
		}
	}
	if anything && next.Role != b.plan.Role {
		fixed = []string{fmt.Sprintf("role %s is in force, and the new one is %s", b.plan.Role, next.Role)}
	}
	if len(fixed) == 0 {
		return nil
	}
	return fault.WithHint(errors.New("the change needs a reboot, and nothing was changed: "+strings.Join(fixed, "; ")),
		"systemctl reboot; or undo the change, then: bootagent retry")
}

// noMore says that the new plan does not name it.
var noMore = []string{"the new plan does not name it"}

func changedVolume(v role.Volume, i int, next []role.Volume) []string {
	if i < 0 {
		return noMore
	}
	n := next[i]
	return changes("find", reflect.DeepEqual(v.Find, n.Find), "filesystem", v.Filesystem == n.Filesystem, "mount", v.Mount == n.Mount,
		"options", slices.Equal(v.Options, n.Options))
}

func changedData(d role.Data, i int, next []role.Data) []string {
	if i < 0 {
		return noMore
	}
	n := next[i]
	return changes("volume", d.Volume == n.Volume, "dir", d.Dir == n.Dir, "bind", d.Bind == n.Bind, "engine", d.Engine == n.Engine, "owner", d.Owner == n.Owner, "group", d.Group == n.Group, "mode", d.Mode == n.Mode)
}

func changedSecret(s role.Secret, i int, next []role.Secret) []string {
	if i < 0 {
		return noMore
	}
	n := next[i]
	return changes("from", s.From == n.From, "credential", s.Credential == n.Credential, "services", slices.Equal(s.Services, n.Services))
}

func changedService(s role.Service, i int, next []role.Service) []string {
	if i < 0 {
		return noMore
	}
	return changes("what it needs", slices.Equal(s.Needs, next[i].Needs))
}

// changes names what is not the same, of pairs of a name and whether it is.
func changes(pairs ...any) (changed []string) {
	for i := 0; i < len(pairs); i += 2 {
		if !pairs[i+1].(bool) {
			changed = append(changed, pairs[i].(string)+" has changed")
		}
	}
	return changed
}
