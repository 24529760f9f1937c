package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func sh(ctx context.Context, script string) (string, error) {
	out, err := new(Group).Run(ctx, Task{Key: script}, nil, "/bin/sh", "-c", script)
	return string(out), err
}

func TestAChildsOutputIsWhatItPrints(t *testing.T) {
	out, err := sh(t.Context(), `echo out; echo err >&2; env | sort`)
	want := "out\nLC_ALL=C\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n"
	if err != nil || !strings.HasPrefix(out, want) || strings.Contains(out, "HOME=") {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestAChildThatFailsIsToldWithWhatItSaid(t *testing.T) {
	out, err := sh(t.Context(), `echo out; echo "it is broken" >&2; exit 3`)
	want := `/bin/sh -c echo out; echo "it is broken" >&2; exit 3: exit status 3: it is broken`
	if out != "" || err == nil || err.Error() != want {
		t.Errorf("got %q, %v", out, err)
	}
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("its exit code is lost: %v", err)
	}
	if _, err := new(Group).Run(t.Context(), Task{}, nil, "/absent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
}

// So that it says what took too long, however early that ended.
func TestAChildThatIsNotEvenStartedIsToldWithItsCause(t *testing.T) {
	late := errors.New("it took too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(late)
	if _, err := sh(ctx, "true"); !errors.Is(err, late) {
		t.Errorf("got %v", err)
	}
}

func TestAChildHasNotTheAgentsSlack(t *testing.T) {
	runtime.LockOSThread() // and it ends with the test
	const agents = 5 * time.Millisecond
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(agents), 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	out, err := sh(t.Context(), `exec cat /proc/self/timerslack_ns`)
	if err != nil || out != "50000\n" {
		t.Errorf("a child's timers have a slack of %q ns, %v", out, err)
	}
	if ours, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); time.Duration(ours) != agents || err != nil {
		t.Errorf("the agent's have %v, %v", time.Duration(ours), err)
	}
}

func TestAChildEndsWithItsDeadline(t *testing.T) {
	for name, script := range map[string]string{
		"sleeps":                   "exec sleep 60",
		"ignores being asked":      "trap '' TERM INT HUP; while :; do sleep 0.1; done",
		"leaves a child that runs": "sleep 2 & echo out",
		"prints for ever":          "exec yes",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			late := errors.New("it took too long")
			ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, late)
			defer cancel()
			began := time.Now()
			_, err := sh(ctx, script)
			if took := time.Since(began); !errors.Is(err, late) || took > 3*time.Second {
				t.Errorf("after %s: %v", took, err)
			}
		})
	}
}

func TestAChildOfACancelledCallerIsNotWaitedFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sh(ctx, "exec sleep 60"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAChildsOutputIsBounded(t *testing.T) {
	out, err := sh(t.Context(), fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; head -c %d /dev/zero >&2", outputMax+4096, outputMax+4096))
	if err != nil || len(out) != outputMax || strings.Trim(out, "x") != "" {
		t.Errorf("got %d bytes, %v", len(out), err)
	}
}

func TestLimitedKeepsTheFirstAndTakesAll(t *testing.T) {
	l := limited{max: outputMax}
	for _, n := range []int{1, outputMax - 2, 5, 0, outputMax} {
		if took, err := l.Write(make([]byte, n)); took != n || err != nil {
			t.Errorf("of %d bytes it took %d, %v", n, took, err)
		}
	}
	if len(l.kept) != outputMax {
		t.Errorf("it kept %d bytes", len(l.kept))
	}
}

func TestAChildRunsAsItsUser(t *testing.T) {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		t.Skip("running as another user needs root")
	}
	for _, name := range []string{u.Username, "nobody"} {
		as, _, err := As(name)
		if err != nil {
			t.Fatal(err)
		}
		out, err := new(Group).Run(t.Context(), Task{}, as, "/usr/bin/id", "-un")
		if err != nil || string(out) != name+"\n" {
			t.Errorf("it is %q, %v; want %s", out, err, name)
		}
		// Of the agent's groups it has none.
		if out, err := new(Group).Run(t.Context(), Task{}, as, "/usr/bin/id", "-G"); err != nil || strings.TrimSpace(string(out)) != fmt.Sprint(as.Gid) {
			t.Errorf("its groups are %q, %v; want %d", out, err, as.Gid)
		}
	}
	if _, _, err := As("nosuchuser"); err == nil {
		t.Error("a user that is not there has a number")
	}
}
