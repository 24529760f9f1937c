package rules

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The most lines that a package and a file may have. Tests do not count.
const (
	packageLimit = 1500
	fileLimit    = 450
)

func TestPackagesAndFilesAreSmall(t *testing.T) {
	packages, files := lineCounts(t)
	if len(packages) < 10 || len(files) < 50 {
		t.Fatalf("found %d packages and %d files below %s: this test does not look where the code is", len(packages), len(files), root)
	}
	for _, problem := range sizeProblems(packages, files) {
		t.Error(problem)
	}
}

// lineCounts counts the lines of the Go files in cmd, pkg and test, by file and by package. It skips
// tests. Paths begin at the root of the tree.
func lineCounts(t *testing.T) (packages, files map[string]int) {
	t.Helper()
	packages, files = map[string]int{}, map[string]int{}
	for _, top := range []string{"cmd", "pkg", "test"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && entry.Name() == "testdata":
				return filepath.SkipDir
			case entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			lines := bytes.Count(text, []byte("\n"))
			files[rel] = lines
			packages[path.Dir(rel)] += lines
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return packages, files
}

// sizeProblems compares the sizes of packages and files with the limits.
func sizeProblems(packages, files map[string]int) []string {
	var problems []string
	check := func(sizes map[string]int, limit int, kind string) {
		for _, name := range slices.Sorted(maps.Keys(sizes)) {
			if lines := sizes[name]; lines > limit {
				problems = append(problems, fmt.Sprintf("%s %s has %d lines, and the limit is %d: move a part with a purpose of its own to a new %s", kind, name, lines, limit, kind))
			}
		}
	}
	check(packages, packageLimit, "package")
	check(files, fileLimit, "file")
	return problems
}

func TestSizeProblems(t *testing.T) {
	for name, c := range map[string]struct {
		packages, files map[string]int
		problem         string // empty: none
	}{
		"sizes at the limit": {
			packages: map[string]int{"pkg/a": packageLimit},
			files:    map[string]int{"pkg/a/a.go": fileLimit},
		},
		"a package over the limit": {
			packages: map[string]int{"pkg/a": packageLimit + 1},
			problem:  "package pkg/a has 1501 lines, and the limit is 1500: move a part with a purpose of its own to a new package",
		},
		"a file over the limit": {
			files:   map[string]int{"pkg/a/a.go": fileLimit + 1},
			problem: "file pkg/a/a.go has 451 lines, and the limit is 450: move a part with a purpose of its own to a new file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(sizeProblems(c.packages, c.files), "\n")
			if got != c.problem {
				t.Errorf("got %q, want %q", got, c.problem)
			}
		})
	}
}
