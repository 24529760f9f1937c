package guard

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/unit"
)

// The tests of this file ask the real systemd how it reads what this package
// says that it reads: "systemd-analyze verify" prints each unit as loaded when
// it logs for debugging.

// loaded has, for each unit, its lines "Key: value".
type loaded map[string][]string

func (l loaded) values(unit, key string) []string {
	var values []string
	for _, line := range l[unit] {
		if value, ok := strings.CutPrefix(line, key+": "); ok {
			value, _, _ = strings.Cut(value, " (origin-")
			values = append(values, strings.TrimSuffix(value, " untested"))
		}
	}
	return values
}

// analyze has systemd load units, and gives them and what it says about them.
// It skips the test where there is no systemd.
func analyze(t *testing.T, env string, args ...string) (loaded, string) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed (package systemd): how systemd reads guards is not checked")
	}
	cmd := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, args...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=debug", env)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// It fails where anything about a unit is odd, as with the half systems here.
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	units := make(loaded)
	var unit string
	for line := range strings.Lines(stdout.String()) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "-> Unit "); ok {
			unit = strings.TrimSuffix(name, ":")
			continue
		}
		units[unit] = append(units[unit], line)
	}
	return units, stderr.String()
}

func TestSystemdSearchesWhereWeDo(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "unit-paths").Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("systemd-analyze is not installed (package systemd): its search path is not checked")
	}
	if err != nil {
		t.Fatal(err)
	}
	ours := searchPath()
	last := -1
	for dir := range strings.FieldsSeq(string(out)) {
		i := slices.Index(ours, dir)
		switch {
		case i < 0:
			t.Errorf("systemd searches %s and we do not", dir)
		// One of the two is a link to the other on most systems.
		case i < last && path.Base(path.Dir(path.Dir(dir))) != "lib":
			t.Errorf("systemd searches %s after %s, we before", dir, ours[last])
		}
		last = max(last, i)
	}
	if last < 0 {
		t.Error("systemd-analyze unit-paths printed nothing")
	}
}

func TestSystemdTriggersAndDropsInAsWeSay(t *testing.T) {
	compared := 0
	for _, test := range triggerTests {
		t.Run(test.name, func(t *testing.T) {
			m := test.machine
			if m["usr/lib/systemd/system/mariadb.service"] == "" {
				m["usr/lib/systemd/system/mariadb.service"] = service
			}
			r := newRoot(m.root(t))
			tree, err := readTree(r)
			if err != nil {
				t.Fatal(err)
			}
			held := map[string]Hold{"mariadb.service": hold("mariadb.service")}
			for _, h := range test.also {
				held[h.Unit] = h
			}
			var names []string
			for _, name := range tree.triggers(held) {
				if !unit.IsTemplate(name) && !tree.masked(name) {
					names = append(names, name)
				}
			}
			if len(names) == 0 {
				return
			}
			units, said := analyze(t, "LC_ALL=C", append([]string{"--root=" + r.dir}, names...)...)
			for _, name := range names {
				if units[name] == nil {
					t.Fatalf("systemd did not load %s:\n%s", name, said)
				}
				var dropIns []string
				for _, file := range tree.dropIns(name) {
					dropIns = append(dropIns, r.path(file))
				}
				if got := units.values(name, "DropIn Path"); !slices.Equal(got, dropIns) {
					t.Errorf("systemd has the drop-ins %v of %s, we have %v", got, name, dropIns)
				}
				compared++
				got := units.values(name, "Triggers")
				if want := tree.unit(tree.starts(name)); !slices.Equal(got, []string{want}) && !unit.IsTemplate(want) {
					t.Errorf("systemd has %s start %v, we have it start %s", name, got, want)
				}
			}
		})
	}
	if compared == 0 && !t.Failed() {
		t.Skip("nothing compared")
	}
}

func TestSystemdDropsInAsWeSay(t *testing.T) {
	m := machine{
		"usr/lib/systemd/system/foo-bar@.service": service,
		"usr/lib/systemd/system/a.service":        service,
		"etc/systemd/system/b.service":            "-> ../../../usr/lib/systemd/system/a.service",
	}
	dirs := []string{"etc/systemd/system.control", "etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system"}
	names := []string{"foo-bar@x.service", "foo-bar@.service", "foo-@x.service", "foo-@.service", "foo-.service", "foo.service", "service", "a.service", "b.service"}
	for i, name := range names {
		for j, other := range names[:i] { // which of two wins
			m[fmt.Sprintf("etc/systemd/system/%s.d/7%d%d.conf", name, i, j)] = "[Unit]\n"
			m[fmt.Sprintf("etc/systemd/system/%s.d/7%d%d.conf", other, i, j)] = "[Unit]\n"
			m[fmt.Sprintf("etc/systemd/system.control/%s.d/8%d%d.conf", name, i, j)] = "[Unit]\n"
			m[fmt.Sprintf("etc/systemd/system/%s.d/8%d%d.conf", other, i, j)] = "[Unit]\n"
		}
		for j, dir := range dirs {
			m[fmt.Sprintf("%s/%s.d/1%d%d.conf", dir, name, i, j)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/2%d.conf", dir, name, i)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/3%d.conf", dir, name, j)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/4.conf", dir, name)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/.5.conf", dir, name)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/6.conf~", dir, name)] = "[Unit]\n"
		}
	}
	r := newRoot(m.root(t))
	tree, err := readTree(r)
	if err != nil {
		t.Fatal(err)
	}
	units, said := analyze(t, "LC_ALL=C", "--root="+r.dir, "foo-bar@x.service", "a.service")
	for _, name := range []string{"foo-bar@x.service", "a.service"} {
		var want []string
		for _, file := range tree.dropIns(name) {
			want = append(want, r.path(file))
		}
		if got := units.values(name, "DropIn Path"); len(got) < 10 || !slices.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("of the %d drop-ins of %s, the %dth is %s to systemd and %s to us", len(got), name, i+1, got[i], want[i])
				}
			}
			t.Errorf("systemd has %d drop-ins of %s, we have %d\n%s", len(got), name, len(want), said)
		}
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
			units, said := analyze(t, "LC_ALL=C", "--root="+root, h.Unit)
			if got := units.values(h.Unit, "AssertPathExists"); !slices.Equal(got, []string{Token(h.Service)}) {
				t.Errorf("asserts %v\n%s", got, said)
			}
			if got := units.values(h.Unit, "BindsTo"); !slices.Equal(got, []string{unit.GrantOf(h.Service)}) {
				t.Errorf("is bound to %v", got)
			}
			after := units.values(h.Unit, "After")
			ordered := slices.Contains(after, "bootagent.service") && slices.Contains(after, unit.GrantOf(h.Service))
			if want := path.Ext(h.Unit) == ".service"; ordered != want {
				t.Errorf("is started after %v", after)
			}
			denied := units.values(h.Unit, "IPAddressDeny")
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
		units, said := analyze(t, "LC_ALL=C", "--root="+root, h.Unit)
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
	units, said := analyze(t, "LC_ALL=C", "--root="+root, "mariadb.service")
	if got := units.values("mariadb.service", "BindsTo"); !slices.Equal(got, []string{"bootagent-grant-mariadb.service"}) {
		t.Errorf("is bound to %v\n%s", got, said)
	}
	if got := units.values("mariadb.service", "AssertPathExists"); got != nil {
		t.Errorf("asserts %v still", got)
	}
	if got := units.values("mariadb.service", "IPAddressDeny"); got != nil {
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
	search := early + ":" + filepath.Join(root, installDir) + ":" + filepath.Join(root, "usr/lib/systemd/system")
	units, said := analyze(t, "SYSTEMD_UNIT_PATH="+search, "mariadb.service")
	if got, want := units.values("mariadb.service", "DropIn Path"), []string{dropIn(early, "mariadb.service")}; !slices.Equal(got, want) {
		t.Errorf("systemd has the drop-ins %v, not %v\n%s", got, want, said)
	}
	if got := units.values("mariadb.service", "BindsTo"); !slices.Equal(got, []string{"bootagent-grant-mariadb.service"}) {
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
	search := "SYSTEMD_UNIT_PATH=" + filepath.Join(root, installDir) + ":" // and the machine's own
	units, said := analyze(t, search, "multi-user.target")
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
	if _, said := analyze(t, search, "multi-user.target"); !strings.Contains(said, "ordering cycle") {
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
