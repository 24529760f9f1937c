package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/fault"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/host"
	"bootagent/pkg/selinux"
	"bootagent/pkg/systemd/pid1"
)

// journalOf answers with entries, each "seconds|transport|message".
func journalOf(entries ...string) func(context.Context, ...string) ([]byte, error) {
	return func(_ context.Context, argv ...string) ([]byte, error) {
		if !slices.Contains(argv, "_TRANSPORT=kernel") || !slices.Contains(argv, "_SYSTEMD_UNIT=srv-data.mount") {
			return nil, fmt.Errorf("asked for %q", argv)
		}
		var b strings.Builder
		for _, e := range entries {
			part := strings.SplitN(e, "|", 3)
			fmt.Fprintf(&b, `{"__MONOTONIC_TIMESTAMP":"%s000000","_TRANSPORT":"%s","MESSAGE":%s}`+"\n", part[0], part[1], part[2])
		}
		return []byte(b.String()), nil
	}
}

func refused(entries ...string) refusal {
	return refusal{unit: "srv-data.mount", device: "nvme1n1", since: 100 * time.Second, journal: journalOf(entries...)}
}

var errMount = fmt.Errorf("cannot mount: %w", &pid1.JobError{Unit: "srv-data.mount", Verb: "start", Result: "failed"})

func TestAMountThatTheKernelRefusesQuotesTheKernel(t *testing.T) {
	const ours = `"XFS (nvme1n1): Superblock has unknown incompatible features (0x20000000) enabled."`
	for _, c := range []struct {
		name    string
		entries []string
		says    []string
		not     []string
	}{
		{"its disk's line", []string{"101|kernel|" + ours}, []string{"the kernel says: ", "unknown incompatible features (0x20000000)"}, nil},
		{
			"a line of another disk, or of an earlier try",
			[]string{`101|kernel|"XFS (nvme1n10): bad magic"`, `101|kernel|"XFS (nvme11n1): bad magic"`, "99|kernel|" + ours, `101|stdout|"mount: wrong fs type"`},
			[]string{`it says: "mount: wrong fs type"`},
			[]string{"bad magic", "unknown incompatible"},
		},
		{
			"more than need be quoted",
			[]string{`101|kernel|"(nvme1n1): 1"`, `101|kernel|"(nvme1n1): 2"`, `101|kernel|"(nvme1n1): 3"`, `101|kernel|"dev nvme1n1, sector 4"`, `101|kernel|"` + strings.Repeat("x", 500) + ` nvme1n1"`},
			[]string{`"(nvme1n1): 3"; "dev nvme1n1, sector 4"; "xxx`, `x..."`},
			[]string{"): 2"},
		},
		{"what a terminal would obey", []string{`101|kernel|"(nvme1n1): \u001b[2J"`}, []string{`\x1b[2J`}, []string{"\x1b"}},
		{"what is no text", []string{`101|kernel|[1,2]`, `x|kernel|"(nvme1n1)"`}, []string{"journalctl -u srv-data.mount tells more"}, []string{"the kernel says"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := refused(c.entries...).quote(t.Context(), errMount)
			if !errors.Is(err, errMount) {
				t.Errorf("it lost its cause: %v", err)
			}
			for _, words := range c.says {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("it does not say %q: %v", words, err)
				}
			}
			for _, words := range c.not {
				if strings.Contains(err.Error(), words) {
					t.Errorf("it says %q: %v", words, err)
				}
			}
		})
	}
}

func TestAMountThatFailsHasAHintThatChangesNothing(t *testing.T) {
	const link = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol1"
	features := refused(`101|kernel|"XFS (nvme1n1): Superblock has unknown incompatible features (0x1) enabled."`)
	damaged := refused(`101|kernel|"XFS (nvme1n1): Metadata CRC error detected"`)
	for _, c := range []struct {
		r     refusal
		mt    host.Mount
		err   error
		hint  string
		final bool // no time mends it
	}{
		{damaged, host.Mount{What: link, Type: "xfs"}, errMount, "xfs_repair -n " + link, false},
		{damaged, host.Mount{What: link, Type: "ext4"}, errMount, "e2fsck -fn " + link, false},
		{features, host.Mount{What: link, Type: "xfs"}, errMount, "does not know this kind of xfs", true},
		{damaged, host.Mount{What: link, Type: "xfs"}, fmt.Errorf("looked at: %w", filesystem.ErrUnmountable), "xfs_repair -n " + link, false},
		{refused(), host.Mount{What: link, Type: "xfs"}, fmt.Errorf("fsopen: %w: %w", unix.ENODEV, filesystem.ErrUnmountable), "does not know this kind of xfs", true},
		{damaged, host.Mount{What: "/srv/data/mysql"}, errMount, "", false}, // it is bound
		{damaged, host.Mount{What: link, Type: "xfs"}, &pid1.JobError{Result: "assert"}, "", false},
		{damaged, host.Mount{What: link, Type: "xfs"}, errors.New("no systemd"), "", false},
	} {
		err := unmountable(t.Context(), c.r, c.mt.What, c.mt.Type, c.err)
		if hint := fault.HintOf(err); !errors.Is(err, c.err) || c.hint == "" && hint != "" || !strings.Contains(hint, c.hint) || strings.Contains(hint, " -L") {
			t.Errorf("%v of %+v: the hint is %q", c.err, c.mt, hint)
		}
		var may interface{ Permanent() bool }
		if final := errors.As(err, &may) && may.Permanent(); final != c.final {
			t.Errorf("%v of %+v is final: %t", c.err, c.mt, final)
		}
	}
}

// Where SELinux does not enforce, a bind was not denied by it.
func TestABindThatFailsUnderSELinuxNamesWhatAllowsIt(t *testing.T) {
	other := &pid1.JobError{Result: "canceled"}
	for _, c := range []struct {
		err      error
		enforced bool
		hint     string
	}{
		{errMount, true, "setsebool -P allow_mount_anyfile on"},
		{errMount, true, "semodule --install=" + selinux.Module},
		{errMount, false, ""},
		{other, true, ""},
	} {
		err := unbindable(c.err, c.enforced)
		if hint := fault.HintOf(err); !errors.Is(err, c.err) || !strings.Contains(hint, c.hint) || c.hint == "" && hint != "" {
			t.Errorf("%v, enforced %t: the hint is %q", c.err, c.enforced, hint)
		}
	}
}

func TestAFilesystemThatItsCheckDoesNotMendHasAHint(t *testing.T) {
	const link = "/dev/disk/by-id/nvme-vol1"
	r := refused(`101|stdout|"/dev/nvme1n1: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY."`)
	r.device = ""
	err := unmended(t.Context(), r, link, errMount)
	if !strings.Contains(err.Error(), "UNEXPECTED INCONSISTENCY") {
		t.Errorf("it does not quote the check: %v", err)
	}
	hint := fault.HintOf(err)
	for _, words := range []string{"e2fsck -fn " + link, "snapshot", "e2fsck -f " + link, "bootagent retry"} {
		if !strings.Contains(hint, words) {
			t.Errorf("the hint does not say %q: %s", words, hint)
		}
	}
	if err := unmended(t.Context(), r, link, nil); err != nil {
		t.Errorf("nothing has failed, and yet: %v", err)
	}
}

func TestAToolThatTheImageLacksIsNamedWithItsPackage(t *testing.T) {
	for program, in := range map[string]string{"mkfs.xfs": "xfsprogs", "mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs"} {
		path := filepath.Join(t.TempDir(), program)
		err := inImage(path)
		var final interface{ Permanent() bool }
		if err == nil || err.Error() != path+" is not in this image" || !strings.Contains(fault.HintOf(err), "package "+in) || !errors.As(err, &final) || !final.Permanent() {
			t.Errorf("%s: %v; hint: %s", program, err, fault.HintOf(err))
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := inImage(path); err != nil {
			t.Errorf("%s is there, and yet: %v", program, err)
		}
	}
}
