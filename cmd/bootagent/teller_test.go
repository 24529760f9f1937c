package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"bootagent/pkg/status"
)

// A status that could not be written, as the disk was full, is no lost one.
func TestAStatusThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	teller := newTeller(slog.New(slog.DiscardHandler))
	teller.file = filepath.Join(t.TempDir(), "absent", "status.json")
	ready := status.Status{Role: "mysql", State: status.Ready}
	teller.tell(ready)
	if err := os.Mkdir(filepath.Dir(teller.file), 0o755); err != nil {
		t.Fatal(err)
	}
	teller.tell(ready)
	if s, err := status.Read(teller.file); err != nil || s.State != status.Ready {
		t.Errorf("it is written that %+v, %v", s, err)
	}
}

// Each status is written once: to write it costs time, and wakes all that wait.
func TestAStatusThatHasNotChangedIsNotWrittenAgain(t *testing.T) {
	teller := newTeller(slog.New(slog.DiscardHandler))
	teller.file = filepath.Join(t.TempDir(), "status.json")
	written := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(teller.file)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	steps := func(state string) []status.Step { return []status.Step{{Name: "volume data: device", State: state}} }

	teller.tell(status.Status{Role: "mysql", State: status.Starting, Steps: steps("running")})
	first := written()
	teller.tell(status.Status{Role: "mysql", State: status.Starting, Steps: steps("running")})
	if !os.SameFile(first, written()) {
		t.Error("the same status was written twice")
	}
	teller.tell(status.Status{Role: "mysql", State: status.Starting, Steps: steps("done")})
	if os.SameFile(first, written()) {
		t.Error("a step was done, and that was not written")
	}
	if s, err := status.Read(teller.file); err != nil || s.Steps[0].State != "done" {
		t.Errorf("it is written that %+v, %v", s, err)
	}
}
