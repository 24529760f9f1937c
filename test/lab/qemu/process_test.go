package qemu

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

// bare is a command line for a QEMU with a monitor and no machine.
var bare = []string{
	"-nodefaults", "-no-user-config", "-display", "none", "-machine", "none",
	"-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control",
}

const orphan = "LAB_TEST_ORPHAN"

func TestMain(m *testing.M) {
	if os.Getenv(orphan) != "" {
		p, err := start(context.Background(), computers["amd64"].program, bare, [Slots]*server{}, os.Stderr)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.PID())
		<-p.Exited()
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
	if !alive(pid) {
		t.Fatal("QEMU has not started")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("QEMU outlived its parent by 10 s")
		}
	}
}

// alive reports whether a process runs. A zombie does not, and PID 1 of a container may never reap it.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestMonitorDistinguishesARefusalFromAClosedConnection(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "qemu.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p, err := start(t.Context(), computers["amd64"].program, bare, [Slots]*server{}, log)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()

	err = p.Monitor.Do(t.Context(), "device_del", map[string]any{"id": "nothing"}, nil)
	if err == nil || !strings.Contains(err.Error(), "'nothing' not found") {
		t.Errorf("a refusal: %v", err)
	}
	event := p.Monitor.watch(func(message) bool { return false })
	p.Stop()
	if err := p.Monitor.wait(t.Context(), event); !errors.Is(err, errClosed) {
		t.Errorf("an event that never comes: %v", err)
	}
	if err := p.Monitor.Do(t.Context(), "query-status", nil, nil); err == nil {
		t.Error("a dead QEMU answered query-status")
	}
	if p.Alive() {
		t.Error("a dead QEMU is alive")
	}
}
