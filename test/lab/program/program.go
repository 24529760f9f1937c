// Package program runs the programs of this host that the lab needs, and says which are missing.
package program

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// emulators maps an architecture to the programs that only its machines need, and each to its Debian package.
var emulators = map[string]map[string]string{
	"amd64": {"qemu-system-x86_64": "qemu-system-x86"},
	"arm64": {
		"arch-test":           "arch-test", // mmdebstrap asks it whether this host runs programs for arm64
		"qemu-aarch64-static": "qemu-user-static",
		"qemu-system-aarch64": "qemu-system-arm",
	},
}

// needed maps each program that machines of an architecture need to the Debian package that contains it.
func needed(architecture string) map[string]string {
	need := map[string]string{
		"cp":         "coreutils",
		"debugfs":    "e2fsprogs",
		"mkfs.ext4":  "e2fsprogs",
		"mmdebstrap": "mmdebstrap",
		"nbdkit":     "nbdkit",
		"socat":      "socat",
		"tar":        "tar",
		"unshare":    "util-linux",
	}
	maps.Copy(need, emulators[architecture])
	if !privileged() {
		need["newuidmap"] = "uidmap"
	}
	return need
}

func privileged() bool { return os.Geteuid() == 0 }

// Missing returns the names of the Debian packages that this host lacks to build and boot an image of an
// architecture, such as "amd64".
func Missing(architecture string) []string {
	missing := map[string]bool{}
	for name, pkg := range needed(architecture) {
		if _, err := Path(name); err != nil {
			missing[pkg] = true
		}
	}
	return slices.Sorted(maps.Keys(missing))
}

// Path finds a program in $PATH or in /usr/sbin, which the PATH of many users lacks. The error is
// exec.LookPath's.
func Path(name string) (string, error) {
	found, err := exec.LookPath(name)
	if err == nil {
		return found, nil
	}
	if found, err := exec.LookPath(filepath.Join("/usr/sbin", name)); err == nil {
		return found, nil
	}
	return "", err
}

// Run runs a program until it exits. If the program fails, the error contains the end of its output.
func Run(ctx context.Context, argv ...string) error {
	path, err := Path(argv[0])
	if err != nil {
		return err
	}
	var output tail
	cmd := exec.CommandContext(ctx, path, argv[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin") // for the programs that it runs
	cmd.Stdout, cmd.Stderr = &output, &output
	// mmdebstrap unmounts its mounts on SIGTERM. SIGKILL would leave them.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("%s: %w\n%s", argv[0], err, output.bytes)
	}
	return nil
}

// RunAsRoot runs a program as root. If this process is not root, it uses a user namespace; files that
// the program makes then belong to users of that namespace.
func RunAsRoot(ctx context.Context, argv ...string) error {
	if privileged() {
		return Run(ctx, argv...)
	}
	return Run(ctx, append([]string{"unshare", "--user", "--map-root-user", "--map-auto", "--"}, argv...)...)
}

// A tail keeps the last tailSize bytes that are written to it.
type tail struct{ bytes []byte }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - tailSize; over > 0 {
		t.bytes = slices.Delete(t.bytes, 0, over)
	}
	return len(p), nil
}
