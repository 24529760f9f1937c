// Summary runs a suite of Go tests and counts what became of each test.
//
//	summary [-live] [-budget 2m] -to DIR SUITE go-test-arguments...
//	summary [-packages] -to DIR total SUITE...
//
// The first form runs "go test -json" with the arguments, prints one line for
// each package, the output of each test that failed, and, loudly, each test
// that was skipped with its reason; what it counted it leaves in DIR. With
// -live the output of every test is printed as it comes, for tests that boot
// machines. The second form prints what the suites left there, and ends with
// the sum of all in one line:
//
//	412 passed, 0 failed, 3 skipped
//
// A suite without a single test counts as failed, as does one that did not run.
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
	live := flag.Bool("live", false, "print the output of every test as it comes")
	budget := flag.Duration("budget", 0, "how long the suite may take; longer is told, and no failure")
	packages := flag.Bool("packages", false, "with total: the line of each package too")
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
		ok, err = run(*to, flag.Arg(0), flag.Args()[1:], *live, *budget)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

// run runs one suite and reports whether all of it passed.
func run(to, suite string, args []string, live bool, budget time.Duration) (bool, error) {
	// A suite that dies must not be counted by what an earlier run left.
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
	// An interrupt reaches go test by itself, which cleans up and ends.
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
	return result.Failed == 0, os.WriteFile(file, text, 0o644)
}

// total prints what the suites left, and their sum.
func total(w io.Writer, from string, suites []string, packages bool) (bool, error) {
	var sum result
	for _, suite := range suites {
		r := result{Suite: suite}
		text, err := os.ReadFile(filepath.Join(from, suite+".json"))
		switch {
		case errors.Is(err, os.ErrNotExist):
			r.fail("did not run, or not to its end")
		case err != nil:
			return false, err
		default:
			if err := json.Unmarshal(text, &r); err != nil {
				return false, fmt.Errorf("results of %s: %w", suite, err)
			}
		}
		r.print(w, packages)
		sum.Passed += r.Passed
		sum.Failed += r.Failed
		sum.Skipped += r.Skipped
	}
	fmt.Fprintf(w, "\n%s\n", sum.counts())
	return sum.Failed == 0, nil
}

// A result is what became of a suite.
type result struct {
	Suite                   string
	Passed, Failed, Skipped int
	Packages                []string // as go test says it: "ok  	bootagent/pkg/role	0.3s"
	Failures, Skips         []string // the test's name and, for skips, the reason
	Took                    time.Duration
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
	fmt.Fprintf(w, "%s: %s (%v)\n", r.Suite, r.counts(), r.Took)
}

// read takes in the output of go test -json to its end.
func (t *tally) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				t.add(e)
			} else {
				t.out.Write(line) // what is no event is some program's own word
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
