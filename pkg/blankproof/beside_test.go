package blankproof

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/block"
)

// Disks that hold a filesystem and marks of something else, each made by the
// real tools. The report on such a disk is compared with what mount(8), without a
// type, does with it.
var besides = []struct {
	name  string
	make  []string // for sh, with $disk, of 600 MiB, and $small, of 400 MiB
	tools string
	fs    string // "" if mount(8) does not mount it
	stale string // what Report.Beside names
	mend  string // the command of Report.Mend, up to the offsets
}{
	{
		name: "xfs over a backup GPT", fs: "xfs", stale: "a GPT signature at 0x257ffe00",
		make: []string{`printf 'label: gpt\n,,L\n' | sfdisk -q $disk`, "mkfs.xfs -q $small", "dd if=$small of=$disk bs=1M conv=notrunc status=none"},
	},
	{
		name: "ext4 over a backup GPT", fs: "ext4", stale: "a GPT signature at 0x257ffe00",
		make: []string{`printf 'label: gpt\n,,L\n' | sfdisk -q $disk`, "mkfs.ext4 -q $small", "dd if=$small of=$disk bs=1M conv=notrunc status=none"},
	},
	{
		name: "xfs over a DDF tail that leads nowhere", fs: "xfs", stale: "a DDF RAID signature at 0x257ffe00",
		make: []string{"mkfs.xfs -q $disk", `printf '\336\021\336\021%0100d\000\000\000\000\000\001\000\000' 0 | dd of=$disk bs=1 seek=629145088 conv=notrunc status=none`},
	},
	{
		name: "xfs over a DDF tail that blkid believes", mend: "wipefs --backup --offset 0x257ffe00 ",
		make: []string{"mkfs.xfs -q $disk", `printf '\336\021\336\021' | dd of=$disk bs=1 seek=629145088 conv=notrunc status=none`},
	},
	{
		name: "ext4 over a BSD label", fs: "ext4", stale: "a BSD disklabel signature at 0x40",
		make: []string{"mkfs.ext4 -q $disk", `printf '\127\105\126\202' | dd of=$disk bs=1 seek=64 conv=notrunc status=none`},
	},
	{
		name: "ext4 with the end of a boot sector", fs: "ext4",
		make:  []string{"mkfs.ext4 -q $disk", `printf '\125\252' | dd of=$disk bs=1 seek=510 conv=notrunc status=none`},
		stale: "an MBR signature at 0x1fe",
	},
	{
		name: "ext4 with boot code", fs: "ext4", stale: "an MBR signature at 0x1fe",
		make: []string{"mkfs.ext4 -q $disk", "yes boot | dd of=$disk bs=440 count=1 iflag=fullblock conv=notrunc status=none", `printf '\125\252' | dd of=$disk bs=1 seek=510 conv=notrunc status=none`},
	},
	{
		name: "ext4 over swap of 64k pages", fs: "ext4", stale: "a swap signature at 0xfff6",
		make: []string{"mkfs.ext4 -q $disk", `printf SWAPSPACE2 | dd of=$disk bs=1 seek=65526 conv=notrunc status=none`},
	},
	{
		name: "xfs over ZFS labels", mend: "wipefs --backup --offset 0x", tools: "zfs-fuse",
		make: []string{zpool, "mkfs.xfs -q -f $disk"},
	},
	{
		name: "xfs over a label of LVM that is not whole", fs: "xfs", stale: "an LVM2 signature at 0x218",
		make: []string{"mkfs.xfs -q $disk", `printf 'LABELONE\001\000\000\000\000\000\000\000\060\050\257\275\040\000\000\000LVM2 001' | dd of=$disk bs=1 seek=512 conv=notrunc status=none`},
	},
}

func TestToMountOneAnswerDecidesAndWhatIsLeftOverIsNamed(t *testing.T) {
	required := os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1"
	mounts := os.Getuid() == 0
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		mounts = false
	}
	skipped := 0
	for _, test := range besides {
		t.Run(test.name, func(t *testing.T) {
			for _, tool := range append(strings.Fields(test.tools), "mkfs.xfs", "mkfs.ext4", "sfdisk") {
				if _, err := exec.LookPath(tool); err != nil || tool == "zfs-fuse" && os.Getuid() != 0 {
					skipped++
					if required {
						t.Fatalf("%s is missing, or needs root", tool)
					}
					t.Skipf("%s is missing, or needs root", tool)
				}
			}
			disk, small := newImage(t, 600*block.MiB), newImage(t, 400*block.MiB)
			for _, line := range test.make {
				cmd := exec.Command("sh", "-ec", line)
				cmd.Env = append(os.Environ(), "LC_ALL=C", "disk="+disk, "small="+small)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v\n%s", line, err, out)
				}
			}
			r := prove(t, disk)
			if r.Blank {
				t.Fatal("it counts as blank")
			}
			got := ""
			if r.Filesystem != nil {
				got = r.Filesystem.Type
			}
			if got != test.fs || r.Beside() != test.stale || r.Ambiguous != (test.fs == "") {
				t.Errorf("it is taken for %q with %q beside it, want %q with %q: it %v", got, r.Beside(), test.fs, test.stale, r)
			}
			mend := r.Mend("xfs")
			if test.fs == "" && (!strings.HasPrefix(mend, test.mend) || !strings.HasSuffix(mend, " "+disk)) {
				t.Errorf("it is mended by %q, want %q", mend, test.mend)
			}
			if mounts {
				if takes := plainMountTakes(t, disk); takes != (test.fs != "") {
					t.Errorf("mount takes it: %v", takes)
				}
			}
			if mend == "" || test.fs != "" {
				return
			}
			// Run the command as the hint prints it.
			cmd := exec.Command("sh", "-ec", mend)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", mend, err, out)
			}
			if backups, _ := filepath.Glob(filepath.Join(cmd.Env[len(cmd.Env)-1][len("HOME="):], "wipefs-*.bak")); len(backups) == 0 {
				t.Errorf("%s left no backup", mend)
			}
			if r := prove(t, disk); r.Filesystem == nil || r.Filesystem.Type != "xfs" || r.Ambiguous {
				t.Errorf("after %s it %v", mend, r)
			}
			if mounts && !plainMountTakes(t, disk) {
				t.Errorf("after %s mount does not take it", mend)
			}
		})
	}
	t.Logf("%d disks, %d skipped for lack of a tool or of root; compared with mount: %v", len(besides), skipped, mounts)
}

// plainMountTakes tells whether mount(8) mounts a disk without being told a type.
func plainMountTakes(t *testing.T, image string) bool {
	t.Helper()
	device := attachLoop(t, image)
	defer detachLoop(t, device)
	where := t.TempDir()
	out, err := exec.Command("mount", "-o", "ro", device, where).CombinedOutput()
	if err != nil {
		t.Logf("%s", out)
		return false
	}
	mustRun(t, "umount", where)
	return true
}

func TestNoCommandMendsWhatIsNotThatFilesystem(t *testing.T) {
	marks := []Signature{{"LVM2_member", 0x218}}
	if c := (Report{Path: "/dev/nvme1n1", Marks: marks}).Mend("xfs"); c != "" {
		t.Errorf("on a disk without XFS: %s", c)
	}
	marks = append(marks, Signature{"xfs", 0})
	if c := (Report{Path: "/dev/nvme1n1", Marks: marks}).Mend("xfs"); c != "wipefs --backup --offset 0x218 /dev/nvme1n1" {
		t.Error(c)
	}
	if c := (Report{Path: "/dev/nvme1n1", Marks: marks}).Mend("ext4"); c != "" {
		t.Errorf("for a role that means ext4: %s", c)
	}
}
