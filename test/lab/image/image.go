// Package image builds bootable disks: a [Platform] with the lab's packages, and the packages, files and
// commands of a [Spec]. It keeps the images in the cache directory of the user, below bootagent/lab.
//
// It runs mmdebstrap, mkfs.ext4, debugfs and others, which need no root: an ordinary user gets a user
// namespace (Debian's uidmap).
package image

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/test/lab/program"
)

// version is part of every key of the cache. Raise it when an image is built in another way and the
// keys stay the same; the keys cover the list of packages and the scripts.
const version = "1"

var (
	//go:embed customize.sh
	customize string
	//go:embed chroot.sh
	chroot string
)

// keepBases and keepImages are how many of each the cache keeps of a platform, the newest first. A base
// has 0.5 GB; so has an image.
const (
	keepBases  = 2
	keepImages = 4
)

// A Spec says what an image contains in addition to the base.
type Spec struct {
	Platform Platform        // the zero Platform is the one that $BOOTAGENT_LAB_PLATFORM names
	Debs     []string        // package files, installed together by dpkg in the chroot
	Files    map[string]File // by absolute path, written after the packages are installed
	Commands [][]string      // run in the chroot at the end; each has to exit with 0
}

// A File is a file of a machine. It belongs to root, and so do the folders above it that have to be
// made, with mode 0755.
type File struct {
	Data []byte
	Mode fs.FileMode // zero means 0644
}

// Perm returns the permissions of the file.
func (f File) Perm() fs.FileMode {
	if f.Mode == 0 {
		return 0o644
	}
	return f.Mode.Perm()
}

// An Image is a bootable disk and its kernel, in the cache.
type Image struct {
	Platform Platform

	dir  string
	lock io.Closer // shared: the cache does not remove an image in use
}

// Close allows the cache to remove the image. Machines that were made of it are not affected.
func (i *Image) Close() error { return i.lock.Close() }

// Kernel returns the file of the kernel.
func (i *Image) Kernel() string { return filepath.Join(i.dir, "vmlinuz") }

func (i *Image) disk() string { return filepath.Join(i.dir, "disk.raw") }

// Build returns the image of spec. It takes 2 minutes for the first image, 20 seconds for another image
// of the same base, and no time if the cache contains the image.
func Build(ctx context.Context, spec Spec, log *slog.Logger) (*Image, error) {
	var err error
	if spec.Platform == (Platform{}) {
		if spec.Platform, err = Chosen(); err != nil {
			return nil, err
		}
	}
	on := spec.Platform
	if missing := program.Missing(on.Architecture); len(missing) > 0 {
		return nil, fmt.Errorf("cannot build an image: this host lacks %s", strings.Join(missing, ", "))
	}
	base := key(append([]string{version, customize}, on.bootstrap("")...)...)
	whole, err := spec.key(base)
	if err != nil {
		return nil, err
	}
	cache, err := openCache()
	if err != nil {
		return nil, err
	}

	dir, lock, err := cache.entry(ctx, on.Name+"-image", whole, keepImages, log, func(tmp string) error {
		tarball, lock, err := cache.entry(ctx, on.Name+"-base", base, keepBases, log, func(tmp string) error {
			return bootstrap(ctx, on, tmp)
		})
		if err != nil {
			return err
		}
		defer lock.Close()
		return spec.build(ctx, filepath.Join(tarball, "root.tar"), tmp)
	})
	if err != nil {
		return nil, err
	}
	return &Image{Platform: on, dir: dir, lock: lock}, nil
}

// key returns a hash that is short enough to read in a listing, and long enough to be unique.
func key(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d %s\n", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (s Spec) key(base string) (string, error) {
	parts := []string{base, chroot}
	for _, deb := range s.Debs {
		data, err := os.ReadFile(deb)
		if err != nil {
			return "", fmt.Errorf("cannot put the package into an image: %w", err)
		}
		parts = append(parts, "deb", string(data))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		file := s.Files[name]
		parts = append(parts, "file", name, file.Perm().String(), string(file.Data))
	}
	for _, argv := range s.Commands {
		parts = append(parts, "command")
		parts = append(parts, argv...)
	}
	return key(parts...), nil
}
