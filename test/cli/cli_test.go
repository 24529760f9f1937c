// Package cli runs the program itself, as people and scripts call it.
package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

// boxed is set where this program runs in a mount namespace of its own.
const boxed = "BOOTAGENT_TEST_BOXED"

// TestMain runs the tests on a /run of their own, so that they can say what an
// agent has told, and see nothing of one that this machine may have; and without
// a network, so that they ask nobody's metadata service.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(boxed) == "" {
		if code, err := runBoxed(); err == nil {
			os.Exit(code)
		} else {
			fmt.Fprintln(os.Stderr, "no mount namespace here:", err)
		}
	} else if err := hide("/run", "/etc/bootagent"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runBoxed runs this program once more, in namespaces of its own. A mount
// needs root, or to be it in a user namespace.
func runBoxed() (code int, err error) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), boxed+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() < 0 {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// hide puts empty directories over those that are there.
func hide(dirs ...string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot keep mounts to this process: %w", err)
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("cannot hide %s: %w", dir, err)
		}
	}
	return nil
}

func TestScripts(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-C", "../..", "-ldflags", "-X main.version=1.2.3", "-o", bin+"/", "./cmd/bootagent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("TZ", "UTC")
			return nil
		},
		Condition: lacks,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
			"disk":  disk,
			"told":  told,
			"left":  left,
		},
	})
}

// lacks is the condition lacks:TOOL, for which a script can be skipped, and
// lacks:box for a /run of the tests' own. Where nothing may be skipped, it is
// an error.
func lacks(cond string) (bool, error) {
	what, ok := strings.CutPrefix(cond, "lacks:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	lacking := false
	if what == "box" {
		lacking = os.Getenv(boxed) == ""
	} else if _, err := exec.LookPath(what); err != nil {
		lacking = true
	}
	if lacking && os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
		return false, fmt.Errorf("%s is missing here", what)
	}
	return lacking, nil
}

// exits runs a program that has to end with an exit code: exits CODE PROGRAM ARG...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want, err := strconv.Atoi(args[0]); err != nil || code != want {
		ts.Fatalf("%q exits with %d, want %s", args[1:], code, args[0])
	}
}

// disk makes a sparse image: disk FILE MIB
func disk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: disk FILE MIB")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	path := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(path, nil, 0o600))
	ts.Check(os.Truncate(path, size<<20))
}

// told has an agent that runs tell its status: told FILE; or none, without a
// file. This process is the agent.
func told(ts *testscript.TestScript, neg bool, args []string) {
	left(ts, neg, args)
	if len(args) == 0 {
		return
	}
	const file = "/run/bootagent/status.json"
	src, err := os.ReadFile(file)
	ts.Check(err)
	var status map[string]any
	if json.Unmarshal(src, &status) != nil {
		return // it is meant to be none
	}
	stat, err := os.ReadFile("/proc/self/stat")
	ts.Check(err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	status["agent"] = map[string]any{"pid": os.Getpid(), "start_ticks": json.Number(fields[19])}
	src, err = json.Marshal(status)
	ts.Check(err)
	ts.Check(os.WriteFile(file, src, 0o644))
}

// left has an agent that does not run any more have told its status: left FILE
func left(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 || os.Getenv(boxed) == "" {
		ts.Fatalf("usage: told|left [FILE], in a box")
	}
	const dir = "/run/bootagent"
	ts.Check(os.RemoveAll(dir))
	if len(args) == 0 {
		return
	}
	ts.Check(os.Mkdir(dir, 0o755))
	ts.Check(os.WriteFile(filepath.Join(dir, "status.json"), []byte(ts.ReadFile(args[0])), 0o644))
}
