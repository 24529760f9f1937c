package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// version is part of every key of the cache: raise it when the way an image is made changes in
// anything that the keys don't cover (the package list and the scripts are covered).
const version = "1"

// Packages of the base system. mmdebstrap's minbase has apt and the essential ones.
var packages = []string{
	"dbus", "e2fsprogs", "iproute2", "kmod", "linux-image-cloud-amd64",
	"mariadb-server", "netcat-openbsd", "nginx-light", "nvme-cli", "procps", "qemu-guest-agent",
	"systemd", "systemd-sysv", "udev", "util-linux", "xfsprogs",
}

var (
	//go:embed customize.sh
	customize string
	//go:embed chroot.sh
	chroot string
)

// The disk: an MBR whose signature lets the kernel find the root by PARTUUID, whatever number the
// NVMe controller of the root gets beside others, and one ext4 partition.
const (
	sector        = 512
	diskSize      = 3 << 30 // sparse; 0.5 GB of it is written
	partition     = 1 << 20 // where the partition begins
	diskSignature = 0x6c616220
)

// How many of each the cache keeps, newest first. A base is 0.5 GB, an image as much.
const (
	keepBases  = 2
	keepImages = 4
)

// A Spec says what an image holds beside Debian.
type Spec struct {
	Debs     []string        // package files, installed together by dpkg in the chroot
	Files    map[string]File // by absolute path, written after the packages are installed
	Commands [][]string      // run in the chroot, last; each has to exit 0
}

// A File is root's. Mode is 0644 where it is zero; folders above it are made with 0755.
type File struct {
	Data []byte
	Mode fs.FileMode
}

func (f File) perm() fs.FileMode {
	if f.Mode == 0 {
		return 0o644
	}
	return f.Mode.Perm()
}

// An Image is a bootable disk and its kernel, in the cache.
type Image struct {
	dir  string
	lock io.Closer // shared: the cache does not drop an image in use
}

// Close lets the cache drop the image. Machines made of it are not touched.
func (i *Image) Close() error { return i.lock.Close() }

func (i *Image) disk() string   { return filepath.Join(i.dir, "disk.raw") }
func (i *Image) kernel() string { return filepath.Join(i.dir, "vmlinuz") }

// Build returns the image of spec, from the cache if it is there: 2 minutes for the very first, 20
// seconds for another on the same base, nothing for one that was built before.
func Build(ctx context.Context, spec Spec, log *slog.Logger) (*Image, error) {
	if missing := Missing(); len(missing) > 0 {
		return nil, fmt.Errorf("cannot build an image: this host lacks %s", strings.Join(missing, ", "))
	}
	base := key(version, strings.Join(packages, " "), customize)
	whole, err := spec.key(base)
	if err != nil {
		return nil, err
	}
	cache, err := openCache()
	if err != nil {
		return nil, err
	}

	dir, lock, err := cache.entry(ctx, "image", whole, keepImages, log, func(tmp string) error {
		tarball, lock, err := cache.entry(ctx, "base", base, keepBases, log, func(tmp string) error {
			return bootstrap(ctx, tmp)
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
	return &Image{dir: dir, lock: lock}, nil
}

// key is short enough to read in a listing, and long enough not to collide.
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
		parts = append(parts, "file", name, file.perm().String(), string(file.Data))
	}
	for _, argv := range s.Commands {
		parts = append(parts, "command")
		parts = append(parts, argv...)
	}
	return key(parts...), nil
}

// bootstrap leaves Debian's root filesystem as dir/root.tar.
func bootstrap(ctx context.Context, dir string) error {
	hook := filepath.Join(dir, "customize.sh")
	if err := os.WriteFile(hook, []byte(customize), 0o755); err != nil {
		return err
	}
	// INITRD=No: the cloud kernel has NVMe and ext4 built in and boots without one, so nobody need
	// make it. Documentation and translations are half of what is left to copy for each machine.
	return run(ctx, "env", "INITRD=No", "mmdebstrap",
		"--variant=minbase", "--architectures=amd64", "--include="+strings.Join(packages, ","),
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
		"--customize-hook="+hook,
		"bookworm", filepath.Join(dir, "root.tar"))
}

// build leaves disk.raw and vmlinuz in dir.
func (s Spec) build(ctx context.Context, tarball, dir string) (err error) {
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	defer func() { // what belongs to users of the namespace is not ours to remove outside of it
		err = errors.Join(err, runAsRoot(context.WithoutCancel(ctx), "rm", "-rf", "--", root))
	}()
	// Nobody but root of the first namespace may make device nodes; chroot.sh and devtmpfs bring theirs.
	if err := runAsRoot(ctx, "tar", "-C", root, "--exclude=./dev/*", "--numeric-owner", "-xf", tarball); err != nil {
		return err
	}

	if len(s.Debs) > 0 {
		install := []string{"dpkg", "--install"}
		for _, deb := range s.Debs {
			inside := path.Join("/var/tmp", filepath.Base(deb))
			if err := runAsRoot(ctx, "cp", "--", deb, filepath.Join(root, inside)); err != nil {
				return err
			}
			install = append(install, inside)
		}
		if err := runInChroot(ctx, root, install...); err != nil {
			return err
		}
		remove := append([]string{"rm", "--"}, install[2:]...)
		if err := runInChroot(ctx, root, remove...); err != nil {
			return err
		}
	}
	staged := filepath.Join(dir, "staged")
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		if !path.IsAbs(name) {
			return fmt.Errorf("cannot put %q into an image: the path has to be absolute", name)
		}
		file := s.Files[name]
		if err := os.WriteFile(staged, file.Data, 0o600); err != nil {
			return err
		}
		mode := fmt.Sprintf("--mode=%04o", file.perm())
		if err := runAsRoot(ctx, "install", "-D", "--owner=0", "--group=0", mode, "--", staged, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for _, argv := range s.Commands {
		if err := runInChroot(ctx, root, argv...); err != nil {
			return err
		}
	}
	_ = os.Remove(staged)

	kernels, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return fmt.Errorf("cannot tell the kernel of the image: %d match boot/vmlinuz-*", len(kernels))
	}
	if err := runAsRoot(ctx, "cp", "--", kernels[0], filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	return makeDisk(ctx, root, filepath.Join(dir, "disk.raw"))
}

func makeDisk(ctx context.Context, root, disk string) error {
	f, err := os.OpenFile(disk, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(mbr())
	if err := errors.Join(err, f.Truncate(diskSize), f.Close()); err != nil {
		return err
	}
	return runAsRoot(ctx, "mkfs.ext4", "-q", "-L", "root", "-m", "0", "-d", root,
		// A sparse file reads as zeros: no guest need zero the inode tables behind a test's back.
		"-E", fmt.Sprintf("offset=%d,assume_storage_prezeroed=1,root_owner=0:0", partition),
		disk, fmt.Sprintf("%dk", (diskSize-partition)/1024))
}

// mbr is a master boot record with the one partition.
func mbr() []byte {
	b := make([]byte, sector)
	binary.LittleEndian.PutUint32(b[440:], diskSignature)
	entry := b[446:]
	copy(entry, []byte{0x80, 0xff, 0xff, 0xff, 0x83, 0xff, 0xff, 0xff}) // bootable, Linux, no CHS
	binary.LittleEndian.PutUint32(entry[8:], partition/sector)
	binary.LittleEndian.PutUint32(entry[12:], (diskSize-partition)/sector)
	b[510], b[511] = 0x55, 0xaa
	return b
}
