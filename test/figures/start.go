package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"bootagent/test/lab/qemu"
)

// startAim is the aim for a plug. There is none for a boot.
const startAim = "aim: 1.1"

const (
	quiet     = 5 * time.Second  // until the machine is idle after a change
	plugTakes = 10 * time.Second // from a plug until MariaDB runs, under emulation
)

// plugged plugs the disk with the database into the machine, which waits for it, each way in turn. MariaDB
// has nothing to recover.
func plugged(ctx context.Context, g guest, disk *qemu.Disk, rounds int) error {
	took := make(map[way][]time.Duration)
	parts := make(map[string][]time.Duration)
	var names []string
	if err := g.down(ctx); err != nil {
		return err
	}
	for range rounds {
		for _, w := range []way{byHand, byAgent} {
			if err := g.Unplug(ctx, disk); err != nil {
				return err
			}
			if err := g.change(ctx, w); err != nil {
				return err
			}
			at, ended, err := g.plugged(ctx, w, disk)
			if err != nil {
				return err
			}
			took[w] = append(took[w], ended[len(ended)-1].at-at)
			if w == byAgent {
				names = names[:0]
				for _, e := range ended {
					names = append(names, e.what)
					parts[e.what] = append(parts[e.what], e.at-at)
					at = e.at
				}
			}
			if err := g.down(ctx); err != nil {
				return err
			}
		}
	}
	if err := g.Unplug(ctx, disk); err != nil {
		return err
	}
	if err := compare(fmt.Sprintf("From the uevent of the disk to MariaDB's start job (%d plugs each)", rounds), startAim, took); err != nil {
		return err
	}
	t := newTable("Parts of that, from the agent's journal: each step, from the end of the one before")
	for _, name := range names {
		t.row(name, seconds(spread(parts[name])))
	}
	return t.print()
}

// An end is when a step before the start job finished, on the guest's monotonic clock.
type end struct {
	what string
	at   time.Duration
}

// plugged plugs the disk in. It returns the time of its uevent, and the ends of the steps that follow,
// in order. The last one is the start job.
func (g guest) plugged(ctx context.Context, w way, disk *qemu.Disk) (uevent time.Duration, ended []end, err error) {
	// udevadm prints the time at which it received the uevent. With a real-time priority, that is the time
	// at which the kernel sent it.
	monitor := "systemd-run --quiet --collect --unit=uevents --property=CPUSchedulingPolicy=fifo " +
		"--property=StandardOutput=truncate:/run/uevents udevadm monitor --kernel --subsystem-match=block"
	if _, err := g.sh(ctx, monitor); err != nil {
		return 0, nil, err
	}
	if w == byAgent {
		if _, err := g.sh(ctx, "systemctl start bootagent && bootagent status | grep 'waiting since'"); err != nil {
			return 0, nil, err
		}
	}
	if err := rest(ctx, quiet); err != nil {
		return 0, nil, err
	}
	if err := g.Plug(ctx, disk); err != nil {
		return 0, nil, err
	}
	if err := g.up(ctx, w, plugTakes); err != nil {
		return 0, nil, err
	}
	events, err := g.sh(ctx, "systemctl stop uevents; cat /run/uevents")
	if err != nil {
		return 0, nil, err
	}
	if uevent, err = parseUevent(events); err != nil {
		return 0, nil, err
	}
	started, err := g.startJob(ctx)
	if err != nil {
		return 0, nil, err
	}
	if w == byAgent {
		journal, err := g.sh(ctx, "journalctl --boot --output=json _PID=$(systemctl show --value --property=MainPID bootagent)")
		if err != nil {
			return 0, nil, err
		}
		if ended, err = parseSteps(journal); err != nil {
			return 0, nil, err
		}
		ended = slices.DeleteFunc(ended, func(e end) bool { return e.at < uevent || e.at > started })
	}
	return uevent, append(ended, end{"start job", started}), nil
}

// KERNEL[52.123456] add      /devices/pci0000:00/0000:00:04.0/0000:02:00.0/nvme/nvme1/nvme1n1 (block)
var added = regexp.MustCompile(`(?m)^KERNEL\[(\d+)\.(\d{6})\] add +\S+/nvme\d+n\d+ \(block\)$`)

// parseUevent finds the time at which the disk was added in the output of udevadm monitor.
func parseUevent(out string) (time.Duration, error) {
	all := added.FindAllStringSubmatch(out, -1)
	if len(all) != 1 {
		return 0, fmt.Errorf("the kernel has reported %d new disks, not 1:\n%s", len(all), out)
	}
	us, err := strconv.ParseInt(all[0][1]+all[0][2], 10, 64)
	return time.Duration(us) * time.Microsecond, err
}

// parseSteps finds in the agent's journal, as JSON, when each step finished. It uses the time at which the
// agent sent the message, because journald may read it later. See systemd.journal-fields(7).
func parseSteps(out string) ([]end, error) {
	var ends []end
	for line := range strings.Lines(out) {
		var entry struct {
			Message   string       `json:"MESSAGE"`
			Step      string       `json:"STEP"`
			Sent      microseconds `json:"_SOURCE_REALTIME_TIMESTAMP"`
			Realtime  microseconds `json:"__REALTIME_TIMESTAMP"`
			Monotonic microseconds `json:"__MONOTONIC_TIMESTAMP"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			return nil, fmt.Errorf("cannot parse the journal: %w: %s", err, line)
		}
		if entry.Step != "" && strings.Contains(entry.Message, ": finished") {
			at := entry.Monotonic - (entry.Realtime - entry.Sent)
			ends = append(ends, end{entry.Step, time.Duration(at) * time.Microsecond})
		}
	}
	slices.SortFunc(ends, func(a, b end) int { return cmp.Compare(a.at, b.at) })
	return ends, nil
}

// microseconds are a string in the JSON of the journal.
type microseconds int64

func (m *microseconds) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	*m = microseconds(n)
	return err
}

// compare prints how long each way took, and the ratio.
func compare(headline, aim string, took map[way][]time.Duration) error {
	t := newTable("%s", headline)
	for _, w := range []way{byAgent, byHand} {
		t.row(string(w), seconds(spread(took[w])))
	}
	_, ours, _ := spread(took[byAgent])
	_, theirs, _ := spread(took[byHand])
	t.row("ratio", fmt.Sprintf("%.2f", ours.Seconds()/theirs.Seconds()), aim)
	return t.print()
}

// spread returns the minimum, the median and the maximum.
func spread[T int64 | time.Duration](all []T) (low, mid, high T) {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return sorted[0], (sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[n-1]
}

func seconds(low, mid, high time.Duration) string {
	return between(low.Seconds(), mid.Seconds(), high.Seconds(), "s", 2)
}

// between formats a median, with the minimum and the maximum if they differ.
func between(low, mid, high float64, unit string, digits int) string {
	text := fmt.Sprintf("%.*f %s", digits, mid, unit)
	if low != high {
		text += fmt.Sprintf(" (%.*f to %.*f)", digits, low, digits, high)
	}
	return text
}
