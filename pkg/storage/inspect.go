package storage

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage/ledger"
)

// inspect reads what is on the disk. It refuses all but the filesystem of the
// plan and, where the role allows formatting, a disk that is proven blank.
func (f *filesystem) inspect(ctx context.Context) error {
	if err := f.closeStale(ctx); err != nil {
		return err
	}
	if mounted, err := f.isMounted(); mounted || err != nil {
		return err
	}
	if err := f.host.Filesystems.Settle(ctx, f.disk); err != nil {
		return err
	}
	content, err := f.host.Disks.Read(ctx, f.disk, host.Reading{
		Filesystem: string(f.Filesystem), Whole: f.BlankProof == role.Whole,
	})
	if err != nil {
		return err
	}
	f.content = content
	var intent host.Intent
	if content.Filesystem == "" { // the ledger of a filesystem says what the intent would
		if intent, err = f.source.intent(ctx); err != nil {
			return err
		}
	}
	if err := f.refuse(ctx, content, intent); err != nil {
		return err
	}
	if content.Beside != "" {
		graph.Warn(ctx, fmt.Sprintf("disk %s has %s beside its %s filesystem, left over from before: the mount ignores it, and bootagent would not format this disk",
			f.disk.Serial, content.Beside, f.Filesystem))
	}
	return nil
}

// refuse returns why the disk can't be the volume, with what is on it and what
// the agent was about to make there.
func (f *filesystem) refuse(ctx context.Context, content host.Content, intent host.Intent) error {
	look := "bootagent inspect " + f.disk.Path + " shows what is on it"
	switch {
	case content.Blank && intent.Made:
		return fault.Refuse("its data is gone or it is another disk: find out which, and restore it",
			"disk %s is blank, but the %s filesystem %s was made on it before", f.disk.Serial, f.Filesystem, intent.UUID)
	case content.Blank && f.Format != role.FormatIfBlank:
		return fault.Refuse(
			fmt.Sprintf("if it is meant to be new, say format: %s for the volume in the role file, then: bootagent retry", role.FormatIfBlank),
			"disk %s is blank and the role may not make a filesystem on it", f.disk.Serial)
	case content.Blank:
		return f.source.isNew(ctx, f.disk)
	case content.Filesystem == "" && intent.UUID != "" && !intent.Made:
		return fault.Refuse(
			fmt.Sprintf("%s; if nothing on it is worth keeping, put a new volume in its place, or zero this one, which writes all of it: "+
				"blkdiscard --zeroout %s; then: bootagent retry", look, f.disk.Link),
			"disk %s %s: a filesystem was being made on it and was not finished", f.disk.Serial, content.Words)
	case content.Filesystem == "" && content.Mend != "":
		return fault.Refuse(
			fmt.Sprintf("if its %s filesystem is what is meant, and the rest is left over from before, this takes the rest away, and keeps a copy of each mark in root's home directory: %s; then: bootagent retry",
				f.Filesystem, content.Mend),
			"cannot tell whether disk %s holds the %s filesystem of the role: it %s", f.disk.Serial, f.Filesystem, content.Words)
	case content.Filesystem != string(f.Filesystem):
		return fault.Refuse(look+"; nothing was changed",
			"disk %s does not hold the %s filesystem of the role: it %s", f.disk.Serial, f.Filesystem, content.Words)
	case f.Find.UUID != "" && content.UUID != f.Find.UUID:
		return fmt.Errorf("disk %s has the filesystem %s now, and not %s", f.disk.Serial, content.UUID, f.Find.UUID)
	case content.Size > f.disk.Size:
		return fault.Refuse("what lies beyond its end is not on it: it was made smaller, or the filesystem was copied here from a larger one; "+
			"give the instance a volume that is as large as the filesystem, such as one made of a snapshot from before; nothing was changed",
			"disk %s is smaller than its %s filesystem: it has %d bytes, and the filesystem %d", f.disk.Serial, f.Filesystem, f.disk.Size, content.Size)
	}
	return nil
}

// look reads the ledger without changing a byte of the disk, and says why it is not
// that of this volume. It keeps the names in the root directory that mkfs does not leave
// there.
func (f *filesystem) look(ctx context.Context) (*Ledger, *ledger.Doubt, error) {
	seen, err := f.host.Filesystems.Look(ctx, f.disk, string(f.Filesystem), nil)
	if err != nil {
		return nil, nil, err
	}
	f.names = seen.Names
	l, doubt := f.described().Judge(seen.Ledger)
	if doubt != nil {
		doubt.Holding(seen.Names)
	}
	return l, doubt, nil
}

// readOnlyMount is the command by which a person inspects the filesystem without
// changing a byte of the disk.
func (f *filesystem) readOnlyMount() string {
	return fmt.Sprintf("mount -t %s -o %s %s /mnt", f.Filesystem, strings.Join(withoutRecovery(f.Filesystem), ","), f.disk.Link)
}

// withoutRecovery are the mount options that leave even the log as it is.
func withoutRecovery(t role.FilesystemType) []string {
	if t == role.XFS {
		return []string{"ro", "norecovery"} // xfs(5)
	}
	return []string{"ro", "noload"} // ext4(5)
}

// LostAndFound is the directory where a checker puts what has lost its name.
// mkfs.ext4 makes it, and leaves it empty; xfs_repair(8) makes it when it has to.
const LostAndFound = "lost+found"

// withoutLostAndFound takes lost+found out of the names in a root directory if
// it is empty: only then it says nothing.
func withoutLostAndFound(ctx context.Context, directories host.Directories, root string, names []string) ([]string, error) {
	at := slices.Index(names, LostAndFound)
	if at < 0 {
		return names, nil
	}
	inside, err := directories.Names(ctx, filepath.Join(root, LostAndFound))
	if err != nil || len(inside) > 0 {
		return names, err
	}
	return slices.Delete(slices.Clone(names), at, at+1), nil
}
