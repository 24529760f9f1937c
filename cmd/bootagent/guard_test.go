package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const webRole = "version: 1\nrole: web\nservices:\n  nginx.service: {}\n"

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Nothing is known of the units that a broken role file names.
func TestGuardsAreNotCheckedBesideABrokenRoleFile(t *testing.T) {
	root := t.TempDir()
	writeFile(t, filepath.Join(root, rolesDir, "web.yaml"), webRole)
	writeFile(t, filepath.Join(root, rolesDir, "broken.yaml"), "version: 1\nrole: [\n")
	if err := checkGuards(t.Context(), root, io.Discard); err == nil || !strings.Contains(err.Error(), "broken.yaml") {
		t.Errorf("with a broken file: %v", err)
	}
}
