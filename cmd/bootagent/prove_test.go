package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/block"
	"bootagent/pkg/machine"
)

func TestAChildThatProvesLeavesItsReport(t *testing.T) {
	dir := t.TempDir()
	disk, report := filepath.Join(dir, "disk"), filepath.Join(dir, "report")
	for _, test := range []struct {
		content string
		code    int
	}{
		{strings.Repeat("\x00", 1<<20), 0},
		{strings.Repeat("x", 1<<20), machine.ExitNotBlank},
	} {
		for file, content := range map[string]string{disk: test.content, report: `{"read":12345678,"of":123456789}`} {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if code := run(t.Context(), []string{"prove", "--report", report, "--whole", disk}, io.Discard, io.Discard); code != test.code {
			t.Errorf("exit code %d, want %d", code, test.code)
		}
		p, err := machine.ReadProof(report)
		if err != nil || p.Report == nil || p.Report.Blank != (test.code == 0) || p.Report.Size != block.MiB {
			t.Errorf("it left %+v, %v", p, err)
		}
	}
}
