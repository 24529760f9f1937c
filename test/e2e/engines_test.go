package e2e

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"bootagent/test/lab"
)

// A life is what the life of an engine on one volume needs to know of the engine. In all of it,
// VERSION is the word that the command version prints.
type life struct {
	version string
	role    string
	unit    string
	process string // the server's name, for pidof
	bind    string // its data directory
	stopped string // what the engine's own files say after a clean stop

	// starts have to fail without the disk. Some start the server without its service: they find no data.
	starts []string

	create string // makes a table with one row, or what is like that
	insert string // adds a row
	count  string // prints how many rows there are
}

var lives = map[string]life{
	"postgres": {
		version: "ls /etc/postgresql",
		role:    "postgres",
		unit:    "postgresql@VERSION-main.service",
		process: "postgres",
		bind:    "/var/lib/postgresql/VERSION/main",
		stopped: "pg_control: shut down",
		starts: []string{
			"systemctl start postgresql@VERSION-main", "pg_ctlcluster VERSION main start", "pg_ctlcluster VERSION main start -- -t 5",
			"runuser -u postgres -- pg_ctlcluster VERSION main start",
			"systemctl restart postgresql; systemctl is-active postgresql@VERSION-main", "service postgresql start; pidof postgres",
		},
		create: `cd / && runuser -u postgres -- psql -qXc "CREATE TABLE orders (id SERIAL); INSERT INTO orders DEFAULT VALUES"`,
		insert: `cd / && runuser -u postgres -- psql -qXc "INSERT INTO orders DEFAULT VALUES"`,
		count:  `cd / && runuser -u postgres -- psql -XAtc "SELECT count(*) FROM orders"`,
	},
	"redis": {
		version: "echo",
		role:    "redis",
		unit:    "redis-server.service",
		process: "redis-server redis-check-rdb", // Debian's server is a link to it
		bind:    "/var/lib/redis",
		starts: []string{
			"systemctl start redis-server", "systemctl restart redis", "service redis-server start", "/etc/init.d/redis-server start",
			"systemctl start bootagent-grant-redis-server.service",
		},
		create: "redis-cli SET order:1 first",
		insert: "redis-cli SET order:$(date +%s%N) another",
		count:  "redis-cli --raw DBSIZE",
	},
}

// TestLifeOfEachEngine goes with a volume of each engine through its first boot, a pulled disk, a clean
// stop, a second boot, a power cut, and another machine.
func TestLifeOfEachEngine(t *testing.T) {
	img := newImage(t)
	for name, l := range lives {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
			defer cancel()
			disk := newDisk(t)
			userData := strings.Replace(mysql, "role: mysql", "role: "+l.role, 1)
			first := machine(ctx, t, img, "first", userData, nil)
			in := func(m *lab.Machine) *lived { return &lived{guest: guest{m, t, ctx}, life: l} }
			g := in(first)
			g.until(settles, "systemctl is-active multi-user.target")
			g.life = l.of(g.sh("%s", l.version))
			l = g.life

			g.nothingStarts()
			g.plug(disk)
			g.up()
			g.is("xfs", "findmnt --noheadings --output FSTYPE /srv/data")
			g.is("/dev/nvme1n1[/"+l.role+"]", "findmnt --noheadings --output SOURCE %s", l.bind)
			g.healthy()
			g.sh("%s", l.create)
			g.has(1, "after the first boot")

			g.unplug(disk)
			g.until(settles, "! systemctl is-active %s && ! findmnt /srv/data", l.unit)
			g.sh("systemctl start --no-block %s", l.unit) // it would wait for the disk
			g.is("", "pidof %s", l.process)
			g.is("", "ls -A %s", l.bind)
			g.plug(disk)
			g.up()
			g.has(1, "after the disk came back")
			g.sh("%s", l.insert)

			g.sh("systemctl restart bootagent")
			g.up()
			g.powerOff()
			g.inOrder("Stopped "+l.unit, "Stopped bootagent-grant-"+l.unit, "Stopped bootagent.service",
				"Unmounted "+strings.ReplaceAll(l.bind[1:], "/", "-")+".mount", "Unmounted srv-data.mount")

			g.ok(g.Boot(ctx))
			g.up()
			g.has(2, "after a clean stop")
			g.says("bootagent status", "stopped cleanly")
			if l.stopped != "" {
				g.says("bootagent status --json", `"says": "`+l.stopped+`"`)
			}
			g.healthy()
			g.sh("%s", l.insert)
			g.sh("sync")
			g.has(3, "before the power is cut")
			g.Kill()

			g = in(machine(ctx, t, img, "second", userData, nil))
			g.plug(disk)
			g.up()
			g.has(3, "on another machine, after the power was cut")
			g.says("bootagent status", "not stopped cleanly")
			g.healthy()
			g.powerOff()
		})
	}
}

// of puts a version in.
func (l life) of(version string) life {
	put := func(words ...*string) {
		for _, w := range words {
			*w = strings.ReplaceAll(*w, "VERSION", version)
		}
	}
	put(&l.unit, &l.bind, &l.create, &l.insert, &l.count)
	starts := make([]string, len(l.starts))
	for i, s := range l.starts {
		starts[i] = s
		put(&starts[i])
	}
	l.starts = starts
	return l
}

// lived is a machine that a life is on.
type lived struct {
	guest
	life life
}

// up waits until the engine serves.
func (g *lived) up() {
	g.t.Helper()
	g.until(settles, "bootagent wait --timeout 2m && systemctl is-active %s", g.life.unit)
}

// nothingStarts tries all that could start the engine without its disk.
func (g *lived) nothingStarts() {
	g.t.Helper()
	for _, start := range g.life.starts {
		if out := g.sh("%s; echo exit $?", start); strings.HasSuffix(out, "exit 0") {
			g.t.Errorf("%s did not fail: %s", start, out)
		}
		if out := g.sh("pidof %s", g.life.process); out != "" {
			g.t.Fatalf("%s started %s: %s", start, g.life.process, out)
		}
	}
	g.is("inactive", "systemctl is-active %s", g.life.unit)
	g.is("", "ls -A %s", g.life.bind)
	g.says("bootagent status; echo exit $?", g.life.unit+" is held", "exit 4")
}

// has counts the rows.
func (g *lived) has(rows int, when string) {
	g.t.Helper()
	if got := g.sh("%s", g.life.count); got != strconv.Itoa(rows) {
		g.t.Fatalf("%s there are %s rows, not %d:\n%s", when, got, rows, g.sh("bootagent status; journalctl --no-pager -b -n 40"))
	}
}
