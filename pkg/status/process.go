package status

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ThisAgent returns this process, as the agent that writes a status.
func ThisAgent(version string) Agent {
	ticks, _ := startTicks(os.Getpid()) // without it, Running compares the name of the process
	return Agent{Version: version, PID: os.Getpid(), Started: time.Now().UTC().Truncate(time.Second), Ticks: ticks}
}

// Current reads the status file. If the agent that wrote it does not run any
// more, the state is Gone. The errors are those of Read.
func Current(path string) (Status, error) {
	s, err := Read(path)
	if err == nil && !s.Agent.Running() {
		s = s.Left()
	}
	return s, err
}

// Running reports whether the agent still runs.
func (a Agent) Running() bool {
	if a.PID <= 0 {
		return false
	}
	ticks, err := startTicks(a.PID)
	switch {
	case err == nil && a.Ticks != 0:
		return ticks == a.Ticks
	case err == nil:
		name, err := os.ReadFile("/proc/" + strconv.Itoa(a.PID) + "/comm")
		return err == nil && string(name) == "bootagent\n"
	}
	// If /proc hides the processes of other users (hidepid= of proc(5)), the
	// kernel still says whether there is one.
	return !errors.Is(unix.Kill(a.PID, 0), unix.ESRCH)
}

// startTicks returns when a process was started, in clock ticks since the start
// of the kernel.
func startTicks(pid int) (uint64, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// proc_pid_stat(5): the second field is a name in parentheses, which may
	// contain any character; starttime is field 22.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const starttime = 22 - 3
	if len(fields) <= starttime {
		return 0, fmt.Errorf("cannot read the stat file of process %d", pid)
	}
	return strconv.ParseUint(string(fields[starttime]), 10, 64)
}
