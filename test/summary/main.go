// Summary runs a suite of Go tests and counts how many passed, failed and were skipped.
//
//	summary [-live] [-report] [-budget 2m] -to DIR SUITE go-test-arguments...
//	summary [-packages] -to DIR total SUITE...
//
// The first form runs "go test -json" with the arguments. It prints one line for
// each package, the output of each test that failed, and each test that was
// skipped, with the reason. It writes the counts to DIR, with the end and the
// attributes (testing.T.Attr) of each test. With -live it prints the output of
// every test at once, for tests that boot machines. With -report the failures of
// the suite are printed, but fail neither the suite nor a sum: what it tests
// changes daily. The second form prints the counts of the suites in DIR, and
// then their sum in one line:
//
//	412 passed, 0 failed, 3 skipped
//	412 passed, 0 failed, 3 skipped; 2 failures are only reported
//
// A suite that has no test or did not run counts as one failure.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	to := flag.String("to", ".", "`directory` for the results")
	live := flag.Bool("live", false, "print the output of every test at once")
	report := flag.Bool("report", false, "print the failures of the suite, and do not fail")
	budget := flag.Duration("budget", 0, "how long the suite may take; if it takes longer, print so, but do not fail")
	packages := flag.Bool("packages", false, "with total: print the line of each package too")
	flag.Parse()
	if flag.NArg() < 2 {
		flag.Usage()
		os.Exit(2)
	}

	var ok bool
	var err error
	if flag.Arg(0) == "total" {
		ok, err = total(os.Stdout, *to, flag.Args()[1:], *packages)
	} else {
		ok, err = run(*to, flag.Arg(0), flag.Args()[1:], *live, *report, *budget)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

// run runs one suite. It returns false if a test failed and the failures are not
// only reported.
func run(to, suite string, args []string, live, report bool, budget time.Duration) (bool, error) {
	// If this run dies, the counts of an earlier run must not stay.
	file := filepath.Join(to, suite+".json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	start := time.Now()
	goTest := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	goTest.Stderr = os.Stderr
	stdout, err := goTest.StdoutPipe()
	if err != nil {
		return false, err
	}
	// go test gets the interrupt too. It cleans up and exits.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	if err := goTest.Start(); err != nil {
		return false, err
	}
	tally := newTally(os.Stdout, live)
	if err := tally.read(stdout); err != nil {
		return false, err
	}
	result := tally.result(suite)
	if err := goTest.Wait(); err != nil && result.Failed == 0 {
		result.fail("go test: " + err.Error())
	}
	result.Took = time.Since(start).Round(100 * time.Millisecond)
	result.Ended = time.Now().UTC().Round(time.Second)
	result.Reported = report

	result.print(os.Stdout, false)
	if budget > 0 && result.Took > budget {
		fmt.Printf("%s: OVER BUDGET: took %v of %v\n", suite, result.Took, budget)
	}
	text, err := json.Marshal(result)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return false, err
	}
	return result.Failed == 0 || report, os.WriteFile(file, text, 0o644)
}

// total prints the counts of the suites, and their sum.
func total(w io.Writer, from string, suites []string, packages bool) (bool, error) {
	var sum result
	reported := 0
	for _, suite := range suites {
		r := result{Suite: suite}
		text, err := os.ReadFile(filepath.Join(from, suite+".json"))
		switch {
		case errors.Is(err, os.ErrNotExist):
			r.fail("did not run, or did not finish")
		case err != nil:
			return false, err
		default:
			if err := json.Unmarshal(text, &r); err != nil {
				return false, fmt.Errorf("results of %s: %w", suite, err)
			}
		}
		r.print(w, packages)
		sum.Passed += r.Passed
		sum.Skipped += r.Skipped
		if r.Reported {
			reported += r.Failed
		} else {
			sum.Failed += r.Failed
		}
	}
	fmt.Fprintf(w, "\n%s", sum.counts())
	if reported > 0 {
		fmt.Fprintf(w, "; %d failures are only reported", reported)
	}
	fmt.Fprintln(w)
	return sum.Failed == 0, nil
}

// A result is the result of a suite.
type result struct {
	Suite                   string
	Passed, Failed, Skipped int
	Packages                []string         // the lines of go test: "ok  	bootagent/pkg/role	0.3s"
	Failures, Skips         []string         // the name of the test and, for skips, the reason
	Tests                   map[string]ended // by package and name, parents too
	Took                    time.Duration
	Ended                   time.Time // when the suite did
	Reported                bool      // its failures are printed, and fail nothing
}

// An ended is how a test ended.
type ended struct {
	How        string            // "pass", "fail", "skip", or "" if its process died
	Attributes map[string]string `json:",omitempty"` // that the test gave itself
}

func (r *result) fail(what string) {
	r.Failed++
	r.Failures = append(r.Failures, what)
}

func (r *result) counts() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.Passed, r.Failed, r.Skipped)
}

func (r *result) print(w io.Writer, packages bool) {
	if packages {
		fmt.Fprintln(w)
		for _, line := range r.Packages {
			fmt.Fprintln(w, line)
		}
	}
	for _, skip := range r.Skips {
		fmt.Fprintf(w, "SKIPPED %s\n", skip)
	}
	for _, failure := range r.Failures {
		fmt.Fprintf(w, "FAILED  %s\n", failure)
	}
	how := ""
	if r.Reported && r.Failed > 0 {
		how = ", which is only reported"
	}
	fmt.Fprintf(w, "%s: %s%s (%v)\n", r.Suite, r.counts(), how, r.Took)
}

// read reads the output of go test -json until it ends.
func (t *tally) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				t.add(e)
			} else {
				t.out.Write(line) // not an event: output of go itself or of a program that it runs
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
