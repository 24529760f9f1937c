package secret

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// asChild has this program be a child of a test.
const asChild = "BOOTAGENT_TEST_CHILD"

func child(what string) {
	dumpable := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			panic(err)
		}
		return n
	}
	fmt.Print(what, " ", dumpable())
	if what != "hardened" {
		fmt.Print(" ")
		return
	}
	if err := Harden(); err != nil {
		panic(err)
	}
	fmt.Print(" then ", dumpable(), " ")
	for name, as := range map[string]*syscall.Credential{"the same": nil, "nobody": {Uid: 65534, Gid: 65534}} {
		if as != nil && os.Getuid() != 0 {
			continue
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{asChild + "=child"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		out, err := cmd.CombinedOutput()
		fmt.Print("as ", name, ": ", string(out), err, "; ")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	fmt.Print("reads ", len(mounts) > 0, " ", err)
}

// A process that is hardened can still run itself and others, which the agent
// does to look at disks.
func TestAHardenedProcessIsNotDumpedAndStillRunsChildren(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{asChild + "=hardened"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := string(out)
	for _, want := range []string{"hardened 1 then 0 ", "as the same: child 1 <nil>", "reads true <nil>"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	if os.Getuid() == 0 && strings.Contains(got, "as nobody: child") != readable(t) {
		t.Errorf("got %q, want a child of another user too", got)
	}
}

// readable tells whether another user can run this program, which the go
// command puts into a directory of its user's.
func readable(t *testing.T) bool {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{asChild + "=child"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd.Run() == nil
}
