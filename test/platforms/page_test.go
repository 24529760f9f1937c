package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bootagent/test/lab/image"
)

func named(t *testing.T, name string) image.Platform {
	t.Helper()
	on, err := image.Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return on
}

func column(t *testing.T, name string) check {
	t.Helper()
	all := checks()
	at := slices.IndexFunc(all, func(c check) bool { return c.name == name })
	if at < 0 {
		t.Fatalf("there is no check %q", name)
	}
	return all[at]
}

// results of two suites; that of trixie died in a test.
var suites = map[string]string{
	"e2e": `{"Ended": "2026-11-20T10:00:00Z", "Tests": {
		"bootagent/test/e2e TestLifeOfADatabase": {"How": "fail", "Attributes": {"platform": "bookworm", "systemd": "252.39-1", "kernel": "6.1.0"}},
		"bootagent/test/e2e TestLifeOfADatabase/a_disk": {"How": "fail"},
		"bootagent/test/e2e TestLifeOfADatabase/at_power-off_it_stops": {"How": "pass"},
		"bootagent/test/e2e TestContract": {"How": "pass", "Attributes": {"platform": "bookworm", "systemd": "252.39-1", "kernel": "6.1.0"}},
		"bootagent/test/e2e TestTheWholeWayOnEC2": {"How": "skip", "Attributes": {"platform": "bookworm"}}}}`,
	"trixie": `{"Ended": "2026-11-21T10:00:00Z", "Tests": {
		"bootagent/test/demo TestTheDemoSucceeds": {"How": "", "Attributes": {"platform": "trixie"}}}}`,
	"trixie-ci": `{"Ended": "2026-11-21T09:00:00Z", "Tests": {
		"bootagent/test/demo TestTheDemoSucceeds": {"How": "pass", "Attributes": {"platform": "trixie"}}}}`,
	"rules": `{"Ended": "2026-11-20T10:00:00Z", "Tests": {
		"bootagent/test/rules TestRPMIsInstalledUpgradedAndErased": {"How": "pass"},
		"bootagent/test/rules TestRPMIsRefusedWithoutWhatItRuns": {"How": "skip"}}}`,
	"old": `{"Suite": "old", "Passed": 3}`,
}

func TestEachCellSaysHowItsTestsEnded(t *testing.T) {
	dir := t.TempDir()
	for name, text := range suites {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ check, platform, says string }{
		{"life of MariaDB", "bookworm", "**fails**"},
		{"order at power-off", "bookworm", "holds"}, // though the test that it is a part of failed
		{"contract", "bookworm", "holds"},
		{"whole way on EC2", "bookworm", "skipped"},
		{"contract", "trixie", notRun},
		{"demo", "trixie", "**fails**"}, // the latest
		{"demo", "sid", notRun},
		{"rpm", plain.Name, "holds"},
	} {
		on := plain
		if want.platform != plain.Name {
			on = named(t, want.platform)
		}
		if got := all.cell(column(t, want.check), on); got != want.says {
			t.Errorf("%s on %s: got %q, want %q", want.check, want.platform, got, want.says)
		}
	}
	if systemd, kernel, day := all.told(named(t, "bookworm")); systemd != "252.39-1" || kernel != "6.1.0" || day != "2026-11-20" {
		t.Errorf("bookworm tells %q, %q, %q", systemd, kernel, day)
	}
	if systemd, _, day := all.told(named(t, "sid")); systemd != notRun || day != notRun {
		t.Errorf("sid tells %q, %q", systemd, day)
	}
}

// The page is made from results, so its cells are not compared; all else is what these lists say.
func TestThePageIsThatOfTheLists(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", pagePath))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := withoutCells(string(text)), withoutCells(page(nil)); got != want {
		t.Errorf("docs/platforms.md is not the page of the platforms and checks: run make platforms-page. It is\n%s\nand not\n%s", got, want)
	}
}

// withoutCells leaves only the first cell of each row of a table that is not its header.
func withoutCells(page string) string {
	lines := strings.Split(page, "\n")
	header := true
	for i, line := range lines {
		if !strings.HasPrefix(line, "|") {
			header = true
			continue
		}
		if !header && !strings.HasPrefix(line, "| ---") {
			lines[i] = line[:strings.Index(line[1:], "|")+1]
		}
		header = false
	}
	return strings.Join(lines, "\n")
}

// A name in the list that no test has would leave its row empty for ever.
func TestEachCheckIsATest(t *testing.T) {
	for _, c := range checks() {
		files, err := filepath.Glob(filepath.Join("..", c.pkg, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		var source strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(c.tests, "^"), "/")
		if whole, found := strings.CutSuffix(name, "$"); found {
			name = whole + "(t *testing.T)"
		}
		if !strings.Contains(source.String(), "func "+name) {
			t.Errorf("%s: test/%s has no %s", c.name, c.pkg, name)
		}
		if part := strings.ReplaceAll(strings.Trim(c.part, "^"), "_", " "); !strings.Contains(source.String(), `"`+part) {
			t.Errorf("%s: no part of a test in test/%s begins with %q", c.name, c.pkg, part)
		}
		for _, name := range append(c.on, c.ci...) {
			named(t, name)
		}
	}
}

func TestTheArgumentsOfASuite(t *testing.T) {
	arguments, err := suite(named(t, "sid"), false)
	if err != nil || !slices.Contains(arguments, "-report") || arguments[len(arguments)-1] != "./e2e" {
		t.Errorf("sid: got %q, %v", arguments, err)
	}
	arguments, err = suite(named(t, "trixie"), true)
	if err != nil || slices.Contains(arguments, "-report") || !slices.Contains(arguments, "trixie-ci") {
		t.Errorf("trixie in make test: got %q, %v", arguments, err)
	}
	// The shell of make splits them at white space, and expands these.
	if special := regexp.MustCompile(`[\s*?\[\]]`); slices.ContainsFunc(arguments, special.MatchString) {
		t.Errorf("the shell changes %q", arguments)
	}
	if _, err := suite(named(t, "sid"), true); err == nil {
		t.Error("make test runs tests on sid")
	}
}
