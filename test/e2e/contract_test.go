package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"bootagent/test/contract"
	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/labtest"
	"bootagent/test/lab/qemu"
)

const (
	logSerial = "vol0123456789abcdef1"
	userData  = "#bootagent\nversion: 1\nrole: contract\nparams: {disk: " + serial + ", site: orders}\n"
)

// contracted is a machine with all engines of a platform in one role, with two volumes. Whatever a method
// sees hold for an engine, it writes into the engine's cell of the contract.
type contracted struct {
	guest
	engines []engine
	disks   []*qemu.Disk
	key     *age.X25519Identity
	rows    int // that each engine has
	filled  *[]contract.Cell
	on      image.Platform
}

// TestContract takes two volumes with the data of all engines of a platform through each situation of the
// contract, and sees each promise hold for each engine. It fills the cells of docs/contract.md.
func TestContract(t *testing.T) {
	on, err := image.Chosen()
	if err != nil {
		t.Fatal(err)
	}
	makeContract(t, on, engines(on))
}

func makeContract(t *testing.T, on image.Platform, all []engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*runFor)
	defer cancel()
	img := allEngines(t, on, all)
	var filled []contract.Cell
	c := contracted{engines: all, key: newKey(t), filled: &filled, on: on, disks: twoDisks(t)}
	secret := seal(t, greeting, c.key)
	machine := func(name string) lab.Config {
		return lab.Config{Cache: qemu.Volatile, Files: map[string]image.File{
			"/etc/bootagent/user-data":            {Data: []byte(userData)},
			"/etc/bootagent/secrets/greeting.age": {Data: secret},
		}}
	}
	c.guest = guest{labtest.Machine(t, img, "first", machine("first")), t, ctx}
	c.ok(c.Boot(ctx))
	c.engines = c.versions(all)
	step := func(name string, do func(contracted)) {
		t.Run(name, func(t *testing.T) {
			now := c
			now.guest.t = t
			do(now)
		})
		if t.Failed() {
			t.FailNow() // what comes after stands on it
		}
	}

	step("first boot", func(c contracted) {
		c.nothingStarts("first boot")
		c.until(settles, "bootagent status | grep -q 'waiting since .* disk with serial'") // it was isolated away
		c.plugAll()
		c.until(settles, "test -d /srv/log/import.copying")
		c.says("bootagent status", `for somebody to copy data "import" to /srv/log/import`)
		c.sh(copyByHand)
		c.comesBack("first boot")
	})
	c.rows = 1
	step("agent upgraded, agent down", func(c contracted) {
		before, agent := c.processes(), c.sh("systemctl show --value --property MainPID bootagent")
		c.upgrade()
		c.until(settles, "test $(systemctl show --value --property MainPID bootagent) != %s && bootagent wait --timeout 60s", agent)
		c.is(before, "%s", c.mainPIDs())
		c.sh("systemctl stop bootagent")
		c.is(before, "%s", c.mainPIDs())
		c.loses("agent upgraded, agent down", func() { c.sh("systemctl stop srv-data.mount srv-log.mount") }, func() {
			c.sh("systemctl start bootagent")
			c.comesBack("agent upgraded, agent down")
		})
	})
	c.rows++
	step("power-off", func(c contracted) { c.stopped("first boot", c.down(c.PowerOff)) })

	c.unplugAll()
	c.ok(c.Boot(ctx))
	step("second boot", func(c contracted) {
		c.nothingStarts("second boot")
		c.plugAll()
		c.comesBack("second boot")
		c.says("bootagent status", "volume data: stopped cleanly", "volume log: stopped cleanly")
		for _, e := range c.engines {
			if e.says != "" {
				c.says("bootagent status --json", `"says": "`+e.says+`"`)
			}
		}
		c.healthy()
	})
	c.rows++
	step("pulled disk", func(c contracted) {
		// Redis wants to save what it has before it ends. The agent kills it when the disk is back.
		c.loses("pulled disk", func() {
			c.unplugAll()
			c.until(settles, "! systemctl is-active %s", c.unitsOnVolumes())
		}, func() {
			c.plugAll()
			c.comesBack("pulled disk")
		})
	})
	c.rows++
	step("reboot", func(c contracted) {
		told := c.down(c.GoDown)
		c.stopped("second boot", told)
		c.stopped("reboot", told)
		c.ok(c.Boot(ctx))
		c.comesBack("reboot")
		c.afterItsNeeds("reboot")
	})
	c.rows++
	step("power cut", func(c contracted) {
		c.Kill()
		c.ok(c.Boot(ctx))
		c.comesBack("power cut")
		c.afterItsNeeds("power cut")
		c.says("bootagent status", "volume data: not stopped cleanly", "volume log: not stopped cleanly")
		c.healthy()
		c.stopped("power cut", c.down(c.PowerOff))
	})
	c.rows++
	c.unplugAll()
	c.Machine = labtest.Machine(t, img, "second", machine("second"))
	c.ok(c.Boot(ctx))
	step("replacement", func(c contracted) {
		c.nothingStarts("replacement")
		c.plugAll()
		c.comesBack("replacement")
		c.healthy()
		c.stopped("replacement", c.down(c.PowerOff))
	})
	c.complete(t)
}

// twoDisks makes blank disks for the volumes of the role contract. They lose what is not flushed.
func twoDisks(t *testing.T) (disks []*qemu.Disk) {
	t.Helper()
	for serial, size := range map[string]int64{serial: 640 * mib, logSerial: 320 * mib} {
		disk, err := qemu.NewDisk(filepath.Join(t.TempDir(), serial+".raw"), serial, size)
		if err != nil {
			t.Fatal(err)
		}
		disk.Cache = qemu.Volatile
		disks = append(disks, disk)
	}
	return disks
}

// copyByHand is what a person does for the data that waits for a copy.
const copyByHand = "echo topic >/srv/log/import.copying/topic && chown -R kafka: /srv/log/import.copying && sync && mv -T /srv/log/import.copying /srv/log/import"

// complete writes the cells for make contract. It fails the test if a cell is empty, or is another one than in
// docs/contract.md.
func (c contracted) complete(t *testing.T) {
	t.Helper()
	if err := contract.Write("../../build/results", c.on.Name, *c.filled); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	said := contract.Parse(string(page))
	for _, e := range c.engines {
		t.Run(e.name, func(t *testing.T) {
			if missing := contract.Missing(c.on.Name, []string{e.name}, *c.filled); len(missing) > 0 {
				t.Errorf("nothing was seen of\n%s", strings.Join(missing, "\n"))
			}
			for _, cell := range said {
				if cell.Platform == c.on.Name && cell.Engine == e.name && !slices.Contains(*c.filled, cell) {
					t.Errorf("docs/contract.md says of %s, %s, %s: %q; run make contract", cell.Engine, cell.Situation, cell.Promise, cell.Seen)
				}
			}
		})
	}
}

// versions puts the version of the machine's PostgreSQL in, and leaves the init scripts out that it does not have.
func (c contracted) versions(all []engine) (here []engine) {
	version, scripts := c.sh("ls /etc/postgresql"), c.sh("ls -d /etc/init.d/*")
	put := func(s string) string { return strings.ReplaceAll(s, "VERSION", version) }
	for _, e := range all {
		e.unit = put(e.unit)
		e.mounts = slices.Clone(e.mounts)
		e.roads = slices.DeleteFunc(slices.Clone(e.roads), func(road string) bool { // not each release has them
			script, _, _ := strings.Cut(road, " ")
			return strings.HasPrefix(script, "/etc/init.d/") && !slices.Contains(strings.Fields(scripts), script)
		})
		for i := range e.mounts {
			e.mounts[i] = put(e.mounts[i])
		}
		for i := range e.roads {
			e.roads[i] = put(e.roads[i])
		}
		here = append(here, e)
	}
	return here
}
