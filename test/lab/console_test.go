package lab

import (
	"os"
	"testing"
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
