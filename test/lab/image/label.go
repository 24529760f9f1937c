package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"bootagent/test/lab/program"
)

// contexts is the file of the image to which the labels of all its files are written, as lines of a path,
// a tab and a label. It is not on the disk.
const contexts = "/var/tmp/contexts"

// list writes it. What is mounted at boot has labels of its own.
const list = `cd / && find . -xdev \( -path ./proc -o -path ./dev -o -path ./run -o -path .` + contexts + ` \) -prune -o -printf '/%P\0' |
	xargs -0 matchpathcon >` + contexts

// label gives each file on the disk the label that the SELinux policy in root has for its path. Only root
// of the initial user namespace may set such an attribute, so debugfs writes it to the disk.
func label(ctx context.Context, root, disk string) error {
	if err := runInChroot(ctx, root, "sh", "-c", list); err != nil {
		return err
	}
	lines, err := os.ReadFile(filepath.Join(root, contexts))
	if err != nil {
		return err
	}
	var writes strings.Builder
	var last [2]string // path and label
	for line := range strings.Lines(string(lines)) {
		path, label, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok || strings.Contains(path, `"`) {
			return fmt.Errorf("cannot label the files of an image: matchpathcon printed %q", line)
		}
		if label != "<<none>>" {
			last = [2]string{path, label}
			fmt.Fprintf(&writes, "ea_set \"%s\" security.selinux %s\n", path, label)
		}
	}
	script := filepath.Join(filepath.Dir(disk), "label")
	filesystem := fmt.Sprintf("%s?offset=%d", disk, partition)
	if err := debugfs(ctx, script, writes.String(), "-w", filesystem); err != nil {
		return err
	}

	// debugfs exits with 0 if a command fails, so read the last label back.
	read := script + ".read"
	if err := program.Run(ctx, "debugfs", "-R", fmt.Sprintf("ea_get -f %s \"%s\" security.selinux", read, last[0]), filesystem); err != nil {
		return err
	}
	got, err := os.ReadFile(read)
	if err != nil {
		return err
	}
	if string(got) != last[1] {
		return fmt.Errorf("%s on the disk has the label %q, not %q", last[0], got, last[1])
	}
	return errors.Join(os.Remove(script), os.Remove(read))
}
