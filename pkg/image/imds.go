package image

import (
	"fmt"
	"strings"

	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/systemd/unitfile"
)

// checkPass looks whether services with imds: allow would pass a lock of
// systemd-imdsd. Where nothing locks, they need no pass, and they start without it.
func (i Image) checkPass(units *unitfile.Tree, r *Report) {
	var allowed []string
	for _, h := range Holds(i.Roles) {
		if h.IMDS && h.Unit == h.Service {
			allowed = append(allowed, h.Service)
		}
	}
	if len(allowed) == 0 {
		return
	}
	suggest := func(why string) {
		r.Suggested = append(r.Suggested, fmt.Sprintf("%s (imds: allow) would not pass the lock that systemd.imds.network=locked makes: %s", strings.Join(allowed, ", "), why))
	}
	if units.Masked(guard.PassUnit) {
		for _, p := range guard.CheckStart(units, guard.PassUnit) {
			suggest(p.String())
		}
	}
	// systemd mounts it where the kernel has BPF. An image has no kernel that runs.
	if mounts, err := units.Read("/proc/self/mounts"); !i.Kept && err == nil && !strings.Contains(string(mounts), " /sys/fs/bpf bpf ") {
		suggest("no BPF file system is mounted on /sys/fs/bpf, so the kernel may have no BPF")
	}
}
