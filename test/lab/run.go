package lab

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// tools of the host, and the Debian package that has each.
func tools() map[string]string {
	need := map[string]string{
		"cp":                 "coreutils",
		"debugfs":            "e2fsprogs",
		"mkfs.ext4":          "e2fsprogs",
		"mmdebstrap":         "mmdebstrap",
		"qemu-system-x86_64": "qemu-system-x86",
		"socat":              "socat",
		"tar":                "tar",
		"unshare":            "util-linux",
	}
	if !privileged() {
		need["newuidmap"] = "uidmap"
	}
	return need
}

func privileged() bool { return os.Geteuid() == 0 }

// Missing names the Debian packages that this host lacks to build and boot an image.
func Missing() []string {
	missing := map[string]bool{}
	for tool, pkg := range tools() {
		if _, err := lookPath(tool); err != nil {
			missing[pkg] = true
		}
	}
	return slices.Sorted(maps.Keys(missing))
}

// lookPath finds what is in /usr/sbin for a user whose PATH does not have it.
func lookPath(tool string) (string, error) {
	found, err := exec.LookPath(tool)
	if err == nil {
		return found, nil
	}
	if found, err := exec.LookPath(filepath.Join("/usr/sbin", tool)); err == nil {
		return found, nil
	}
	return "", err
}

// run runs a program of the host to its end. Its output is seen only if it fails, and then the last of it.
func run(ctx context.Context, argv ...string) error {
	program, err := lookPath(argv[0])
	if err != nil {
		return err
	}
	var output tail
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin") // for what it runs in turn
	cmd.Stdout, cmd.Stderr = &output, &output
	// Asked to stop, mmdebstrap unmounts what it mounted; killed, it can't.
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

// runAsRoot runs a program as root, of a user namespace if need be: the owners of the image's files
// are then users of that namespace.
func runAsRoot(ctx context.Context, argv ...string) error {
	if privileged() {
		return run(ctx, argv...)
	}
	return run(ctx, append([]string{"unshare", "--user", "--map-root-user", "--map-auto", "--"}, argv...)...)
}

// runInChroot runs a program in root, without the network; no process that it starts outlives it.
func runInChroot(ctx context.Context, root string, argv ...string) error {
	enter := []string{"unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--", "sh", "-c", chroot, "chroot.sh", root}
	if err := runAsRoot(ctx, append(enter, argv...)...); err != nil {
		return fmt.Errorf("cannot run %s in the image: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// A tail keeps the last of what is written to it.
type tail struct{ bytes []byte }

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - tailSize; over > 0 {
		t.bytes = slices.Delete(t.bytes, 0, over)
	}
	return len(p), nil
}
