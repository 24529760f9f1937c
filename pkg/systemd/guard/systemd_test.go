package guard

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/systemd/unitfile"
	"bootagent/pkg/systemd/unitfile/unitfiletest"
	"bootagent/pkg/unit"
)

// The tests of this file compare with the real systemd, see unitfiletest.

func TestSystemdTriggersAndDropsInAsWeSay(t *testing.T) {
	compared := 0
	for _, test := range triggerTests {
		t.Run(test.name, func(t *testing.T) {
			m := test.machine
			if m["usr/lib/systemd/system/mariadb.service"] == "" {
				m["usr/lib/systemd/system/mariadb.service"] = service
			}
			tree, err := readTree(m.root(t))
			if err != nil {
				t.Fatal(err)
			}
			held := map[string]Hold{"mariadb.service": hold("mariadb.service")}
			for _, h := range test.also {
				held[h.Unit] = h
			}
			var names []string
			for _, name := range tree.triggers(held) {
				if !unit.IsTemplate(name) && !tree.Masked(name) {
					names = append(names, name)
				}
			}
			if len(names) == 0 {
				return
			}
			units, said := unitfiletest.Analyze(t, "LC_ALL=C", append([]string{"--root=" + tree.Dir}, names...)...)
			for _, name := range names {
				if units[name] == nil {
					t.Fatalf("systemd did not load %s:\n%s", name, said)
				}
				var dropIns []string
				for _, file := range tree.DropIns(name) {
					dropIns = append(dropIns, tree.Join(file))
				}
				if got := units.Values(name, "DropIn Path"); !slices.Equal(got, dropIns) {
					t.Errorf("systemd has the drop-ins %v of %s, we have %v", got, name, dropIns)
				}
				compared++
				got := units.Values(name, "Triggers")
				if want := tree.Own(tree.Starts(name)); !slices.Equal(got, []string{want}) && !unit.IsTemplate(want) {
					t.Errorf("systemd has %s start %v, we have it start %s", name, got, want)
				}
			}
		})
	}
	if compared == 0 && !t.Failed() {
		t.Skip("nothing compared")
	}
}

func TestSystemdHoldsWhatAGuardHolds(t *testing.T) {
	for _, h := range []Hold{
		hold("mariadb.service"),
		{Unit: "web.service", Service: "web.service", IMDS: true},
		{Unit: "db.socket", Service: "mariadb.service"},
		hold(`srv-my\x2ddata.service`),
		hold("postgresql@15-main.service"),
	} {
		t.Run(h.Unit, func(t *testing.T) {
			m := machine{"usr/lib/systemd/system/" + h.Unit: service}
			if path.Ext(h.Unit) == ".socket" {
				m = machine{
					"usr/lib/systemd/system/" + h.Unit:       "[Socket]\nListenStream=1\nService=mariadb.service\n",
					"usr/lib/systemd/system/mariadb.service": service,
				}
			}
			root := m.root(t)
			install_(t, root, h)
			units, said := unitfiletest.Analyze(t, "LC_ALL=C", "--root="+root, h.Unit)
			if got := units.Values(h.Unit, "AssertPathExists"); !slices.Equal(got, []string{GrantFile(h.Service)}) {
				t.Errorf("asserts %v\n%s", got, said)
			}
			if got := units.Values(h.Unit, "BindsTo"); !slices.Equal(got, []string{unit.GrantOf(h.Service)}) {
				t.Errorf("is bound to %v", got)
			}
			after := units.Values(h.Unit, "After")
			ordered := slices.Contains(after, "bootagent.service") && slices.Contains(after, unit.GrantOf(h.Service))
			if want := path.Ext(h.Unit) == ".service"; ordered != want {
				t.Errorf("is started after %v", after)
			}
			denied := units.Values(h.Unit, "IPAddressDeny")
			slices.Sort(denied)
			var want []string
			if path.Ext(h.Unit) == ".service" && !h.IMDS {
				want = []string{"169.254.169.254/32", "fd00:ec2::254/128"}
			}
			if !slices.Equal(denied, want) {
				t.Errorf("is denied %v, not %v", denied, want)
			}
		})
	}
}

// systemd says which lines it can't use, and loads the rest of a file. Which
// credentials it has, its verifier does not print.
func TestSystemdTakesTheCredentialsOfAGuard(t *testing.T) {
	complaints := func(h Hold, dropIn string) string {
		m := machine{"usr/lib/systemd/system/" + h.Unit: service}
		if dropIn != "" {
			m["etc/systemd/system/"+h.Unit+".d/60.conf"] = "[Service]\n" + dropIn
		}
		root := m.root(t)
		install_(t, root, h)
		units, said := unitfiletest.Analyze(t, "LC_ALL=C", "--root="+root, h.Unit)
		if units[h.Unit] == nil {
			t.Fatalf("systemd did not load %s:\n%s", h.Unit, said)
		}
		return grep(said, ".conf:") // a file, and a line of it
	}
	for _, unit := range []string{"mariadb.service", `srv-my\x2ddata.service`, "postgresql@15-main.service"} {
		h := hold(unit)
		h.Credentials, h.Optional = []string{"root-sql", "a.b_c-1"}, []string{"root-sql"}
		if said := complaints(h, ""); said != "" {
			t.Errorf("of the guard of %s systemd says\n%s", unit, said)
		}
	}

	// The same test sees what would be wrong with them. The paths tell that
	// nothing is made of a backslash: neither the dots that it spells, nor
	// what is left without it.
	for dropIn, says := range map[string]string{
		"SetCredential=root-sql\n":                "Invalid syntax",
		"LoadCredential=a/b:/run/x\n":             "not valid",
		"LoadCredential=a:/run/../x\n":            "not valid",
		`LoadCredential=a:/run/\x2e\x2e/x` + "\n": "",
		`LoadCredential=a:/run/.\./x` + "\n":      "",
	} {
		said := complaints(hold("mariadb.service"), dropIn)
		if says == "" && said != "" || !strings.Contains(said, says) {
			t.Errorf("of %q systemd says %q, without %q", dropIn, said, says)
		}
	}
}

// What Check says of a later drop-in is what systemd does with it.
func TestSystemdResetsAsCheckSays(t *testing.T) {
	m := image()
	m["etc/systemd/system/mariadb.service.d/60.conf"] = "[Unit]\nBindsTo=\nAssertPathIsDirectory=\n[Service]\nIPAddressDeny=\n"
	root := m.root(t)
	install_(t, root, hold("mariadb.service"))
	units, said := unitfiletest.Analyze(t, "LC_ALL=C", "--root="+root, "mariadb.service")
	if got := units.Values("mariadb.service", "BindsTo"); !slices.Equal(got, []string{"bootagent-grant-mariadb.service"}) {
		t.Errorf("is bound to %v\n%s", got, said)
	}
	if got := units.Values("mariadb.service", "AssertPathExists"); got != nil {
		t.Errorf("asserts %v still", got)
	}
	if got := units.Values("mariadb.service", "IPAddressDeny"); got != nil {
		t.Errorf("is denied %v still", got)
	}
}

func TestTheGeneratorsGuardWinsOverTheInstalled(t *testing.T) {
	root := image().root(t)
	install_(t, root, Hold{Unit: "mariadb.service", Service: "old.service"})
	early := filepath.Join(root, "run/systemd/generator.early")
	if err := Write(early, hold("mariadb.service")); err != nil {
		t.Fatal(err)
	}
	search := early + ":" + filepath.Join(root, unitfile.AdminDir) + ":" + filepath.Join(root, "usr/lib/systemd/system")
	units, said := unitfiletest.Analyze(t, "SYSTEMD_UNIT_PATH="+search, "mariadb.service")
	if got, want := units.Values("mariadb.service", "DropIn Path"), []string{dropIn(early, "mariadb.service")}; !slices.Equal(got, want) {
		t.Errorf("systemd has the drop-ins %v, not %v\n%s", got, want, said)
	}
	if got := units.Values("mariadb.service", "BindsTo"); !slices.Equal(got, []string{"bootagent-grant-mariadb.service"}) {
		t.Errorf("is bound to %v", got)
	}
}

// A guarded socket is started before basic.target, the agent after it. With an
// order between them, systemd leaves out one of the two, or of what is between.
func TestAGuardedSocketMakesNoOrderingCycle(t *testing.T) {
	oneshot := "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
	m := machine{
		"etc/systemd/system/foo.service":                           service,
		"etc/systemd/system/foo.socket":                            "[Socket]\nListenStream=/run/foo\n",
		"etc/systemd/system/foo.path":                              "[Path]\nPathExists=/run/foo\n",
		"etc/systemd/system/foo.timer":                             "[Timer]\nOnBootSec=1\n",
		"etc/systemd/system/sockets.target.wants/foo.socket":       "-> ../foo.socket",
		"etc/systemd/system/paths.target.wants/foo.path":           "-> ../foo.path",
		"etc/systemd/system/timers.target.wants/foo.timer":         "-> ../foo.timer",
		"etc/systemd/system/bootagent.service":                     "[Unit]\nAfter=network.target\n" + oneshot,
		"etc/systemd/system/bootagent-grant-foo.service":           "[Unit]\nAfter=bootagent.service\n" + oneshot,
		"etc/systemd/system/multi-user.target.wants/boot.service":  "-> ../bootagent.service",
		"etc/systemd/system/multi-user.target.wants/foo.service":   "-> ../foo.service",
		"etc/systemd/system/multi-user.target.wants/agent.service": "-> ../bootagent.service",
	}
	root := m.root(t)
	install_(t, root, hold("foo.service"))
	search := "SYSTEMD_UNIT_PATH=" + filepath.Join(root, unitfile.AdminDir) + ":" // and the machine's own
	units, said := unitfiletest.Analyze(t, search, "multi-user.target")
	if units["multi-user.target"] == nil {
		t.Skipf("the targets of this machine can't be loaded: ordering is not checked\n%s", said)
	}
	if strings.Contains(said, "ordering cycle") {
		t.Errorf("systemd says\n%s", grep(said, "cycle"))
	}

	// The same tree has one as soon as the guard of the socket says After=.
	wrong := Hold{Unit: "foo.service", Service: "foo.service", IMDS: true}.Text()
	if err := os.WriteFile(filepath.Join(root, Path("foo.socket")), []byte(wrong), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, said := unitfiletest.Analyze(t, search, "multi-user.target"); !strings.Contains(said, "ordering cycle") {
		t.Error("this test would not see a cycle")
	}
}

func grep(text, word string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
