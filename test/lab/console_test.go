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

func TestEachPlatformHasAComputer(t *testing.T) {
	for _, on := range image.Platforms() {
		if qemu.Console(on.Architecture) == "" {
			t.Errorf("%s: nothing runs machines with %s", on.Name, on.Architecture)
		}
	}
}
