package blankproof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"bootagent/pkg/block"
	"bootagent/pkg/program"
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
	var blkid, wipefs program.Result
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
	case blkid.Exit == 0:
		format, o.filesystem = parseBlkid(blkid.Stdout)
	case blkid.Exit == 2 && blkid.Stderr == "" && blkid.Stdout == "":
	case blkid.Exit == 8:
		o.ambiguous = true
	default:
		return opinion{}, blkid.Failure()
	}
	if wipefs.Exit != 0 {
		return opinion{}, wipefs.Failure()
	}
	var err error
	if o.signatures, err = parseWipefs(wipefs.Stdout); err != nil {
		return opinion{}, err
	}
	if format != "" && len(o.signatures) == 0 {
		o.signatures = []Signature{{Name: format}} // blkid does not print the offset
	}
	o.nothing = blkid.Exit == 2 && len(o.signatures) == 0
	if o.nothing && wipefs.Stderr != "" {
		return opinion{}, wipefs.Failure()
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

// errNoTool says that a program is not installed.
var errNoTool = errors.New("program not found: install the package util-linux")

// run runs a program on an opened disk. The program opens the disk by the
// descriptor, not by its path: the path may lead to another disk by now.
func (p Prover) run(ctx context.Context, disk *os.File, name string, args ...string) (program.Result, error) {
	path := program.Find(name, p.toolDirs())
	if path == "" {
		return program.Result{}, fmt.Errorf("%s: %w", name, errNoTool)
	}
	return program.Command{
		Path:   path,
		Args:   append(args, "--", "/proc/self/fd/3"),
		Env:    []string{"LC_ALL=C", "PATH=" + strings.Join(p.toolDirs(), ":")},
		Files:  []*os.File{disk},
		Within: toolWithin, Output: int(toolOutput),
	}.Run(ctx)
}
