package e2e

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bootagent/test/contract"
)

// sees writes what was seen of an engine into the contract. What happens can be several situations, separated
// by commas.
func (c contracted) sees(e engine, situation, promise, seen string, args ...any) {
	for situation := range strings.SplitSeq(situation, ", ") {
		*c.filled = append(*c.filled, contract.Cell{
			Platform: c.on.Name, Engine: e.name, Situation: situation, Promise: promise, Seen: fmt.Sprintf(seen, args...),
		})
	}
}

// atOnce runs a command line for each engine, all at the same time, and returns what they print.
func (c contracted) atOnce(line func(engine) string) map[string]string {
	c.t.Helper()
	var script strings.Builder
	for i, e := range c.engines {
		fmt.Fprintf(&script, "( exec >/run/at-once.%d 2>&1; cd /; %s ) &\n", i, line(e))
	}
	script.WriteString("wait\n")
	for i := range c.engines {
		fmt.Fprintf(&script, "cat /run/at-once.%d; printf '\\0'\n", i)
	}
	r, err := c.Input(c.ctx, []byte(script.String()), "/bin/sh", "-s")
	c.ok(err)
	printed := map[string]string{}
	for i, text := range strings.Split(r.Stdout, "\x00")[:len(c.engines)] {
		printed[c.engines[i].name] = strings.TrimSpace(text)
	}
	return printed
}

func (c contracted) plugAll() {
	c.t.Helper()
	for _, d := range c.disks {
		c.plug(d)
	}
}

func (c contracted) unplugAll() {
	c.t.Helper()
	for _, d := range c.disks {
		c.unplug(d)
	}
}

// loses has the machine lose its volumes and get them back, and looks at what the services do meanwhile. One
// without a volume runs on.
func (c contracted) loses(situation string, lose, getBack func()) {
	c.t.Helper()
	since, before := c.cursor(), c.processes()
	lose()
	c.nothingStarts(situation)
	getBack()
	c.stopped(situation, c.since(since))
	after := c.processes()
	for i, e := range c.engines {
		if !c.keeps(e, situation) {
			continue
		}
		if was, is := strings.Fields(before)[i], strings.Fields(after)[i]; was == "0" || was != is {
			c.t.Errorf("%s: the process of %s was %s, and is %s", situation, e.unit, was, is)
			continue
		}
		c.sees(e, situation, "stops before unmount", "the same process")
		c.sees(e, situation, "never early", "the same process")
	}
}

// keeps tells whether an engine still has what it needs while the volumes are away.
func (c contracted) keeps(e engine, situation string) bool {
	return len(e.mounts) == 0 && slices.Contains([]string{"agent upgraded, agent down", "pulled disk"}, situation)
}

// nothingStarts tries all roads to start each engine that lacks something. They are tried at the same time.
func (c contracted) nothingStarts(situation string) {
	c.t.Helper()
	var script strings.Builder
	script.WriteString(runs)
	patience := 60
	if situation == "pulled disk" {
		patience = 5 // systemd waits for the disk, with the job of a person, who goes away
	}
	tried := map[string][]string{}
	for i, e := range c.engines {
		if c.keeps(e, situation) {
			continue
		}
		units := e.unit + " " + strings.ReplaceAll("needs-X.service poke-X.timer front-X.socket lab-services.target", "X", e.example)
		tried[e.name] = append([]string{"systemctl start " + units + " bootagent-grant-" + e.unit, "systemctl restart " + e.unit}, e.roads...)
		fmt.Fprintf(&script, "(\ncd /\nbefore=\" $(runs %s | tr '\\n' ' ') \"\n", e.running)
		for n, road := range tried[e.name] {
			fmt.Fprintf(&script, "{ timeout %d sh -c '%s' >/run/road.%d.%d 2>&1; echo road %d %d $? $(runs %s); } &\n", patience, strings.ReplaceAll(road, "'", `'\''`), i, n, i, n, e.running)
		}
		fmt.Fprintf(&script, "wait\necho left %d $(systemctl is-active %s)", i, units)
		for _, bind := range e.mounts {
			if !strings.HasPrefix(bind, "/srv/") {
				fmt.Fprintf(&script, " $(ls -A %s 2>/dev/null)", bind)
			}
		}
		script.WriteString("\n) &\n")
	}
	script.WriteString("wait\n")
	if situation == "first boot" { // nothing ran before
		const isolate = "systemctl isolate lab-services.target"
		fmt.Fprintf(&script, "timeout 20 %s; code=$?\n", isolate)
		for i, e := range c.engines {
			fmt.Fprintf(&script, "echo road %d %d $code $(runs %s)\n", i, len(tried[e.name]), e.running)
			tried[e.name] = append(tried[e.name], isolate)
		}
		script.WriteString("systemctl isolate --no-block multi-user.target\n")
	}
	r, err := c.Input(c.ctx, []byte(script.String()), "/bin/bash", "-s")
	c.ok(err)
	failed, held := map[string]int{}, map[string]bool{} // how many roads did, and whether nothing is there, by engine
	for line := range strings.Lines(r.Stdout) {
		words := strings.Fields(line)
		e := c.engines[number(c.t, words[1])]
		if words[0] == "left" {
			if situation == "pulled disk" && words[2] == "deactivating" {
				words = words[:2] // it hangs on the disk, and keeps its grant until it ends, and so does what starts it
			}
			held[e.name] = !slices.ContainsFunc(words[2:], func(word string) bool { return word != "inactive" && word != "failed" })
			continue
		}
		road := tried[e.name][number(c.t, words[2])]
		if words[3] == "0" || len(words) > 4 {
			c.t.Errorf("%s: %s: %s exited with %s, and runs as %q: %s", situation, e.name, road, words[3], words[4:], c.sh("cat /run/road.%s.%s", words[1], words[2]))
			continue
		}
		failed[e.name] += ways(road)
	}
	for _, e := range c.engines {
		if c.keeps(e, situation) {
			continue
		}
		want := 0
		for _, road := range tried[e.name] {
			want += ways(road)
		}
		if failed[e.name] != want || !held[e.name] {
			c.t.Errorf("%s: %s: %d of %d roads failed; the guest said\n%s%s", situation, e.name, failed[e.name], want, r.Stdout, r.Stderr)
			continue
		}
		c.sees(e, situation, "never early", "%d roads failed", want)
	}
}

// ways returns how many roads a command line is: systemctl starts several units.
func ways(road string) int {
	units, several := strings.CutPrefix(road, "systemctl start ")
	if !several {
		return 1
	}
	return len(strings.Fields(units))
}

// runs prints the processes of a server that were not there before. The agent, too, runs the server's program, to
// ask it for its version and its settings.
const runs = `runs() {
	for p in $("$@"); do
		case "$before" in *" $p "*) continue ;; esac
		case $(cat /proc/$p/cgroup) in '' | *bootagent*) ;; *) echo $p ;; esac
	done 2>/dev/null
}
before=
`

func number(t *testing.T, word string) int {
	t.Helper()
	n, err := strconv.Atoi(word)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// afterItsNeeds compares, in a boot with the disks attached, when each service was started with when it got
// what it needs.
func (c contracted) afterItsNeeds(situation string) {
	c.t.Helper()
	var units []string // each once: a volume is of several engines
	for _, e := range c.engines {
		units = append(units, e.unit)
		units = append(units, c.needs(e)...)
	}
	slices.Sort(units)
	units = slices.Compact(units)
	told := c.sh("systemctl show --property ActiveEnterTimestampMonotonic,InactiveExitTimestampMonotonic '%s'", strings.Join(units, "' '"))
	when := func(property, unit string) int {
		of := strings.Split(told, "\n\n")[slices.Index(units, unit)]
		_, value, _ := strings.Cut("\n"+of, "\n"+property+"TimestampMonotonic=")
		value, _, _ = strings.Cut(value, "\n")
		return number(c.t, value)
	}
	for _, e := range c.engines {
		started := when("InactiveExit", e.unit)
		early := slices.DeleteFunc(c.needs(e), func(need string) bool { at := when("ActiveEnter", need); return at > 0 && at <= started })
		if len(early) > 0 {
			c.t.Errorf("%s: %s was started at %d µs, before %q", situation, e.unit, started, early)
			continue
		}
		c.sees(e, situation, "never early", "started after what it needs")
	}
}

// needs returns the units that an engine is started after.
func (c contracted) needs(e engine) []string {
	units := []string{"bootagent-grant-" + e.unit}
	for _, at := range e.mounts {
		units = append(units, mountUnit(at))
	}
	return units
}

// unitsOnVolumes returns the services that have a volume.
func (c contracted) unitsOnVolumes() string {
	var units []string
	for _, e := range c.engines {
		if len(e.mounts) > 0 {
			units = append(units, e.unit)
		}
	}
	return strings.Join(units, " ")
}

// comesBack waits until all services serve, and counts the rows of each. Then it adds a row to each.
func (c contracted) comesBack(situation string) {
	c.t.Helper()
	c.until(settles, "test -S /run/bootagent/control.sock") // the machine runs commands before its agent is started
	if r, err := c.Input(c.ctx, []byte(c.key.String()+"\n"), "bootagent", "unlock"); err != nil || r.Exit != 0 {
		c.t.Errorf("bootagent unlock: %+v, %v", r, err)
	}
	c.until(2*settles, "bootagent wait --timeout 2m")
	had := c.rows
	if situation == "first boot" {
		had = 0
		c.atOnce(func(e engine) string { return e.create })
	}
	told := c.atOnce(func(e engine) string {
		return fmt.Sprintf("systemctl is-active %s; %s; added=$(%s); %s; echo $added", e.unit, e.count, e.insert, e.count)
	})
	for _, e := range c.engines {
		got := strings.Split(told[e.name]+"\n\n", "\n")
		before, after := strconv.Itoa(had), strconv.Itoa(had+1)
		if e.answer != "" {
			before, after = e.answer, e.answer
		}
		if got[0] != "active" || got[1] != before || got[2] != after {
			c.t.Errorf("%s: %s is %q, and has %q, and %q after a row was added; want %q and %q:\n%s", situation, e.name, got[0], got[1], got[2], before, after, told[e.name])
			continue
		}
		c.sees(e, situation, "comes back", "serves")
		switch rows := max(had, 1); { // at the first boot, the row that was added
		case e.answer != "":
			c.sees(e, situation, "rows there", "its answer")
		case rows == 1:
			c.sees(e, situation, "rows there", "1 row")
		default:
			c.sees(e, situation, "rows there", "%d rows", rows)
		}
	}
}

// mainPIDs is a command line that prints the main process of each service.
func (c contracted) mainPIDs() string {
	line := "systemctl show --value --property MainPID"
	for _, e := range c.engines {
		line += " " + e.unit
	}
	return line
}

func (c contracted) processes() string { return c.sh("%s", c.mainPIDs()) }

// down turns the machine off, and returns what the console told meanwhile.
func (c contracted) down(do func(context.Context) error) string {
	c.t.Helper()
	before, err := c.Console()
	c.ok(err)
	c.ok(do(c.ctx))
	all, err := c.Console()
	c.ok(err)
	return strings.TrimPrefix(all, before)
}

// cursor is a place in the journal, and since is what PID 1 told after it.
func (c contracted) cursor() string {
	return c.sh("journalctl --sync; journalctl -n 0 --show-cursor | sed -n 's/^-- cursor: //p'")
}

func (c contracted) since(cursor string) string {
	return c.sh("journalctl --sync; journalctl -b --no-pager --output=cat --after-cursor='%s' _PID=1", cursor)
}

// stopped looks in what systemd told whether each service stopped before its grant was gone, and before any of
// its volumes was unmounted.
func (c contracted) stopped(situation, told string) {
	c.t.Helper()
	first := func(unit string, how string) int {
		q := regexp.QuoteMeta(unit)
		at := regexp.MustCompile(how + q + `|` + q + `: (Deactivated|Failed with)`).FindStringIndex(told)
		if at == nil {
			return -1
		}
		return at[0]
	}
	for _, e := range c.engines {
		if c.keeps(e, situation) {
			continue
		}
		service := first(e.unit, "Stopped ")
		if service < 0 {
			c.t.Errorf("%s: %s did not stop:\n%s", situation, e.unit, told)
			continue
		}
		after := map[string]int{"bootagent-grant-" + e.unit: first("bootagent-grant-"+e.unit, "Stopped ")}
		for _, at := range e.mounts {
			after[mountUnit(at)] = first(mountUnit(at), "Unmounted ")
		}
		maps.DeleteFunc(after, func(_ string, at int) bool { return at > service })
		if len(after) > 0 {
			c.t.Errorf("%s: %s did not stop before %q:\n%s", situation, e.unit, slices.Collect(maps.Keys(after)), told)
			continue
		}
		seen := "stopped, then unmounted"
		if len(e.mounts) == 0 {
			seen = "stopped, then its grant"
		}
		c.sees(e, situation, "stops before unmount", "%s", seen)
	}
}

// mountUnit returns the name of the unit for a mount.
func mountUnit(at string) string {
	return strings.ReplaceAll(strings.ReplaceAll(at[1:], "-", `\x2d`), "/", "-") + ".mount"
}
