package systemd

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/golden"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// asText writes properties as a review reads them: name, type on the bus, and
// what comes out of the bus.
func asText(t *testing.T, props []dbus.Property) string {
	t.Helper()
	var b strings.Builder
	for _, p := range props {
		value, err := json.Marshal(overTheBus(t, p.Value.Value()))
		ok(t, err)
		fmt.Fprintf(&b, "%s %s = %s\n", p.Name, p.Value.Signature(), value)
	}
	return b.String()
}

// The properties of the transient units are the contract with systemd: a
// change of one is a change of what holds when the agent is dead.
func TestTransientUnitsAreThoseThatWereReviewed(t *testing.T) {
	const agent = "/run/bootagent"
	m := newManager(nil, agent, nil)
	bind := Mount{What: "/srv/data/mysql", Where: "/var/lib/mysql", On: "/srv/data", Options: []string{"bind", "nosuid", "nodev"}}
	make := Command{
		Unit: mkfs.Unit, Description: "Making of the filesystem on disk vol1",
		Argv: []string{"/sbin/mkfs.xfs", "-q", "/dev/nvme1n1"}, Devices: []string{"/dev/nvme1n1"}, Timeout: 10 * time.Minute,
	}
	initialize := Command{
		Unit: "bootagent-initialize-mysql.service", Description: "Making of the data directory mysql in /srv/data/mysql.initializing-1",
		Argv: []string{"/usr/bin/mariadb-install-db", "--datadir=/var/lib/mysql"}, User: "mysql",
		Binds: []Bind{{"/srv/data/mysql.initializing-1", "/var/lib/mysql"}}, Writable: []string{"/var/lib/mysql"}, Success: []int{1, 3}, Timeout: 15 * time.Minute, Mounts: []string{"/srv/data"},
	}
	for name, props := range map[string][]dbus.Property{
		"mount":      data.properties(m.permit(data.Where)),
		"bind":       bind.properties(m.permit(bind.Where)),
		"grant":      m.grantProperties("mariadb.service", []string{"/srv/data", "/var/lib/mysql"}),
		"make":       make.properties(),
		"initialize": initialize.properties(),
		"detach":     detachProperties("/srv/data", m.sysDevice(unix.Mkdev(259, 3))),
		"holders":    holdersProperties("/srv/data", agent+"/holders/srv-data.mount"),
	} {
		golden.Check(t, "testdata/"+name+".golden", asText(t, props))
	}
}

// What the goldens hold has to keep to this, also after they are rewritten.
func TestTheContractWithSystemd(t *testing.T) {
	m := newManager(nil, "/run/bootagent", nil)
	mount := asText(t, data.properties(m.permit(data.Where)))
	grant := asText(t, m.grantProperties("mariadb.service", []string{"/srv/data", "/var/lib/mysql"}))
	command := asText(t, Command{Argv: []string{"/sbin/mkfs.xfs"}, Timeout: 10 * time.Minute}.properties())
	long := asText(t, Command{Argv: []string{"/sbin/e2fsck"}, Timeout: time.Hour}.properties())
	detach := asText(t, detachProperties("/srv/data", m.sysDevice(unix.Mkdev(259, 3))))
	for unit, lines := range map[string][]string{
		mount: {
			`DefaultDependencies b = false`, `Conflicts as = ["umount.target"]`, `Before as = ["umount.target","bootagent.service"]`,
			`After as = ["bootagent-release.service"]`,
			`Asserts a(sbbs) = [["AssertPathExists",false,false,"/run/bootagent/permit/srv-data.mount"]]`,
		},
		grant: {
			`BindsTo as = ["srv-data.mount"]`, `After as = ["srv-data.mount"]`,
			`BindsTo as = ["var-lib-mysql.mount"]`, `After as = ["var-lib-mysql.mount"]`,
			`After as = ["bootagent.service"]`,
			`RemainAfterExit b = true`,
			`ExecStart a(sasb) = [["/bin/touch",["touch","--","/run/bootagent/granted/mariadb.service"],false]]`,
			`ExecStopPost a(sasb) = [["/bin/rm",["rm","-f","--","/run/bootagent/granted/mariadb.service","/run/bootagent/started/mariadb.service"],false]]`,
		},
		// A shutdown lets a command finish, for less than the 30 min after which
		// systemd forces it, and before the release of the volumes.
		command: {
			`KillSignal i = 18`, `TimeoutStopUSec t = 600000000`, `TimeoutStartFailureMode s = "kill"`,
			`After as = ["bootagent-release.service"]`,
		},
		long: {`KillSignal i = 18`, `TimeoutStopUSec t = 1200000000`},
		// Only what is mounted of a disk that is gone is detached.
		detach: {
			`ExecCondition a(sasb) = [["/usr/bin/test",["test","!","-e","/sys/dev/block/259:3"],false]]`,
			`ExecStart a(sasb) = [["/bin/umount",["umount","--lazy","--no-canonicalize","--","/srv/data"],false]]`,
		},
	} {
		for _, line := range lines {
			if !strings.Contains("\n"+unit, "\n"+line+"\n") {
				t.Errorf("it lacks %s:\n%s", line, unit)
			}
		}
	}
	// Whatever gives a unit mounts of its own keeps its unmount from everybody else.
	for _, own := range []string{"Private", "Protect", "ReadWrite", "ReadOnly", "Inaccessible", "RootDirectory", "Bind"} {
		if strings.Contains(detach, "\n"+own) {
			t.Errorf("the unit that detaches has mounts of its own, by %s...:\n%s", own, detach)
		}
	}
	// With a condition that fails, a unit counts as started; not with an assertion.
	if strings.Contains(mount, "Conditions") {
		t.Errorf("a mount has a condition:\n%s", mount)
	}
}

// overTheBus sends a value through the bus's own encoding.
func overTheBus(t *testing.T, v any) any {
	t.Helper()
	msg := &godbus.Message{
		Type: godbus.TypeMethodReply,
		Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldReplySerial: godbus.MakeVariant(uint32(1)),
			godbus.FieldSignature:   godbus.MakeVariant(godbus.SignatureOf(godbus.MakeVariant(v))),
		},
		Body: []any{godbus.MakeVariant(v)},
	}
	var wire bytes.Buffer
	ok(t, msg.EncodeTo(&wire, binary.LittleEndian))
	got, err := godbus.DecodeMessage(&wire)
	ok(t, err)
	return got.Body[0].(godbus.Variant).Value()
}
