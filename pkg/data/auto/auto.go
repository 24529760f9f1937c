// Package auto finds where the data of a plan is bound whose bind is auto: where
// its engine keeps its data, as the services of the plan start it. It asks by the
// interfaces of package host, and changes nothing.
package auto

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/syntax"
)

// Engines tell how they are set, as host.Engines do.
type Engines interface {
	Settings(ctx context.Context, d host.Data, units []string) (host.EngineSettings, error)
}

// Mounts tell what is mounted at a path, as host.Mounts do.
type Mounts interface {
	At(where string) (dev uint64, mounted bool, err error)
}

// Unbound tells whether a plan has data of which it is not known yet where it is
// bound.
func Unbound(plan role.Plan) bool {
	return slices.ContainsFunc(plan.Data, func(d role.Data) bool { return d.Auto && d.Bind == "" })
}

// Bind returns the plan with a path for all data that is bound to auto. Former is
// the plan that was in force before in this boot of the machine, or nil: what is
// mounted where that plan bound it stays there, whatever the engine says by now,
// since the engine may be running on it. An error that is permanent is for a
// person to mend.
func Bind(ctx context.Context, engines Engines, mounts Mounts, plan role.Plan, former *role.Plan) (role.Plan, error) {
	plan.Data = slices.Clone(plan.Data)
	for i := range plan.Data {
		d := &plan.Data[i]
		if !d.Auto || d.Bind != "" {
			continue
		}
		bind, err := stays(mounts, plan, *d, former)
		if err == nil && bind == "" {
			bind, err = ask(ctx, engines, plan, *d)
		}
		if err != nil {
			return plan, fmt.Errorf("cannot tell where data %q is bound: %w", d.Name, err)
		}
		d.Bind = bind
	}
	return plan, nil
}

// stays returns where the former plan bound the same data, if something is
// mounted there.
func stays(mounts Mounts, plan role.Plan, d role.Data, former *role.Plan) (bind string, err error) {
	if former == nil || former.Role != plan.Role {
		return "", nil
	}
	i := slices.IndexFunc(former.Data, func(was role.Data) bool { return was.Auto && was.Name == d.Name && was.Engine == d.Engine })
	if i < 0 || former.Data[i].Bind == "" {
		return "", nil
	}
	_, mounted, err := mounts.At(former.Data[i].Bind)
	if err != nil || !mounted {
		return "", err
	}
	return former.Data[i].Bind, nil
}

// ask asks the engine of data where it keeps that. The answer has to be a path to
// which a role file could bind the data.
func ask(ctx context.Context, engines Engines, plan role.Plan, d role.Data) (bind string, err error) {
	set, err := engines.Settings(ctx, host.Data{Name: d.Name, Engine: string(d.Engine), Owner: d.Owner}, plan.ServicesOf(d.Name))
	if err != nil {
		return "", err
	}
	if set.DataDirectory == "" {
		return "", fault.Refuse("write the path in place of auto for bind: in the role file; then: bootagent retry",
			"bind is auto, and %s does not say where it keeps its data", d.Engine)
	}
	bind = filepath.Clean(set.DataDirectory)
	err = syntax.CheckMountPoint(bind)
	if err == nil {
		err = syntax.Apart(bind, others(plan, d.Name))
	}
	if err != nil {
		return "", fault.Refuse(
			fmt.Sprintf("have %s keep its data elsewhere, by its own settings or those of its service, such as in /var/lib/%s; then: bootagent retry", d.Engine, d.Name),
			"%s uses the data directory %s, by its own settings, and nothing can be bound there: %w", d.Engine, bind, err)
	}
	return bind, nil
}

// others is what is mounted for a plan beside some data of it, as far as that is
// known.
func others(plan role.Plan, data string) (places []syntax.Place) {
	for _, v := range plan.Volumes {
		places = append(places, syntax.Place{Path: v.Mount, What: fmt.Sprintf("the mount point of volume %q", v.Name)})
	}
	for _, d := range plan.Data {
		if d.Name != data && d.Bind != "" {
			places = append(places, syntax.Place{Path: d.Bind, What: fmt.Sprintf("the bind of data %q", d.Name)})
		}
	}
	return places
}
