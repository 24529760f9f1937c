package lab

import (
	"os"
	"testing"

	"bootagent/test/lab/image"
	"bootagent/test/lab/qemu"
)

func TestConsoleIsPlainText(t *testing.T) {
	m := &Machine{config: Config{Dir: t.TempDir()}}
	raw := "[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39ma.service\x1b[0m.\r\n\x1bM\r\x1b[K[ ***  ] A job\r\n"
	if err := os.WriteFile(m.path("console.log"), []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	if log, err := m.Console(); err != nil || log != "[  OK  ] Started a.service.\n[ ***  ] A job\n" {
		t.Errorf("got %q, %v", log, err)
	}
}

func TestAMachineTellsItsVersions(t *testing.T) {
	console := "[    0.000000] Linux version 6.12.118+deb13-cloud-amd64 (debian-kernel@lists.debian.org)\n" +
		"[    8.510273] systemd[1]: systemd 257.13-1~deb13u1 running in system mode (+PAM)\n"
	if got := toldVersions(console); got != (Versions{Kernel: "6.12.118+deb13-cloud-amd64", Systemd: "257.13-1~deb13u1"}) {
		t.Errorf("got %+v", got)
	}
	if got := toldVersions("hello\n"); got != (Versions{}) {
		t.Errorf("without a boot: got %+v", got)
	}
}

// A machine is started again only after what the agent can't have caused.
func TestAKernelFailsBeforeTheAgentBegins(t *testing.T) {
	const (
		kernel = "[    0.000000] Linux version 6.12.118+deb13-cloud-amd64\n"
		pid1   = "[    4.510273] systemd[1]: systemd 257.13-1~deb13u1 running in system mode (+PAM)\n"
		agent  = "         Starting bootagent.service...\n"
		panics = "[    6.893332] Kernel panic - not syncing: Fatal exception in interrupt\n"
	)
	for _, c := range []struct {
		name, console string
		on, failed    bool
	}{
		{"hangs before PID 1", kernel, true, true},
		{"QEMU has ended before PID 1", kernel, false, false},
		{"panics before PID 1", kernel + panics, false, true},
		{"panics before the agent", kernel + pid1 + panics, false, true},
		{"panics after the agent has begun", kernel + pid1 + agent + panics, false, false},
		{"hangs after PID 1 has begun", kernel + pid1, true, false},
	} {
		if got := kernelFailed(c.console, c.on); got != c.failed {
			t.Errorf("%s: got %t", c.name, got)
		}
	}
}

func TestEachPlatformHasAComputer(t *testing.T) {
	for _, on := range image.Platforms() {
		if qemu.Console(on.Architecture) == "" {
			t.Errorf("%s: nothing runs machines with %s", on.Name, on.Architecture)
		}
	}
}
