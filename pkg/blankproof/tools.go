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

// An opinion is what blkid and wipefs say about a disk.
type opinion struct {
	nothing    bool // both found nothing
	ambiguous  bool
	signatures []Signature // with the names of libblkid
	filesystem *Filesystem
}

// consult runs blkid and wipefs, at the same time, on an opened disk.
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
	// blkid(8): 0 found, 2 nothing, 8 ambivalent. It also exits with 2 if it
	// could not open or read the disk; then it prints why.
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
		o.signatures = []Signature{{Name: format}} // blkid does not print the offset
	}
	o.nothing = blkid.exit == 2 && len(o.signatures) == 0
	if o.nothing && wipefs.stderr != "" {
		return opinion{}, wipefs.complaint()
	}
	return o, nil
}

// parseBlkid parses the output of blkid -o export. It returns the format that
// blkid found, and the filesystem if it is one. The output may have a partition
// table too (PTTYPE), as for boot code that ends like one: mount(8) ignores it.
func parseBlkid(out string) (format string, fs *Filesystem) {
	values := map[string]string{}
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		values[key] = value
	}
	format = cmp.Or(values["TYPE"], values["PTTYPE"])
	// libblkid calls a disk of a ZFS pool a filesystem.
	isFilesystem := values["USAGE"] == "filesystem" && !strings.HasSuffix(values["TYPE"], "_member")
	if isFilesystem && values["TYPE"] != "" {
		fs = &Filesystem{Type: values["TYPE"], UUID: values["UUID"]}
	}
	return format, fs
}

// parseWipefs parses the output of wipefs --parsable: "# offset,uuid,label,type",
// then lines of these fields. wipefs escapes the commas of a label.
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
			return nil, fmt.Errorf("cannot parse the output of wipefs: line %q", line)
		}
		found = append(found, Signature{Name: fields[len(fields)-1], Offset: block.Offset(offset)})
	}
	return found, nil
}

const (
	// toolWithin is how long one program may run: each reads a few hundred
	// kilobytes.
	toolWithin = time.Minute

	// toolOutput is how much a program may print: for a disk full of signatures
	// it is a few kilobytes.
	toolOutput = 64 * block.KiB
)

func (p Prover) toolDirs() []string {
	if p.tools != nil {
		return p.tools
	}
	return []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// An outcome says how a program ended that could be run.
type outcome struct {
	name           string
	exit           int
	stdout, stderr string
}

func (o outcome) complaint() error {
	message := strings.TrimSpace(o.stderr)
	if message == "" {
		message = "it printed no error message"
	}
	return fmt.Errorf("%s failed with exit status %d: %s", o.name, o.exit, message)
}

// errNoTool says that a program is not installed.
var errNoTool = errors.New("program not found: install the package util-linux")

// run runs a program on an opened disk. The program opens the disk by the
// descriptor, not by its path: the path may lead to another disk by now.
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
	ctx, cancel := context.WithTimeoutCause(ctx, toolWithin, fmt.Errorf("it did not end within %s", toolWithin))
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
		return outcome{}, fmt.Errorf("%s printed more than %v", name, toolOutput)
	case err != nil && (!errors.As(err, &exit) || !exit.Exited()):
		return outcome{}, fmt.Errorf("%s: %w", name, err)
	}
	return outcome{name: name, exit: cmd.ProcessState.ExitCode(), stdout: stdout.buf.String(), stderr: stderr.buf.String()}, nil
}

// bounded keeps what is written to it, up to toolOutput bytes. A program that
// writes more gets a broken pipe, which ends it.
type bounded struct {
	buf  bytes.Buffer // not embedded: its ReadFrom has no limit
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.full = len(p) > int(toolOutput)-b.buf.Len(); b.full {
		return 0, io.ErrShortWrite
	}
	return b.buf.Write(p)
}
