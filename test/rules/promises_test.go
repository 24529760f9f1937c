package rules

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/promises.md says in which package each test is. A test without a package is in pkg/boot.
func TestThePromisesSayWhereTheirTestsAre(t *testing.T) {
	places := map[string][]string{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		for _, found := range declared.FindAllSubmatch(src, -1) {
			places[string(found[1])] = append(places[string(found[1])], dir)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/promises.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("((?:`(?:Test|Fuzz)\\w+`(?:, | and )?)+)(?: in `([^`]+)`)?")
	count := 0
	for _, group := range named.FindAllStringSubmatch(string(page), -1) {
		place := group[2]
		if place == "" {
			place = "pkg/boot"
		}
		for _, name := range regexp.MustCompile(`\w+`).FindAllString(strings.ReplaceAll(group[1], " and ", ""), -1) {
			count++
			if !slices.Contains(places[name], place) {
				t.Errorf("docs/promises.md: %s is not in %s, but in %s", name, place, strings.Join(places[name], ", "))
			}
		}
	}
	if count < 30 {
		t.Errorf("found %d names only", count)
	}
}
