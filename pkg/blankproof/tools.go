package blankproof

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"bootagent/pkg/block"
)

// An opinion is what blkid and wipefs say of a disk.
type opinion struct {
	nothing    bool // both: nothing is on it
	ambiguous  bool
	signatures []Signature // by libblkid's names
	filesystem *Filesystem
}

// consult asks blkid and wipefs, side by side, what is on an opened disk.
func (p Prover) consult(ctx context.Context, f *os.File) (opinion, error) {
	var blkid, wipefs outcome
	var errBlkid, errWipefs error
	var both sync.WaitGroup
	both.Go(func() { blkid, errBlkid = p.run(ctx, f, "blkid", "-p", "-o", "export") })
	both.Go(func() { wipefs, errWipefs = p.run(ctx, f, "wipefs", "--no-act", "--parsable") })
	both.Wait()
	if err := cmp.Or(errBlkid, errWipefs); err != nil {
		return opinion{}, err
	}
	var o opinion
	format := ""
	// blkid(8): 0 found, 2 nothing, 8 ambivalent. It also exits with 2 where it
	// could not open or read; then it writes why.
	switch {
	case blkid.exit == 0:
		format, o.filesystem = parseBlkid(blkid.stdout)
	case blkid.exit == 2 && blkid.stderr == "" && blkid.stdout == "":
	case blkid.exit == 8:
		o.ambiguous = true
	default:
		return opinion{}, blkid.complaint()
	}
	if wipefs.exit != 0 {
		return opinion{}, wipefs.complaint()
	}
	var err error
	if o.signatures, err = parseWipefs(wipefs.stdout); err != nil {
		return opinion{}, err
	}
	if format != "" && len(o.signatures) == 0 {
		o.signatures = []Signature{{Name: format}} // blkid does not say where
	}
	o.nothing = blkid.exit == 2 && len(o.signatures) == 0
	if o.nothing && wipefs.stderr != "" {
		return opinion{}, wipefs.complaint()
	}
	return o, nil
}

// parseBlkid reads the output of blkid -o export. It returns the format that
// blkid found, and the filesystem if it is one. A partition table may be there
// too (PTTYPE), as where boot code ends like one: mount(8) does not look for it.
func parseBlkid(out string) (format string, fs *Filesystem) {
	values := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		values[key] = value
	}
	format = cmp.Or(values["TYPE"], values["PTTYPE"])
	// libblkid takes a disk of a ZFS pool for a filesystem.
	isFilesystem := values["USAGE"] == "filesystem" && !strings.HasSuffix(values["TYPE"], "_member")
	if isFilesystem && values["TYPE"] != "" {
		fs = &Filesystem{Type: values["TYPE"], UUID: values["UUID"]}
	}
	return format, fs
}

// parseWipefs reads the output of wipefs --parsable: "# offset,uuid,label,type",
// then such lines. wipefs escapes the commas of a label.
func parseWipefs(out string) ([]Signature, error) {
	var found []Signature
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, ",")
		offset, err := strconv.ParseInt(fields[0], 0, 64)
		if err != nil || len(fields) < 4 {
			return nil, fmt.Errorf("cannot understand wipefs: %q", line)
		}
		found = append(found, Signature{Name: fields[len(fields)-1], Offset: block.Offset(offset)})
	}
	return found, nil
}

const (
	// toolWithin is how long one program may take: each reads a few hundred
	// kilobytes.
	toolWithin = time.Minute

	// toolOutput is how much of a program's output is kept; a disk full of
	// signatures takes a few kilobytes.
	toolOutput = 64 * block.KiB
)

func (p Prover) toolDirs() []string {
	if p.tools != nil {
		return p.tools
	}
	return []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// An outcome is how a program ended that could be run.
type outcome struct {
	name           string
	exit           int
	stdout, stderr string
}

func (o outcome) complaint() error {
	said := strings.TrimSpace(o.stderr)
	if said == "" {
		said = "nothing said"
	}
	return fmt.Errorf("%s failed with exit status %d: %s", o.name, o.exit, said)
}

// errNoTool says that a program is not installed.
var errNoTool = errors.New("program missing; it comes with util-linux")

// run runs a program on an opened disk. The program opens it again, by the
// descriptor and not by its path: that is this disk even if its name by now
// means another.
func (p Prover) run(ctx context.Context, disk *os.File, name string, args ...string) (outcome, error) {
	path := ""
	for _, dir := range p.toolDirs() {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		return outcome{}, fmt.Errorf("%s: %w", name, errNoTool)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, toolWithin, fmt.Errorf("no answer within %s", toolWithin))
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append(args, "--", "/proc/self/fd/3")...)
	cmd.ExtraFiles = []*os.File{disk}
	cmd.Env = []string{"LC_ALL=C", "PATH=" + strings.Join(p.toolDirs(), ":")}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	var stdout, stderr bounded
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return outcome{}, fmt.Errorf("%s: %w", name, context.Cause(ctx))
	case stdout.full || stderr.full:
		return outcome{}, fmt.Errorf("%s said more than %v", name, toolOutput)
	case err != nil && (!errors.As(err, &exit) || !exit.Exited()):
		return outcome{}, fmt.Errorf("%s: %w", name, err)
	}
	return outcome{name: name, exit: cmd.ProcessState.ExitCode(), stdout: stdout.buf.String(), stderr: stderr.buf.String()}, nil
}

// bounded keeps what is written to it, up to toolOutput. With more the program's
// pipe breaks, which stops it.
type bounded struct {
	buf  bytes.Buffer // not embedded: its ReadFrom knows no bounds
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.full = len(p) > int(toolOutput)-b.buf.Len(); b.full {
		return 0, io.ErrShortWrite
	}
	return b.buf.Write(p)
}
