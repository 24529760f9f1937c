// Package unitfiletest makes root directories for tests, and asks the real systemd
// how it reads the units there: "systemd-analyze verify" prints each unit as loaded
// when it logs for debugging.
package unitfiletest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Service is the content of a service that runs a program.
const Service = "[Service]\nExecStart=/bin/sleep infinity\n"

// Root makes a root directory with files, from path to content. If the content
// begins with "-> ", the file is a link.
func Root(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if target, link := strings.CutPrefix(text, "-> "); link {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Loaded has the lines "Key: value" of each unit, as systemd has loaded it.
type Loaded map[string][]string

// Values returns the values of a key of a unit.
func (l Loaded) Values(unit, key string) []string {
	var values []string
	for _, line := range l[unit] {
		if value, ok := strings.CutPrefix(line, key+": "); ok {
			value, _, _ = strings.Cut(value, " (origin-")
			values = append(values, strings.TrimSuffix(value, " untested"))
		}
	}
	return values
}

// Analyze makes systemd load units, and returns them and the messages about them.
// It skips the test if systemd-analyze is not installed.
func Analyze(t testing.TB, env string, args ...string) (Loaded, string) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed (package systemd): how systemd reads units is not checked")
	}
	cmd := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, args...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=debug", env)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// It fails if anything about a unit is odd, which is so for the few units here.
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	units := make(Loaded)
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
