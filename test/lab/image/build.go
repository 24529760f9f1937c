package image

import (
	"context"
	"encoding/binary"
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

// A disk has an MBR and one partition with ext4. The kernel finds the partition by its PARTUUID, which
// contains the signature of the MBR, because the number of the disk's NVMe controller may change.
const (
	sector        = 512
	diskSize      = 3 << 30 // sparse; 0.5 GB of it contain data
	partition     = 1 << 20 // offset of the partition
	diskSignature = 0x6c616220
)

// Root returns the name of the root filesystem for the kernel's parameter "root".
func Root() string { return fmt.Sprintf("PARTUUID=%08x-01", diskSignature) }

// bootstrap writes the root filesystem of a platform to dir/root.tar.
func bootstrap(ctx context.Context, on Platform, dir string) error {
	if err := os.WriteFile(filepath.Join(dir, hook), []byte(customize), 0o755); err != nil {
		return err
	}
	return program.Run(ctx, on.bootstrap(dir)...)
}

// build writes disk.raw and vmlinuz to dir.
func (s Spec) build(ctx context.Context, tarball, dir string) (err error) {
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	defer func() { // the files belong to users of the namespace, so they are removed inside of it
		err = errors.Join(err, program.RunAsRoot(context.WithoutCancel(ctx), "rm", "-rf", "--", root))
	}()
	// Only root of the initial user namespace may make device nodes. chroot.sh and devtmpfs provide them.
	if err := program.RunAsRoot(ctx, "tar", "-C", root, "--exclude=./dev/*", "--numeric-owner", "-xf", tarball); err != nil {
		return err
	}

	if len(s.Debs) > 0 {
		install := []string{"dpkg", "--install"}
		for _, deb := range s.Debs {
			inside := path.Join("/var/tmp", filepath.Base(deb))
			if err := program.RunAsRoot(ctx, "cp", "--", deb, filepath.Join(root, inside)); err != nil {
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
			return fmt.Errorf("cannot put %q into an image: the path is not absolute", name)
		}
		file := s.Files[name]
		if err := os.WriteFile(staged, file.Data, 0o600); err != nil {
			return err
		}
		mode := fmt.Sprintf("--mode=%04o", file.Perm())
		if err := program.RunAsRoot(ctx, "install", "-D", "--owner=0", "--group=0", mode, "--", staged, filepath.Join(root, name)); err != nil {
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
		return fmt.Errorf("cannot find the kernel of the image: %d files match boot/vmlinuz-*, not 1", len(kernels))
	}
	if err := program.RunAsRoot(ctx, "cp", "--", kernels[0], filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	disk := filepath.Join(dir, "disk.raw")
	if err := makeDisk(ctx, root, disk); err != nil || !s.Platform.SELinux {
		return err
	}
	return label(ctx, root, disk)
}

// runInChroot runs a program in root, without a network. Processes that it starts end when it does.
func runInChroot(ctx context.Context, root string, argv ...string) error {
	enter := []string{"unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--", "sh", "-c", chroot, "chroot.sh", root}
	if err := program.RunAsRoot(ctx, append(enter, argv...)...); err != nil {
		return fmt.Errorf("cannot run %s in the image: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// makeDisk makes a disk whose partition contains the files of root.
func makeDisk(ctx context.Context, root, disk string) error {
	f, err := os.OpenFile(disk, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(mbr())
	if err := errors.Join(err, f.Truncate(diskSize), f.Close()); err != nil {
		return err
	}
	return program.RunAsRoot(ctx, "mkfs.ext4", "-q", "-L", "root", "-m", "0", "-d", root,
		// A sparse file reads as zeros, so no guest has to zero the inode tables in the background.
		"-E", fmt.Sprintf("offset=%d,assume_storage_prezeroed=1,root_owner=0:0", partition),
		disk, fmt.Sprintf("%dk", (diskSize-partition)/1024))
}

// mbr returns a master boot record with one partition.
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
