package program

import (
	"strings"
	"testing"
)

func TestMissingNamesPackages(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	if missing := strings.Join(Missing(), " "); !strings.Contains(missing, "qemu-system-x86") {
		t.Errorf("missing %q", missing)
	}
}
