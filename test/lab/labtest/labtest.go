// Package labtest provides images and machines for tests, and closes them. When a test fails, it keeps
// the files of its machines: console.log, qemu.log and, if the machine still answers, its journal.
package labtest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bootagent/test/lab"
	"bootagent/test/lab/image"
)

// Log returns a logger that writes to the output of the test.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// Image builds an image, or returns it from the cache.
func Image(t testing.TB, spec image.Spec) *image.Image {
	t.Helper()
	img, err := image.Build(t.Context(), spec, Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

// Machine makes a machine in a folder that has the name of the test. It ignores cfg.Dir. If a test has
// several machines, each needs another name.
func Machine(t testing.TB, img *image.Image, name string, cfg lab.Config) *lab.Machine {
	t.Helper()
	cfg.Dir = filepath.Join(folder(t), name)
	if err := os.RemoveAll(cfg.Dir); err != nil { // left by an earlier failure
		t.Fatal(err)
	}
	m, err := lab.New(t.Context(), img, cfg, Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Leave(t, m) })
	return m
}

// Dir makes an empty folder that has the name of the test. The folder stays if the test fails.
func Dir(t testing.TB) string {
	t.Helper()
	dir := folder(t)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("see", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func folder(t testing.TB) string {
	return filepath.Join(keep(t), strings.ReplaceAll(t.Name(), "/", "-"))
}

// journalDeadline is how long a failed machine may take to print its journal.
const journalDeadline = 30 * time.Second

// Leave closes a machine at the end of its test, and removes its files if the test has passed. What the
// machine ran becomes attributes of the test: the platform, and the versions that its console tells.
func Leave(t testing.TB, m *lab.Machine) {
	dir := m.Dir()
	if told, err := m.Versions(); err == nil { // it was on
		t.Attr("platform", m.Platform().Name)
		t.Attr("kernel", told.Kernel)
		t.Attr("systemd", told.Systemd)
	}
	if t.Failed() {
		ctx, cancel := context.WithTimeout(context.Background(), journalDeadline) // the context of the test has ended
		defer cancel()
		journal, err := m.Output(ctx, "journalctl", "--boot", "--no-pager", "--output=short-precise")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "journal.txt"), []byte(journal), 0o644)
		}
		if err != nil {
			t.Logf("cannot read the journal of the failed machine: %v", err)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("the console ends with\n%s\nthe whole console and the other logs are in %s", m.ConsoleTail(), dir)
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	_ = os.Remove(filepath.Dir(dir)) // fails if the folder contains another machine of the test
}

// keep returns $BOOTAGENT_LAB_KEEP, or build/lab of the project.
func keep(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("BOOTAGENT_LAB_KEEP"); dir != "" {
		return dir
	}
	dir, err := os.Getwd() // go test runs a test in the folder of its package
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module bootagent\n") {
			return filepath.Join(dir, "build", "lab")
		}
	}
	t.Fatal("cannot find the go.mod of bootagent above the folder of the test: set BOOTAGENT_LAB_KEEP")
	return ""
}
