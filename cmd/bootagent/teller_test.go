package main

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
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

// What EC2 or a ledger says may not be an order to systemd, nor to a terminal.
func TestForeignTextIsNoOrder(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer systemd.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	teller := newTeller(slog.New(slog.DiscardHandler))
	teller.file = filepath.Join(t.TempDir(), "status.json")
	teller.tell(status.Status{Role: "mysql", State: status.Failed, Reason: "EC2 says\nREADY=1\x1b[2J\u202e"})
	note := make([]byte, 4096)
	n, err := systemd.Read(note)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(note[:n]), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], `: EC2 says; READY=1\u001b[2J\u202e`) || !strings.HasPrefix(lines[1], "EXTEND_TIMEOUT_USEC=") {
		t.Errorf("systemd is told %q", lines)
	}
}

func TestWhatACommandPrintsIsHarmless(t *testing.T) {
	var out, errs bytes.Buffer
	name := filepath.Join(t.TempDir(), "a\x1b[31m\u202eb.yaml")
	if code := run(t.Context(), []string{"validate", name}, &out, &errs); code != exitFailed {
		t.Fatalf("exit %d", code)
	}
	if err := os.WriteFile(name, []byte("version: 1\nrole: web\nservices: {web.service: {}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(t.Context(), []string{"validate", name}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, printed := range []string{out.String(), errs.String()} {
		if strings.ContainsAny(printed, "\x1b\u202e") || !strings.Contains(printed, `a\u001b[31m\u202eb.yaml`) {
			t.Errorf("got %q", printed)
		}
	}
}
