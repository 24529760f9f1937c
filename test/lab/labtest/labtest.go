// Package labtest gives tests images and machines, closes them, and keeps what a machine of a failed
// test leaves behind: console.log, qemu.log and, where it still answers, its journal.
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

// Log writes to the test's output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// Image builds an image, or takes it from the cache.
func Image(t testing.TB, spec image.Spec) *image.Image {
	t.Helper()
	img, err := image.Build(t.Context(), spec, Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

// Machine makes a machine in a folder named for the test; cfg.Dir is ignored. A test that has more
// than one names them.
func Machine(t testing.TB, img *image.Image, name string, cfg lab.Config) *lab.Machine {
	t.Helper()
	cfg.Dir = filepath.Join(folder(t), name)
	if err := os.RemoveAll(cfg.Dir); err != nil { // an earlier failure's
		t.Fatal(err)
	}
	m, err := lab.New(t.Context(), img, cfg, Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Leave(t, m) })
	return m
}

// Dir makes an empty folder named for the test, which stays if the test fails.
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

// How long a failed machine may take to hand over its journal.
const journalDeadline = 30 * time.Second

// Leave closes a machine at the end of its test.
func Leave(t testing.TB, m *lab.Machine) {
	dir := m.Dir()
	if t.Failed() {
		ctx, cancel := context.WithTimeout(context.Background(), journalDeadline) // the test's own has ended
		defer cancel()
		journal, err := m.Output(ctx, "journalctl", "--boot", "--no-pager", "--output=short-precise")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "journal.txt"), []byte(journal), 0o644)
		}
		if err != nil {
			t.Logf("no journal of the failed machine: %v", err)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("the console ends with\n%s\nall of it, and more, is in %s", m.ConsoleTail(), dir)
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	_ = os.Remove(filepath.Dir(dir)) // unless another machine of the test is in it
}

// keep is $BOOTAGENT_LAB_KEEP, or build/lab of the project.
func keep(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("BOOTAGENT_LAB_KEEP"); dir != "" {
		return dir
	}
	dir, err := os.Getwd() // a test runs in its package's folder
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module bootagent\n") {
			return filepath.Join(dir, "build", "lab")
		}
	}
	t.Fatal("cannot find the project above the test: set BOOTAGENT_LAB_KEEP")
	return ""
}
