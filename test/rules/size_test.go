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

// tooLarge lists the packages and files that are over their limit, each with the most lines that it may
// have until it is split. Lower a number when the code shrinks; never raise one, and never add an entry.
var tooLarge = map[string]int{}

func TestPackagesAndFilesAreSmall(t *testing.T) {
	packages, files := lineCounts(t)
	if len(packages) < 10 || len(files) < 50 {
		t.Fatalf("found %d packages and %d files below %s: this test does not look where the code is", len(packages), len(files), root)
	}
	for _, problem := range sizeProblems(packages, files, tooLarge) {
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

// sizeProblems compares the sizes of packages and files with the limits and with the list of exceptions.
func sizeProblems(packages, files, exceptions map[string]int) []string {
	var problems []string
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	check := func(sizes map[string]int, limit int, kind, advice string) {
		for _, name := range slices.Sorted(maps.Keys(sizes)) {
			lines := sizes[name]
			bound, listed := exceptions[name]
			switch {
			case listed && lines <= limit:
				report("%s %s has %d lines, within the limit of %d: remove it from tooLarge in test/rules/size_test.go", kind, name, lines, limit)
			case listed && lines > bound:
				report("%s %s has grown to %d lines, and tooLarge allows %d (the limit is %d): %s", kind, name, lines, bound, limit, advice)
			case !listed && lines > limit:
				report("%s %s has %d lines, and the limit is %d: %s", kind, name, lines, limit, advice)
			}
		}
	}
	check(packages, packageLimit, "package", "move a part with a purpose of its own to a new package")
	check(files, fileLimit, "file", "move a part with a purpose of its own to a new file")
	for _, name := range slices.Sorted(maps.Keys(exceptions)) {
		_, isPackage := packages[name]
		_, isFile := files[name]
		if !isPackage && !isFile {
			report("%s does not exist: remove it from tooLarge in test/rules/size_test.go", name)
		}
	}
	return problems
}

func TestSizeProblems(t *testing.T) {
	for name, c := range map[string]struct {
		packages, files, exceptions map[string]int
		problem                     string // empty: none
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
		"an exception that has shrunk": {
			files:      map[string]int{"pkg/a/a.go": 500},
			exceptions: map[string]int{"pkg/a/a.go": 600},
		},
		"an exception that has grown": {
			files:      map[string]int{"pkg/a/a.go": 601},
			exceptions: map[string]int{"pkg/a/a.go": 600},
			problem:    "file pkg/a/a.go has grown to 601 lines, and tooLarge allows 600 (the limit is 450): move a part with a purpose of its own to a new file",
		},
		"an exception within the limit": {
			packages:   map[string]int{"pkg/a": packageLimit},
			exceptions: map[string]int{"pkg/a": 1600},
			problem:    "package pkg/a has 1500 lines, within the limit of 1500: remove it from tooLarge in test/rules/size_test.go",
		},
		"an exception that does not exist": {
			exceptions: map[string]int{"pkg/a": 1600},
			problem:    "pkg/a does not exist: remove it from tooLarge in test/rules/size_test.go",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(sizeProblems(c.packages, c.files, c.exceptions), "\n")
			if got != c.problem {
				t.Errorf("got %q, want %q", got, c.problem)
			}
		})
	}
}
