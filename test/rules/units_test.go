package rules

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSystemdUnderstandsTheUnits(t *testing.T) {
	dir := unpacked(t)
	args := append([]string{"verify", "--root=" + dir, "--man=no", "--recursive-errors=no"}, units(t)...)
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The sandbox of the agent, as systemd-analyze rates it: 0.0 is sealed, 10.0
// is none at all. Root without a network namespace of its own does not get
// much lower than this. A tenth is CAP_NET_RAW, which passes systemd's lock of
// the metadata service. Two more are fsopen and its like, by which the agent looks at
// a filesystem; it still cannot mount one anywhere.
func TestTheAgentIsSealedIn(t *testing.T) {
	dir := unpacked(t)
	const worst = "32" // tenths; one of them is CAP_KILL, without which an engine that hangs is never ended
	out, err := exec.Command("systemd-analyze", "security", "--root="+dir, "--offline=yes", "--no-pager",
		"--threshold="+worst, "bootagent.service").CombinedOutput()
	var open []string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "✗") {
			open = append(open, line)
		}
		if strings.HasPrefix(line, "→") {
			t.Log(line)
		}
	}
	if err != nil {
		t.Errorf("more than %s tenths: %v\n%s", worst, err, strings.Join(open, ""))
	}
}

// unpacked is a directory with what is in the package, and what the units run
// beside that.
func unpacked(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	dir := t.TempDir()
	run(t, "dpkg-deb", "--extract", packageFile(t, "bootagent_*_amd64.deb"), dir)
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/true"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
