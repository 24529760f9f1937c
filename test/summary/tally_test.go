package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestResult(t *testing.T) {
	for _, tt := range []struct {
		name     string
		events   string
		counts   string
		failures []string
		skips    []string
		printed  string // part of the output
	}{
		{
			name: "a test with subtests counts by its subtests",
			events: `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"run","Package":"p","Test":"TestA/two"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/two"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.3s\n"}
{"Action":"pass","Package":"p"}`,
			counts:  "2 passed, 0 failed, 0 skipped",
			printed: "ok  \tp\t0.3s\n",
		},
		{
			name: "a slash in a name does not make a subtest",
			events: `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/a_unit_in_/etc"}
{"Action":"pass","Package":"p","Test":"TestA/a_unit_in_/etc"}
{"Action":"pass","Package":"p","Test":"TestA"}`,
			counts: "1 passed, 0 failed, 0 skipped",
		},
		{
			name: "a failure is counted once, where it happened, and its output is printed",
			events: `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"run","Package":"p","Test":"TestA/two"}
{"Action":"output","Package":"p","Test":"TestA/one","Output":"    a_test.go:7: lost it\n"}
{"Action":"fail","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/two"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`,
			counts:   "1 passed, 1 failed, 0 skipped",
			failures: []string{"p TestA/one"},
			printed:  "a_test.go:7: lost it\n",
		},
		{
			name: "a test may fail by itself when its subtests pass",
			events: `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/one"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`,
			counts:   "1 passed, 1 failed, 0 skipped",
			failures: []string{"p TestA"},
		},
		{
			name: "a skipped test is listed with its reason",
			events: `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: no mkfs.ocfs2 here\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}`,
			counts: "0 passed, 0 failed, 1 skipped",
			skips:  []string{"p TestA: no mkfs.ocfs2 here"},
		},
		{
			name: "a package that does not build is a failure",
			events: `
{"ImportPath":"p [p.test]","Action":"build-output","Output":"a.go:3: undefined: x\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`,
			counts:   "0 passed, 1 failed, 0 skipped",
			failures: []string{"p"},
			printed:  "a.go:3: undefined: x\n",
		},
		{
			name: "a test whose process died is a failure",
			events: `
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"fail","Package":"p"}`,
			counts:   "0 passed, 1 failed, 0 skipped",
			failures: []string{"p TestA/one: did not finish"},
		},
		{
			name:     "a suite without a test is a failure",
			events:   `{"Action":"skip","Package":"p"}`,
			counts:   "0 passed, 1 failed, 0 skipped",
			failures: []string{"no test ran"},
		},
		{
			name: "a line that is not an event is printed",
			events: `go: downloading something
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}`,
			counts:  "1 passed, 0 failed, 0 skipped",
			printed: "go: downloading something\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			tally := newTally(&out, false)
			if err := tally.read(strings.NewReader(strings.TrimSpace(tt.events) + "\n")); err != nil {
				t.Fatal(err)
			}
			r := tally.result("unit")
			if r.counts() != tt.counts {
				t.Errorf("counted %q, want %q", r.counts(), tt.counts)
			}
			if !slices.Equal(r.Failures, tt.failures) {
				t.Errorf("failures %q, want %q", r.Failures, tt.failures)
			}
			if !slices.Equal(r.Skips, tt.skips) {
				t.Errorf("skips %q, want %q", r.Skips, tt.skips)
			}
			if !strings.Contains(out.String(), tt.printed) {
				t.Errorf("printed %q, which lacks %q", out.String(), tt.printed)
			}
		})
	}
}

// If a suite did not run, or died, the sum must contain a failure.
func TestTotal(t *testing.T) {
	var out strings.Builder
	ok, err := total(&out, t.TempDir(), []string{"unit"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if ok {
		t.Error("a suite that left no result passed")
	}
	if want := "\n0 passed, 1 failed, 0 skipped\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("printed %q, which does not end with %q", out.String(), want)
	}
}

func TestAResultTellsHowEachTestEnded(t *testing.T) {
	tally := newTally(new(strings.Builder), false)
	events := `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"attr","Package":"p","Test":"TestA/one","Key":"systemd","Value":"257"}
{"Action":"fail","Package":"p","Test":"TestA/one"}
{"Action":"fail","Package":"p","Test":"TestA"}
`
	if err := tally.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	r := tally.result("e2e")
	want := map[string]ended{
		"p TestA":     {How: "fail"},
		"p TestA/one": {How: "fail", Attributes: map[string]string{"systemd": "257"}},
	}
	if !reflect.DeepEqual(r.Tests, want) {
		t.Errorf("got %v, want %v", r.Tests, want)
	}
}

// What is only reported is printed, and fails no sum. A suite that did not run
// fails the sum, whatever it would have been.
func TestFailuresThatAreOnlyReportedFailNoSum(t *testing.T) {
	dir := t.TempDir()
	write := func(suite, text string) {
		if err := os.WriteFile(filepath.Join(dir, suite+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("e2e", `{"Suite":"e2e","Passed":3}`)
	write("sid", `{"Suite":"sid","Passed":1,"Failed":2,"Failures":["p TestA","p TestB"],"Reported":true}`)
	var out strings.Builder
	if ok, err := total(&out, dir, []string{"e2e", "sid"}, false); err != nil || !ok {
		t.Errorf("the sum failed: %v", err)
	}
	for _, want := range []string{
		"FAILED  p TestB\n", "sid: 1 passed, 2 failed, 0 skipped, which is only reported",
		"\n4 passed, 0 failed, 0 skipped; 2 failures are only reported\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not print %q:\n%s", want, out.String())
		}
	}
	if ok, err := total(&out, dir, []string{"e2e", "sid", "arm64"}, false); err != nil || ok {
		t.Errorf("a suite that did not run passed: %v", err)
	}
}
