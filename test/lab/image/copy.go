package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/test/lab/program"
)

// Copy makes a copy of the image's disk, and writes files to it, by absolute path.
func (i *Image) Copy(ctx context.Context, disk string, files map[string]File) error {
	if err := program.Run(ctx, "cp", "--reflink=auto", "--sparse=auto", "--", i.disk(), disk); err != nil {
		return err
	}
	if err := write(ctx, disk, files); err != nil {
		return errors.Join(err, os.Remove(disk))
	}
	return nil
}

// write writes files to the filesystem of a disk, which is not mounted.
func write(ctx context.Context, disk string, files map[string]File) error {
	if len(files) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp(filepath.Dir(disk), "files-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var writes, reads strings.Builder
	made := map[string]bool{}
	names := slices.Sorted(maps.Keys(files))
	for n, name := range names {
		if !path.IsAbs(name) || strings.ContainsAny(name, "\"\n") {
			return fmt.Errorf("cannot put %q on the disk: the path has to be absolute and without quotes and newlines", name)
		}
		file := files[name]
		source := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(source, file.Data, 0o600); err != nil {
			return err
		}
		for _, parent := range parents(name) {
			if !made[parent] {
				fmt.Fprintf(&writes, "mkdir %q\n", parent) // fails if it exists
				made[parent] = true
			}
		}
		fmt.Fprintf(&writes, "rm %q\n", name) // fails if it does not exist
		fmt.Fprintf(&writes, "write %q %q\n", source, name)
		fmt.Fprintf(&writes, "set_inode_field %q mode 0%o\n", name, 0o100000|file.Perm())
		fmt.Fprintf(&writes, "set_inode_field %q uid 0\nset_inode_field %q gid 0\n", name, name)
		fmt.Fprintf(&reads, "dump %q %q\n", name, source)
	}
	filesystem := fmt.Sprintf("%s?offset=%d", disk, partition)
	if err := debugfs(ctx, filepath.Join(dir, "write"), writes.String(), "-w", filesystem); err != nil {
		return err
	}

	// debugfs exits with 0 if a command fails, so read the files back.
	if err := debugfs(ctx, filepath.Join(dir, "read"), reads.String(), filesystem); err != nil {
		return err
	}
	for n, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(n)))
		if err != nil {
			return err
		}
		if !bytes.Equal(data, files[name].Data) {
			return fmt.Errorf("cannot put %s on the disk: debugfs has not written it", name)
		}
	}
	return nil
}

func debugfs(ctx context.Context, script, commands string, args ...string) error {
	if err := os.WriteFile(script, []byte(commands), 0o600); err != nil {
		return err
	}
	return program.Run(ctx, append([]string{"debugfs", "-f", script}, args...)...)
}

// parents returns the folders above an absolute path, the outermost first, without the root.
func parents(name string) []string {
	var up []string
	for dir := path.Dir(path.Clean(name)); dir != "/"; dir = path.Dir(dir) {
		up = append(up, dir)
	}
	slices.Reverse(up)
	return up
}
