package introduce

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/command"
	"bootagent/pkg/host"
)

// No ledger is written to a disk that is not named by all that tells it from
// another, nor to what is no disk.
func TestIntroduceRefusesADiskThatIsNotNamedByAll(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := Argv(host.Disk{Serial: "vol0123456789abcdef0", Seq: 7, Size: 4, Path: file}, host.Introduction{
		Filesystem: "xfs", Ledger: []byte("{}"), Made: true, Mount: "/srv/data",
	})[2:]
	for flag := 0; flag < 10; flag += 2 {
		args := slices.Delete(slices.Clone(whole), flag, flag+2)
		if err := run(t.Context(), args, io.Discard); !errors.As(err, new(*command.UsageError)) {
			t.Errorf("%q: %v", args, err)
		}
	}
	nowhere := slices.Clone(whole)
	nowhere[slices.Index(whole, "--made")+1] = ""
	if err := run(t.Context(), nowhere, io.Discard); !errors.As(err, new(*command.UsageError)) {
		t.Errorf("without a mount point: %v", err)
	}
	err := run(t.Context(), whole, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "no ledger is written to "+file+`: it is disk "" with sequence number 0 now, not vol0123456789abcdef0 with 7`) {
		t.Errorf("got %v", err)
	}
}
