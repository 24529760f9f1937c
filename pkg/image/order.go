package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/program"
	"bootagent/pkg/systemd/unitfile"
	"bootagent/pkg/unit"
)

// verifyWithin limits how long systemd-analyze may take. It takes one second for
// the 250 units of a server.
const verifyWithin = 2 * time.Minute

// verifyOutput is how much of its output is read, in bytes.
const verifyOutput = 4 << 20

// control names a pair of units that wait for each other. If systemd-analyze does
// not report this cycle, or in words that are not understood here, then nothing was
// checked.
const control = "bootagent-verifier-control"

// checkOrder makes systemd-analyze plan a boot of the image, with its guards and
// with a grant for each service. It exits 0 if there is a cycle that it can break,
// by dropping a unit of its choice, so checkOrder reads its messages.
func (i Image) checkOrder(ctx context.Context, units *unitfile.Tree, r *Report) {
	unchecked := func(format string, args ...any) {
		r.Unchecked = append(r.Unchecked, "ordering cycles: "+fmt.Sprintf(format, args...))
	}
	analyze := program.Find("systemd-analyze", filepath.SplitList(os.Getenv("PATH")))
	if analyze == "" {
		unchecked("systemd-analyze is not installed here; run bootagent guard check where the package systemd is installed, or in the image")
		return
	}
	boot := "default.target"
	for _, name := range []string{boot, unit.Agent} {
		if units.File(name) == "" {
			unchecked("there is no %s below %s", name, i.Root)
			return
		}
	}
	dir, err := os.MkdirTemp("", "bootagent-verify-")
	if err != nil {
		unchecked("%v", err)
		return
	}
	defer os.RemoveAll(dir)
	if err := i.stage(units, dir); err != nil {
		unchecked("%v", err)
		return
	}
	said, err := verify(ctx, analyze, dir, slices.Concat([]string{boot, unit.Agent}, i.held, []string{control + "-a.service"}))
	cycles := findCycles(said)
	own := func(cycle []string) bool { return slices.Contains(cycle, control+"-a.service") }
	if !slices.ContainsFunc(cycles, own) {
		unchecked("%s did not report a cycle that was added as a test (%s): %s", analyze, ending(err), lastLine(said))
		return
	}
	cycles = slices.DeleteFunc(cycles, own)
	for _, cycle := range cycles {
		r.problem("%s", i.describe(cycle))
	}
	if len(cycles) == 0 {
		r.Checked = append(r.Checked, "the order of units at boot, with the guards and a grant for each service: no cycles (systemd-analyze verify)")
	}
}

// stage writes the units of the image below dir, with the grants and the control.
func (i Image) stage(units *unitfile.Tree, dir string) error {
	if err := units.CopyTo(dir); err != nil {
		return err
	}
	const oneshot = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
	more := map[string]string{
		control + "-a.service": "[Unit]\nWants=" + control + "-b.service\nAfter=" + control + "-b.service\n" + oneshot,
		control + "-b.service": "[Unit]\nAfter=" + control + "-a.service\n" + oneshot,
	}
	for _, service := range i.granted {
		more[unit.GrantOf(service)] = "[Unit]\nAfter=" + unit.Agent + "\n" + oneshot
	}
	for name, text := range more {
		if err := os.WriteFile(filepath.Join(dir, "etc/systemd/system", name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// verify returns the messages of systemd-analyze about units. The error says how it
// ended.
func verify(ctx context.Context, path, dir string, names []string) (string, error) {
	r, err := program.Command{
		Path:   path,
		Args:   append([]string{"verify", "--man=no", "--root=" + dir, "--"}, names...),
		Env:    []string{"LC_ALL=C", "SYSTEMD_LOG_LEVEL=info", "SYSTEMD_LOG_TARGET=console", "SYSTEMD_COLORS=0", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		Within: verifyWithin, Output: verifyOutput,
	}.Run(ctx)
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("exit status %d", r.Exit)
	}
	return r.Stdout + r.Stderr, err
}

// unitName matches a unit in the name of a job, "a.service/start".
var unitName = regexp.MustCompile(`([a-zA-Z0-9:_.\\@-]+\.[a-z]+)/[a-z-]+`)

// findCycles finds the ordering cycles in the messages of systemd-analyze: a line
// that reports a cycle, and the lines after it that name its other units. It
// returns each cycle once.
func findCycles(said string) (cycles [][]string) {
	seen := make(map[string]bool)
	var cycle []string
	end := func() {
		key := slices.Clone(cycle)
		slices.Sort(key)
		if text := strings.Join(slices.Compact(key), " "); len(cycle) > 0 && !seen[text] {
			seen[text] = true
			cycles = append(cycles, cycle)
		}
		cycle = nil
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, "Found ordering cycle") {
			end()
		} else if len(cycle) == 0 || !strings.Contains(line, "dependency on") {
			end()
			continue
		}
		for _, match := range unitName.FindAllStringSubmatch(line, -1) {
			if !slices.Contains(cycle, match[1]) {
				cycle = append(cycle, match[1])
			}
		}
	}
	end()
	return cycles
}

// describe describes a cycle: each of its units waits for the next one, and the last
// one for the first.
func (i Image) describe(cycle []string) string {
	words := "ordering cycle: " + strings.Join(cycle, " after ") + " after " + cycle[0] +
		": at boot, systemd drops one of these units, so"
	var held []string
	for _, name := range cycle {
		if slices.Contains(i.held, name) {
			held = append(held, name)
		}
	}
	if len(held) > 0 {
		return words + " " + strings.Join(held, " and ") +
			", which its guard orders after bootagent.service, can't start before the units that bootagent.service waits for: remove that Before= from it, or remove it from the role"
	}
	return words + " remove one of these orders (After= or Before=)"
}

// ending says how systemd-analyze ended.
func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

func lastLine(said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return "it printed nothing"
}
