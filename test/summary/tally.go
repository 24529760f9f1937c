package main

import (
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
)

// An event is one line of go test -json; see "go doc test2json".
type event struct {
	Action     string
	Package    string
	Test       string
	Output     string
	Key, Value string // of an attribute
}

// A tally counts the events of a suite.
type tally struct {
	out   io.Writer
	live  bool
	tests map[name]*test
	lines []string // of the packages
	bad   []string // packages that failed
}

type name struct{ pkg, test string }

func (n name) String() string {
	if n.test == "" {
		return n.pkg
	}
	return n.pkg + " " + n.test
}

// A test is the state of one test. If its name is empty, it is that of the package.
type test struct {
	action   string // pass, fail, skip; empty until it ends
	output   strings.Builder
	attrs    map[string]string
	parent   bool // has subtests
	badChild bool // one of them failed
}

func (t *test) set(key, value string) {
	if t.attrs == nil {
		t.attrs = map[string]string{}
	}
	t.attrs[key] = value
}

func newTally(out io.Writer, live bool) *tally {
	return &tally{out: out, live: live, tests: map[name]*test{}}
}

func (t *tally) test(n name) *test {
	if t.tests[n] == nil {
		t.tests[n] = &test{}
	}
	return t.tests[n]
}

func (t *tally) add(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(t.out, e.Output)
	case "run":
		t.test(n)
		for parent := range t.parents(n) {
			parent.parent = true
		}
	case "output":
		t.output(n, e.Output)
	case "attr":
		t.test(n).set(e.Key, e.Value)
	case "pass", "fail", "skip":
		t.end(n, e.Action)
	}
}

// parents returns the tests that have this one as a subtest. A slash may also be
// part of a name, so it returns only tests that ran.
func (t *tally) parents(n name) iter.Seq[*test] {
	return func(yield func(*test) bool) {
		for i, c := range n.test {
			if c != '/' {
				continue
			}
			if parent := t.tests[name{n.pkg, n.test[:i]}]; parent != nil && !yield(parent) {
				return
			}
		}
	}
}

func (t *tally) output(n name, text string) {
	switch {
	case n.test == "" && (strings.HasPrefix(text, "ok  \t") || strings.HasPrefix(text, "FAIL\t") || strings.HasPrefix(text, "?   \t")):
		t.lines = append(t.lines, strings.TrimRight(text, "\n"))
		fmt.Fprint(t.out, text)
	case strings.HasPrefix(text, "=== PAUSE"), strings.HasPrefix(text, "=== CONT"), strings.HasPrefix(text, "=== NAME"):
	case t.live:
		fmt.Fprint(t.out, text)
		fallthrough
	default:
		t.test(n).output.WriteString(text)
	}
}

func (t *tally) end(n name, action string) {
	it := t.test(n)
	it.action = action
	if action != "fail" {
		return
	}
	if n.test == "" {
		t.bad = append(t.bad, n.pkg)
	}
	t.blame(n)
	if !t.live {
		fmt.Fprint(t.out, it.output.String())
	}
}

// blame records in the parents of a test that one of their subtests failed.
func (t *tally) blame(n name) {
	for parent := range t.parents(n) {
		parent.badChild = true
	}
}

// result counts each test that has no subtests. A test that has subtests counts
// only if it failed and none of them did. A package that failed without a failed
// test, because it did not build or was killed, counts as one failure.
func (t *tally) result(suite string) result {
	r := result{Suite: suite, Packages: t.lines, Tests: map[string]ended{}}
	for n, it := range t.tests {
		if it.action == "" { // its process died
			t.blame(n)
		}
	}
	failedIn := map[string]bool{}
	names := slices.SortedFunc(maps.Keys(t.tests), func(a, b name) int {
		return strings.Compare(a.String(), b.String())
	})
	for _, n := range names {
		it := t.tests[n]
		if n.test != "" {
			r.Tests[n.String()] = ended{How: it.action, Attributes: it.attrs}
		}
		switch {
		case n.test == "":
		case it.action == "pass":
			if !it.parent {
				r.Passed++
			}
		case it.action == "skip":
			r.Skipped++
			r.Skips = append(r.Skips, n.String()+": "+reason(it.output.String()))
		case it.badChild:
		case it.action == "":
			failedIn[n.pkg] = true
			r.fail(n.String() + ": did not finish")
		default:
			failedIn[n.pkg] = true
			r.fail(n.String())
		}
	}
	for _, pkg := range t.bad {
		if !failedIn[pkg] {
			r.fail(pkg)
		}
	}
	if r.Passed+r.Failed+r.Skipped == 0 {
		r.fail("no test ran")
	}
	return r
}

// reason returns the message of a skipped test, without the file and line.
func reason(output string) string {
	var said []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if file, rest, ok := strings.Cut(line, ": "); ok && strings.Contains(file, ".go:") {
			line = rest
		}
		said = append(said, line)
	}
	if said == nil {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
