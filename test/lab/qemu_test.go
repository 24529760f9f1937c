package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// bare is a QEMU without a machine, but with a monitor.
var bare = []string{
	"-nodefaults", "-no-user-config", "-display", "none", "-machine", "none",
	"-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control",
}

const orphan = "LAB_TEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphan) != "" {
		q, err := launch(context.Background(), bare, os.Stderr)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(q.process.Pid)
		<-q.exited
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestQEMUDiesWithTheProcessThatStartedIt(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), orphan+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("no process: %s", line)
	}
	if !lives(pid) {
		t.Fatal("QEMU did not live")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for deadline := time.Now().Add(10 * time.Second); lives(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("QEMU outlived its parent by 10 s")
		}
	}
}

// lives is false of a zombie, which a container's first process may never reap.
func lives(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestMonitorTellsRefusalFromHangUp(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "qemu.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	q, err := launch(t.Context(), bare, log)
	if err != nil {
		t.Fatal(err)
	}
	defer q.stop()

	err = q.monitor.do(t.Context(), "device_del", map[string]any{"id": "nothing"}, nil)
	if err == nil || !strings.Contains(err.Error(), "'nothing' not found") {
		t.Errorf("a refusal: %v", err)
	}
	event := q.monitor.watch(func(message) bool { return false })
	q.stop()
	if err := q.monitor.wait(t.Context(), event); !errors.Is(err, errHungUp) {
		t.Errorf("an event that never comes: %v", err)
	}
	if err := q.monitor.do(t.Context(), "query-status", nil, nil); err == nil {
		t.Error("a dead QEMU told its status")
	}
	if q.alive() {
		t.Error("a dead QEMU is alive")
	}
}

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

func TestMissingNamesPackages(t *testing.T) {
	t.Setenv("PATH", "/nonexistent")
	if missing := strings.Join(Missing(), " "); !strings.Contains(missing, "qemu-system-x86") {
		t.Errorf("missing %q", missing)
	}
}
