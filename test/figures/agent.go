package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bootagent/test/lab"
)

// A usage is what the agent has used up when its role is ready.
type usage struct {
	own      time.Duration // user and system time of the process itself: RUSAGE_SELF
	children time.Duration // of those that it waited for: RUSAGE_CHILDREN
	peak     int64         // VmHWM, in bytes
}

// usage asks the kernel, not the agent: the sums in /proc/PID/stat are those of getrusage(2), in
// ticks of 10 ms, and have the threads in them that have ended.
func (g guest) usage(ctx context.Context) (usage, error) {
	out, err := g.sh(ctx, "pid=$(systemctl show --value --property=MainPID bootagent) && "+
		"cat /proc/$pid/stat && sed -n 's/^VmHWM:\\s*\\([0-9]*\\) kB$/\\1/p' /proc/$pid/status && getconf CLK_TCK")
	if err != nil {
		return usage{}, err
	}
	return parseUsage(out)
}

// parseUsage reads a line of /proc/PID/stat (proc(5)), the VmHWM in KiB, and the ticks of a second.
func parseUsage(out string) (usage, error) {
	lines := strings.Split(out, "\n")
	stat := lines[0]
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from the third on
	if len(lines) != 3 || len(fields) < 15 {
		return usage{}, fmt.Errorf("cannot understand what the kernel says of the agent: %q", out)
	}
	var numbers []int64
	for _, s := range append(fields[11:15], lines[1], lines[2]) { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return usage{}, fmt.Errorf("cannot understand what the kernel says of the agent: %w", err)
		}
		numbers = append(numbers, n)
	}
	tick := time.Second / time.Duration(numbers[5])
	return usage{
		own:      time.Duration(numbers[0]+numbers[1]) * tick,
		children: time.Duration(numbers[2]+numbers[3]) * tick,
		peak:     numbers[4] << 10,
	}, nil
}

const (
	cpuAim    = "aim: 0.3 s"
	memoryAim = "aim: 20 MB"
)

// usages prints the medians of several.
func usages(headline string, all []usage) error {
	var own, children []time.Duration
	var peak []int64
	for _, u := range all {
		own, children, peak = append(own, u.own), append(children, u.children), append(peak, u.peak)
	}
	t := newTable("The agent when its role is ready, %s", headline)
	t.row("own CPU time", seconds(spread(own)), cpuAim)
	t.row("of its children", seconds(spread(children)))
	low, mid, high := spread(peak)
	t.row("own peak memory", between(float64(low)/1e6, float64(mid)/1e6, float64(high)/1e6, "MB", 1), memoryAim)
	return t.print()
}

// watched is how long the agent is watched while it waits.
const watched = 30 * time.Second

// firstBoot boots a machine whose disk is plugged in later, and blank.
func firstBoot(ctx context.Context, g guest, disk *lab.Disk) error {
	if err := g.Boot(ctx); err != nil {
		return err
	}
	if err := g.until(ctx, "the agent to wait for its disk", "bootagent status | grep -q 'waiting since'"); err != nil {
		return err
	}
	about, err := g.about(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\n", about)

	if err := rest(ctx, settles/12); err != nil { // the rest of the boot
		return err
	}
	before, err := g.usage(ctx)
	if err != nil {
		return err
	}
	if err := rest(ctx, watched); err != nil {
		return err
	}
	after, err := g.usage(ctx)
	if err != nil {
		return err
	}
	if err := g.Plug(ctx, disk); err != nil {
		return err
	}
	if err := g.up(ctx, byAgent, 0); err != nil {
		return err
	}
	u, err := g.usage(ctx)
	if err != nil {
		return err
	}
	if err := usages("first boot: filesystem and database made (1 run)", []usage{u}); err != nil {
		return err
	}
	t := newTable("The agent while it waits for its disk, %s of it", watched)
	t.row("own CPU time", fmt.Sprintf("%.1f ms in a second", (after.own-before.own).Seconds()*1000/watched.Seconds()))
	return t.print()
}

// booted boots the machine with its disk, both ways in turn.
func booted(ctx context.Context, g guest, disk *lab.Disk, boots int) error {
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
	if err := usages(fmt.Sprintf("later boots: all there (%d runs)", boots), all); err != nil {
		return err
	}
	return compare(fmt.Sprintf("From the start of the kernel to MariaDB's start job, disk there (%d boots each)", boots), "", started)
}

// bootTakes is how long a boot takes, emulated.
const bootTakes = 40 * time.Second
