package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bootagent/test/lab/qemu"
)

// A usage is the CPU time and memory that the agent has used when its role is ready.
type usage struct {
	own      time.Duration // user and system time of the process itself: RUSAGE_SELF
	children time.Duration // of the children that it waited for: RUSAGE_CHILDREN
	peak     int64         // VmHWM, in bytes
}

// usage reads the numbers from the kernel. The sums in /proc/PID/stat are those of getrusage(2), in ticks
// of 10 ms, and include threads that have ended.
func (g guest) usage(ctx context.Context) (usage, error) {
	out, err := g.sh(ctx, "pid=$(systemctl show --value --property=MainPID bootagent) && "+
		"cat /proc/$pid/stat && sed -n 's/^VmHWM:\\s*\\([0-9]*\\) kB$/\\1/p' /proc/$pid/status")
	if err != nil {
		return usage{}, err
	}
	stat, peak, _ := strings.Cut(out, "\n")
	u, err := parseStat(stat)
	if err != nil {
		return usage{}, err
	}
	kib, err := strconv.ParseInt(peak, 10, 64)
	if err != nil {
		return usage{}, fmt.Errorf("cannot read the agent's peak memory: %w", err)
	}
	u.peak = kib << 10
	return u, nil
}

// A tick is the kernel's unit for CPU times of a process, 1/sysconf(_SC_CLK_TCK) on amd64.
const tick = 10 * time.Millisecond

// parseStat reads the times in a line of /proc/PID/stat, proc(5).
func parseStat(line string) (usage, error) {
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:]) // from the third field on
	if len(fields) < 15 {
		return usage{}, fmt.Errorf("cannot parse a line of /proc/PID/stat: %q", line)
	}
	var ticks [4]time.Duration // utime, stime, cutime, cstime
	for i, field := range fields[11:15] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("cannot parse a line of /proc/PID/stat: %w", err)
		}
		ticks[i] = time.Duration(n)
	}
	return usage{own: (ticks[0] + ticks[1]) * tick, children: (ticks[2] + ticks[3]) * tick}, nil
}

// sandbox measures the part of the agent's CPU time that systemd uses: systemd sets up the sandbox in the
// process that then executes the agent. It runs cat in the same sandbox, which uses next to no time itself.
func (g guest) sandbox(ctx context.Context) (time.Duration, error) {
	const dropIn = "/run/systemd/system/bootagent.service.d/figures.conf"
	out, err := g.sh(ctx, "mkdir -p $(dirname "+dropIn+") && printf '[Service]\\nExecStartPre=/bin/cat /proc/self/stat\\n' >"+dropIn+" && "+
		"systemctl daemon-reload && for n in 1 2 3; do systemctl restart bootagent; done && "+
		"rm "+dropIn+" && systemctl daemon-reload && systemctl restart bootagent && "+
		"journalctl --boot --output=cat --unit=bootagent _COMM=cat")
	if err != nil {
		return 0, err
	}
	var all []time.Duration
	for line := range strings.Lines(out) {
		u, err := parseStat(strings.TrimSpace(line))
		if err != nil {
			return 0, err
		}
		all = append(all, u.own)
	}
	if len(all) != 3 {
		return 0, fmt.Errorf("cannot measure the agent's sandbox: got %q, not 3 lines", out)
	}
	_, median, _ := spread(all)
	return median, nil
}

// alone measures the CPU time of "bootagent version", which is that of any start of the program: the
// kernel loads it, and the runtime and the packages initialise. The agent uses it once, and again for each
// child process that runs bootagent.
func (g guest) alone(ctx context.Context) (time.Duration, error) {
	const times = 10
	out, err := g.sh(ctx, fmt.Sprintf("for n in $(seq %d); do bootagent version >/dev/null; done; read -r line </proc/$$/stat; echo \"$line\"", times))
	if err != nil {
		return 0, err
	}
	u, err := parseStat(out)
	return u.children / times, err
}

// usages prints the medians of several usages. It subtracts sandbox, systemd's part, from the own time.
func usages(headline string, sandbox time.Duration, all []usage) error {
	var own, children []time.Duration
	var peak []int64
	for _, u := range all {
		own, children, peak = append(own, u.own-sandbox), append(children, u.children), append(peak, u.peak)
	}
	t := newTable("The agent when its role is ready, %s", headline)
	t.row("own CPU time", seconds(spread(own)), "aim: 0.3 s")
	t.row("before that, systemd's for its sandbox", seconds(sandbox, sandbox, sandbox))
	t.row("of its children", seconds(spread(children)))
	low, mid, high := spread(peak)
	t.row("own peak memory", between(float64(low)/1e6, float64(mid)/1e6, float64(high)/1e6, "MB", 1), "aim: 20 MB")
	return t.print()
}

const (
	calms   = 15 * time.Second // how long to wait for the end of the boot
	watched = 30 * time.Second // how long to measure the agent while it waits
)

// firstBoot boots a machine without its disk, and then plugs in the blank disk. It returns the CPU time
// that systemd uses for the agent's sandbox.
func firstBoot(ctx context.Context, g guest, disk *qemu.Disk) (sandbox time.Duration, err error) {
	if err := g.Boot(ctx); err != nil {
		return 0, err
	}
	if err := g.until(ctx, "the agent to wait for its disk", "bootagent status | grep -q 'waiting since'"); err != nil {
		return 0, err
	}
	about, err := g.about(ctx)
	if err != nil {
		return 0, err
	}
	fmt.Printf("\n%s\n", about)

	var seen [2]usage
	for i, wait := range []time.Duration{calms, watched} {
		if err := rest(ctx, wait); err != nil {
			return 0, err
		}
		if seen[i], err = g.usage(ctx); err != nil {
			return 0, err
		}
	}
	if err := g.Plug(ctx, disk); err != nil {
		return 0, err
	}
	if err := g.up(ctx, byAgent, bootTakes); err != nil {
		return 0, err
	}
	u, err := g.usage(ctx)
	if err != nil {
		return 0, err
	}
	if sandbox, err = g.sandbox(ctx); err != nil {
		return 0, err
	}
	if err := usages("first boot: makes filesystem and database (1 run)", sandbox, []usage{u}); err != nil {
		return 0, err
	}
	alone, err := g.alone(ctx)
	if err != nil {
		return 0, err
	}
	t := newTable("One start of the program (bootagent version, the mean of 10)")
	t.row("CPU time", seconds(alone, alone, alone))
	if err := t.print(); err != nil {
		return 0, err
	}
	t = newTable("The agent while it waits for its disk, for %s", watched)
	t.row("own CPU time", fmt.Sprintf("%.1f ms in a second", (seen[1].own-seen[0].own).Seconds()*1000/watched.Seconds()))
	return sandbox, t.print()
}

// booted boots the machine with its disk, each way in turn.
func booted(ctx context.Context, g guest, disk *qemu.Disk, sandbox time.Duration, boots int) error {
	if err := g.Plug(ctx, disk); err != nil {
		return err
	}
	var all []usage
	started := make(map[way][]time.Duration)
	for range boots {
		for _, w := range []way{byHand, byAgent} {
			if err := g.change(ctx, w); err != nil {
				return err
			}
			if err := g.PowerOff(ctx); err != nil {
				return err
			}
			if err := g.Start(ctx); err != nil {
				return err
			}
			if err := g.up(ctx, w, bootTakes); err != nil {
				return err
			}
			at, err := g.startJob(ctx)
			if err != nil {
				return err
			}
			started[w] = append(started[w], at)
			if w == byAgent {
				u, err := g.usage(ctx)
				if err != nil {
					return err
				}
				all = append(all, u)
			}
			if err := g.down(ctx); err != nil {
				return err
			}
		}
	}
	if err := usages(fmt.Sprintf("later boots: filesystem and database exist (%d runs)", boots), sandbox, all); err != nil {
		return err
	}
	return compare(fmt.Sprintf("From the start of the kernel to MariaDB's start job, with the disk present (%d boots each)", boots), "", started)
}

// bootTakes is how long a boot usually takes under emulation.
const bootTakes = 40 * time.Second
