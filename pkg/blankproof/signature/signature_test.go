package signature

import (
	"testing"

	"bootagent/pkg/block"
)

func TestPlacesFollowTheDisksEnd(t *testing.T) {
	const size = 10*int64(block.MiB) + 3*512
	for _, test := range []struct {
		format string
		want   block.Offset
	}{
		{"md RAID 0.90", block.Offset(10*block.MiB - 64*block.KiB)},
		{"md RAID 1.0", block.Offset(10*block.MiB - 8*block.KiB)},
		{"LSI MegaRAID", block.Offset(size - 512)},
		{"DRBD", block.Offset(size - 4096 + 0x3c)},
	} {
		f := Named(test.format)
		at, ok := f.Marks[0].Places[0].On(size, len(f.Marks[0].Bytes), -1)
		if !ok || block.Offset(at) != test.want {
			t.Errorf("%s is looked for at %v, want %v", test.format, block.Offset(at), test.want)
		}
	}
}

func TestArticle(t *testing.T) {
	for name, want := range map[string]string{
		"LVM2": "an", "LUKS2": "a", "XFS": "an", "ext2/3/4": "an", "btrfs": "a", "md RAID 1.2": "an", "NTFS": "an",
		"FAT": "a", "F2FS": "an", "UFS": "a", "Ultrix disklabel": "an", "Reiser4": "a", "NILFS2": "a", "SGI disklabel": "an",
		"Sun disklabel": "a", "swap": "a", "MBR": "an", "GPT": "a", "x": "a",
	} {
		if got := Article(name); got != want {
			t.Errorf("%s %s, want %s", got, name, want)
		}
	}
}
