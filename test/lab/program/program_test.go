package program

import (
	"strings"
	"testing"
)

func TestMissingNamesPackages(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	for architecture, want := range map[string]string{"amd64": "qemu-system-x86", "arm64": "qemu-system-arm"} {
		if missing := strings.Join(Missing(architecture), " "); !strings.Contains(missing, want) {
			t.Errorf("for %s, missing %q", architecture, missing)
		}
	}
}
