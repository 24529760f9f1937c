package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/command"
	"bootagent/pkg/host"
	"bootagent/pkg/machine"
)

const uuid = "6d2f6f1c-6a55-4f8c-9d3e-0b7f3c1a2b4d"

// No filesystem is made on a disk that is not named by all that tells it from
// another, nor on what is no disk.
func TestMkfsRefusesADiskThatIsNotNamedByAll(t *testing.T) {
	whole := machine.FormatCommand(host.Disk{Serial: "vol0123456789abcdef0", Seq: 7, Size: 64 << 20, Path: "/dev/null"}, "ext4", uuid)[2:]
	for flag := 0; flag < 10; flag += 2 {
		args := slices.Delete(slices.Clone(whole), flag, flag+2)
		if err := mkfs(t.Context(), args, io.Discard); !errors.As(err, new(*command.UsageError)) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestMkfsLeavesWhatIsNotProvenAsItIs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	data := make([]byte, 64<<20)
	data[600] = 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, fstype := range []string{"xfs", "ext4"} {
		args := machine.FormatCommand(host.Disk{Serial: "vol0123456789abcdef0", Seq: 7, Size: 64 << 20, Path: file}, fstype, uuid)[2:]
		err := mkfs(t.Context(), args, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("no filesystem is made: %s: wrong disk: its serial number is \"\", not ", file)) {
			t.Errorf("%s: %v", fstype, err)
		}
		if now, err := os.ReadFile(file); err != nil || !slices.Equal(now, data) {
			t.Errorf("%s: the disk was written to: %v", fstype, err)
		}
	}
}
