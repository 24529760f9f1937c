package rules

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What the packages' scripts do is tried with programs that only note how they
// were called, on a machine that is a directory.
func TestScripts(t *testing.T) {
	const (
		guard = "etc/systemd/system/mariadb.service.d/50-held-by-bootagent.conf"
		named = `etc/systemd/system/srv-my\x2ddata.service.d/50-held-by-bootagent.conf`
		role  = "etc/bootagent/roles.d/mysql.yaml"
		agent = "etc/bootagent/agent.yaml"
		state = "var/lib/bootagent/history"
	)
	for _, tt := range []struct {
		name   string
		script string
		args   []string
		booted bool     // systemd runs
		calls  []string // in this order, without those that only ask or enable
		stays  []string // files
		goes   []string
		says   []string
		frees  bool // it says how to delete the guards, and that works as it is pasted
	}{
		{
			name: "installed in a chroot, nothing is started", script: "deb/postinst", args: []string{"configure", ""},
			says: []string{"was not started", "next boot"},
		},
		{
			name: "installed on a running system, nothing is started", script: "deb/postinst", args: []string{"configure", ""}, booted: true,
			calls: []string{"systemctl --system daemon-reload"},
			says:  []string{"was not started", "next boot"},
		},
		{
			name: "upgraded on a running system, the agent alone is restarted", script: "deb/postinst", args: []string{"configure", "0.0.9-1"}, booted: true,
			calls: []string{"systemctl --system daemon-reload", "deb-systemd-invoke try-restart bootagent.service"},
		},
		{
			name: "upgraded in a chroot, nothing is restarted", script: "deb/postinst", args: []string{"configure", "0.0.9-1"},
		},
		{
			name: "before an upgrade, nothing is stopped", script: "deb/prerm", args: []string{"upgrade", "0.2.0-1"}, booted: true,
			stays: []string{guard, role, state},
		},
		{
			name: "removed, the units stay held and the databases run on", script: "deb/prerm", args: []string{"remove"}, booted: true,
			calls: []string{"bootagent-generator /etc/systemd/system", "deb-systemd-invoke stop bootagent.service"},
			stays: []string{guard, named, role, agent, state},
			says:  []string{guard, named, "until\nthe next shutdown they can be stopped and started again", "After the next boot, no unit of a role starts"},
			frees: true,
		},
		{
			name: "removed in a chroot, the units stay held", script: "deb/prerm", args: []string{"remove"},
			calls: []string{"bootagent-generator /etc/systemd/system"},
			stays: []string{guard, named, role, agent, state},
			says:  []string{guard, named},
			frees: true,
		},
		{
			name: "after the removal, the state stays", script: "deb/postrm", args: []string{"remove"}, booted: true,
			calls: []string{"systemctl --system daemon-reload"},
			stays: []string{guard, role, state},
		},
		{
			name: "purged, guards, role files and settings stay, and are told", script: "deb/postrm", args: []string{"purge"}, booted: true,
			stays: []string{guard, named, role, agent},
			goes:  []string{state},
			says:  []string{"role files", "stay", role, agent, "its guards stay", guard, named},
			frees: true,
		},
		{
			name: "rpm installed in a chroot, nothing is started", script: "rpm/post", args: []string{"1"},
			says: []string{"was not started", "next boot"},
		},
		{
			name: "rpm installed on a running system, nothing is started", script: "rpm/post", args: []string{"1"}, booted: true,
			calls: []string{"systemctl daemon-reload"},
		},
		{
			name: "rpm upgraded on a running system, the agent alone is restarted", script: "rpm/post", args: []string{"2"}, booted: true,
			calls: []string{"systemctl daemon-reload", "systemctl try-restart bootagent.service"},
		},
		{
			name: "after an rpm upgrade, the old package stops nothing", script: "rpm/preun", args: []string{"1"}, booted: true,
			stays: []string{guard, role, state},
		},
		{
			name: "rpm removed, the units stay held and the databases run on", script: "rpm/preun", args: []string{"0"}, booted: true,
			calls: []string{"bootagent-generator /etc/systemd/system", "systemctl stop bootagent.service"},
			stays: []string{guard, named, role, agent, state},
			says:  []string{guard, named, "until\nthe next shutdown they can be stopped and started again", "After the next boot, no unit of a role starts"},
			frees: true,
		},
		{
			name: "after the rpm removal, the state stays, and is told", script: "rpm/postun", args: []string{"0"}, booted: true,
			calls: []string{"systemctl daemon-reload"},
			stays: []string{guard, named, role, agent, state},
			says:  []string{"stay", role, agent, state},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.booted)
			for _, file := range []string{guard, named, role, agent, state} {
				m.write(file, "")
			}
			said := m.run(tt.script, tt.args...)
			var calls []string
			for _, call := range m.calls() {
				if !strings.HasPrefix(call, "deb-systemd-helper ") && !strings.HasPrefix(call, "systemctl --no-reload ") {
					calls = append(calls, call)
				}
			}
			if !slices.Equal(calls, tt.calls) {
				t.Errorf("called %q, want %q", calls, tt.calls)
			}
			for _, file := range tt.stays {
				if !m.has(file) {
					t.Errorf("%s is gone", file)
				}
			}
			for _, file := range tt.goes {
				if m.has(file) {
					t.Errorf("%s is still there", file)
				}
			}
			for _, words := range tt.says {
				if !strings.Contains(said, words) {
					t.Errorf("said %q, want in it %q", said, words)
				}
			}
			if tt.frees {
				m.paste(said)
				if m.has(guard) || m.has(named) || m.calls()[len(m.calls())-1] != "systemctl daemon-reload" {
					t.Errorf("what it says to run does not delete the guards: %q", said)
				}
			}
		})
	}
}

// A guard that can't be written must not keep a person from removing the
// package, but is told.
func TestRemovalTellsWhatItCouldNotHold(t *testing.T) {
	for script, args := range map[string][]string{"deb/prerm": {"remove"}, "rpm/preun": {"0"}} {
		m := newMachine(t, true)
		m.program(generator, "exit 1")
		if said := m.run(script, args...); !strings.Contains(said, "cannot install a guard") {
			t.Errorf("%s said %q", script, said)
		}
	}
}

func TestScriptsEnableWhatThePresetEnables(t *testing.T) {
	var preset []string
	for _, line := range lines(t, root+"/units/50-bootagent.preset") {
		if unit, ok := strings.CutPrefix(line, "enable "); ok {
			preset = append(preset, unit)
		}
	}
	slices.Sort(preset)
	var installable []string
	for _, unit := range units(t) {
		if slices.Contains(lines(t, root+"/units/"+unit), "[Install]") {
			installable = append(installable, unit)
		}
	}
	if !slices.Equal(preset, installable) {
		t.Errorf("the preset enables %q, and those with an [Install] section are %q", preset, installable)
	}
	for script, call := range map[string][]string{
		"deb/postinst": {"configure", ""},
		"deb/postrm":   {"purge"},
		"rpm/post":     {"1"},
		"rpm/preun":    {"0"},
	} {
		m := newMachine(t, false)
		m.run(script, call...)
		var named []string
		for _, call := range m.calls() {
			if !strings.HasPrefix(call, "deb-systemd-helper ") && !strings.HasPrefix(call, "systemctl --no-reload ") {
				continue
			}
			for _, word := range strings.Fields(call) {
				if strings.HasPrefix(word, "bootagent") && !slices.Contains(named, word) {
					named = append(named, word)
				}
			}
		}
		slices.Sort(named)
		if !slices.Equal(named, preset) {
			t.Errorf("%s is about %q, and the preset enables %q", script, named, preset)
		}
	}
}

const generator = "usr/lib/systemd/system-generators/bootagent-generator"

// A machine is a directory that a script takes for the root.
type machine struct {
	t    *testing.T
	root string
	log  string
}

func newMachine(t *testing.T, booted bool) *machine {
	m := &machine{t: t, root: t.TempDir()}
	m.log = filepath.Join(m.root, "calls")
	for _, name := range []string{"systemctl", "deb-systemd-helper", "deb-systemd-invoke"} {
		m.program("usr/bin/"+name, "")
	}
	m.program(generator, "")
	if booted {
		m.write("run/systemd/system/x", "")
	}
	return m
}

// program writes a program that notes its call.
func (m *machine) program(file, more string) {
	name := filepath.Base(file)
	m.write(file, "#!/bin/sh\necho "+name+` "$*" >>`+m.log+"\n"+more+"\n")
	if err := os.Chmod(filepath.Join(m.root, file), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) write(file, text string) {
	path := filepath.Join(m.root, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) has(file string) bool {
	_, err := os.Stat(filepath.Join(m.root, file))
	return err == nil
}

// run runs a script of the packaging with its paths in the machine, and gives
// what it said. A script that fails fails the test.
func (m *machine) run(script string, args ...string) string {
	m.t.Helper()
	text, err := os.ReadFile(root + "/packaging/" + script)
	if err != nil {
		m.t.Fatal(err)
	}
	local := string(text)
	for _, dir := range []string{"/run/", "/etc/", "/var/", "/usr/"} {
		local = strings.ReplaceAll(local, dir, m.root+dir)
	}
	sh := exec.Command("sh", append([]string{"-c", local, "script"}, args...)...)
	sh.Env = []string{"PATH=" + m.root + "/usr/bin:/usr/bin:/bin"}
	out, err := sh.CombinedOutput()
	if err != nil {
		m.t.Errorf("%s %q: %v\n%s", script, args, err, out)
	}
	return string(out)
}

// paste runs the one command among what a script said.
func (m *machine) paste(said string) {
	m.t.Helper()
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "rm ") {
			sh := exec.Command("sh", "-ec", line)
			sh.Env = []string{"PATH=" + m.root + "/usr/bin:/usr/bin:/bin"}
			if out, err := sh.CombinedOutput(); err != nil {
				m.t.Errorf("%s: %v\n%s", line, err, out)
			}
			return
		}
	}
	m.t.Errorf("no command is in %q", said)
}

// calls are the programs that were called, with their arguments.
func (m *machine) calls() []string {
	if _, err := os.Stat(m.log); err != nil {
		return nil
	}
	var calls []string
	for _, call := range lines(m.t, m.log) {
		calls = append(calls, strings.ReplaceAll(call, m.root, ""))
	}
	return calls
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		all = append(all, s.Text())
	}
	return all
}
