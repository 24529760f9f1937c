// Package health tells when nothing can be written any more to a volume that is mounted:
// its filesystem has stopped after an error. A database that goes on reading may not say
// so for long.
//
// It decides, and asks the interfaces of package host. It changes nothing: when a
// service is to be stopped for that, a person says.
package health

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/unit"
)

// Every is how often it is looked. No kernel tells of it for all filesystems.
const Every = 30 * time.Second

// A Config is what the health of a volume needs to know of the boot that it is part of.
type Config struct {
	Graph  *graph.Graph // gets the step
	Host   host.Host
	Device *graph.Step // is done while the volume's disk is there

	// Services returns the units of the services that use the volume.
	Services func() []string
}

// A Health is that of one volume.
type Health struct {
	Config
	plan role.Volume
	step *graph.Step
	told atomic.Value // string: why nothing can be written, as the step knows it
}

// Add adds the step of a volume's health to the graph of a boot. Nothing needs it, and
// what it fails of is a warning.
func Add(c Config, plan role.Volume) *Health {
	h := &Health{Config: c, plan: plan}
	h.told.Store("")
	h.step = c.Graph.Add("volume "+plan.Name+": health", h.run, c.Device).Within(plan.Timeout).Aside()
	return h
}

func (h *Health) run(ctx context.Context) error {
	why, err := h.Host.Mounts.Stopped(ctx, h.plan.Mount)
	if err != nil {
		return err
	}
	h.told.Store(why)
	if why == "" {
		return nil
	}
	again := "systemctl stop --no-block " + unit.MountAt(h.plan.Mount)
	if units := h.Services(); len(units) > 0 {
		again += "; a service that does not stop, because it cannot write, is ended by: systemctl kill --signal=SIGKILL " + strings.Join(units, " ")
	}
	return fault.Permanent(fault.WithHint(
		fmt.Errorf("nothing can be written any more to the %s filesystem at %s: %s", h.plan.Filesystem, h.plan.Mount, why),
		"see what the kernel says: journalctl --dmesg --priority=warning --no-pager; to have the services stopped, the filesystem checked and mounted again, and the services started: "+again))
}

// Look has the step run again if it would end in another way than it has.
func (h *Health) Look(ctx context.Context) {
	if !h.Graph.IsDone(h.Device) {
		return
	}
	if why, err := h.Host.Mounts.Stopped(ctx, h.plan.Mount); err == nil && why != h.told.Load() {
		h.Graph.Recheck(h.step, "the filesystem has changed", graph.Done, graph.Failed)
	}
}
