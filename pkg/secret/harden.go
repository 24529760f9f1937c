package secret

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Harden keeps this process out of core dumps, and its memory from every other
// process that has not CAP_SYS_PTRACE, those of the same user among them:
// PR_SET_DUMPABLE in prctl(2).
//
// What it costs: files below /proc/PID belong to root, which the agent is
// anyway, and others read neither its environment nor its open files. Children
// are not hardened: execve(2) makes them dumpable again, unless the program is
// set-user-ID. A child that runs as another user undoes it in part: until its
// execve it shares memory with this process, and a change of user sets for
// both what fs.suid_dumpable says, 0 or 2. With 2, root alone gets a dump; the
// unit's LimitCORE=0 has even that thrown away. Harden again after such a child.
//
// mlockall(2) is not needed: the unit has MemorySwapMax=0, so nothing of it is
// ever swapped, and locked memory would count what Go maps and never touches.
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot keep the process out of core dumps: %w", err)
	}
	return nil
}
