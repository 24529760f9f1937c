package blankproof

import (
	"os"
	"strings"
	"testing"

	"bootagent/pkg/block"
)

// ProveBlank sees data that was written to a disk after the first proof, and sees
// another disk that took its place. It proves the descriptor that mkfs gets.
func TestABlankDiskIsProvenOnItsDescriptor(t *testing.T) {
	needLoop(t)
	for _, c := range []struct {
		name    string
		serial  string
		later   uint64 // how many disks were plugged in since
		written string // at 0x218
		refused string
	}{
		{name: "blank"},
		{name: "a mark of LVM since the proof", written: "LVM2 001", refused: "is no longer blank: it has an LVM2 signature at 0x218"},
		{name: "data since the proof", written: "x", refused: "is no longer blank: it holds data of no known format at 0x218"},
		{name: "another serial number", serial: "vol0123456789abcdef0", refused: `: wrong disk: its serial number is "", not vol0123456789abcdef0`},
		{name: "plugged in again", later: 1, refused: ": wrong disk: its disk sequence number is "},
	} {
		t.Run(c.name, func(t *testing.T) {
			device := loopDisk(t, newImage(t, 8*block.MiB))
			disk, err := os.OpenFile(device, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer disk.Close()
			seq, err := block.DiskSequence(disk)
			if err != nil || seq == 0 {
				t.Fatalf("the sequence number %d: %v", seq, err)
			}
			if _, err := disk.WriteAt([]byte(c.written), 0x200+0x18); err != nil {
				t.Fatal(err)
			}
			if err := disk.Sync(); err != nil {
				t.Fatal(err)
			}
			err = Host().ProveBlank(t.Context(), disk, c.serial, seq+c.later)
			if c.refused == "" && err != nil || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("it is %v, want %q", err, c.refused)
			}
		})
	}
}

// If somebody has claimed the disk, the error says that it is in use, and by whom.
func TestADiskThatIsClaimedIsNotProvenBlank(t *testing.T) {
	needLoop(t)
	device := loopDisk(t, newImage(t, 32*block.MiB))
	disk, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	seq, err := block.DiskSequence(disk)
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "mkswap", device)
	mustRun(t, "swapon", device)
	defer mustRun(t, "swapoff", device)
	err = Host().ProveBlank(t.Context(), disk, "vol0123456789abcdef0", seq)
	if err == nil || !strings.Contains(err.Error(), "is no longer blank: it is in use: swap is on ") {
		t.Errorf("it is %v", err)
	}
}
