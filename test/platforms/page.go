package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bootagent/test/lab/image"
)

// A result is how a test ended, as test/summary writes it.
type result struct {
	How        string
	Attributes map[string]string

	ended time.Time // when its suite did
}

// results are those of all suites: by package and name of the test, and for each the latest of each platform.
type results map[string]map[string]result

// plain is the platform of tests that need no virtual machine.
var plain = image.Platform{Name: "plain"}

// read reads the results of all suites in a directory. A test without an attribute "platform" ran on that
// of the test that it is a part of, or on no virtual machine.
func read(dir string) (results, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	all := results{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var s struct {
			Tests map[string]result
			Ended time.Time
		}
		if err := json.Unmarshal(text, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for name, r := range s.Tests {
			r.Attributes = attributes(s.Tests, name)
			r.ended = s.Ended
			all.add(name, r)
		}
	}
	return all, nil
}

func (all results) add(name string, r result) {
	on := r.Attributes["platform"]
	if on == "" {
		on = plain.Name
	}
	if all[name] == nil {
		all[name] = map[string]result{}
	}
	if before, found := all[name][on]; !found || before.ended.Before(r.ended) {
		all[name][on] = r
	}
}

// attributes returns those of the test or of the nearest test that it is a part of.
func attributes(tests map[string]result, name string) map[string]string {
	for {
		if of := tests[name].Attributes; of["platform"] != "" {
			return of
		}
		at := strings.LastIndexByte(name, '/')
		if at < 0 {
			return nil
		}
		name = name[:at]
	}
}

// cell says how the tests of a check ended on a platform.
func (all results) cell(c check, on image.Platform) string {
	said := map[string]int{}
	for name, at := range all {
		if r, found := at[on.Name]; found && c.is().MatchString(name) {
			said[r.How]++
		}
	}
	switch {
	case len(said) == 0:
		return notRun
	case said["fail"]+said[""] > 0:
		return "**fails**"
	case said["pass"] == 0:
		return "skipped"
	}
	return "holds"
}

const notRun = "not run"

// told returns what the machines of a platform said of themselves: each version once, and the day of the
// last test.
func (all results) told(on image.Platform) (systemd, kernel, day string) {
	var systemds, kernels []string
	var last time.Time
	for _, at := range all {
		r, found := at[on.Name]
		if !found {
			continue
		}
		systemds, kernels = append(systemds, r.Attributes["systemd"]), append(kernels, r.Attributes["kernel"])
		if r.ended.After(last) {
			last = r.ended
		}
	}
	if last.IsZero() {
		return notRun, notRun, notRun
	}
	return once(systemds), once(kernels), last.Format(time.DateOnly)
}

func once(words []string) string {
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}

const intro = `# Platforms (reference)

bootagent is tested on each of these platforms in virtual machines, with the programs of the distribution as they are.
` + "`make test`" + ` runs all end-to-end tests on the first platform, and the demo on Debian 13. ` + "`make platforms`" + ` runs
the tests below on the others. What fails on Debian sid is reported only, because sid changes every day.

` + "`make platforms-page`" + ` writes this page from the results of the tests. The machines tell their versions themselves. A test
that was not run on a platform is in its cell as "` + notRun + `".

`

// page returns the page as Markdown.
func page(all results) string {
	var b strings.Builder
	b.WriteString(intro)
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }

	row("platform", "systemd", "kernel", "last run")
	row("---", "---", "---", "---")
	for _, on := range image.Platforms() {
		systemd, kernel, day := all.told(on)
		row(on.Title, systemd, kernel, day)
	}
	b.WriteString("\n")

	header, line := []string{""}, []string{"---"}
	for _, on := range image.Platforms() {
		header, line = append(header, on.Title), append(line, "---")
	}
	row(header...)
	row(line...)
	for _, c := range checks() {
		if c.plain {
			continue
		}
		cells := []string{c.name}
		for _, on := range image.Platforms() {
			cells = append(cells, all.cell(c, on))
		}
		row(cells...)
	}

	b.WriteString("\nThese need no virtual machine:\n\n")
	row("", "result")
	row("---", "---")
	for _, c := range checks() {
		if c.plain {
			row(c.name, all.cell(c, plain))
		}
	}

	b.WriteString("\nThe tests:\n\n")
	for _, c := range checks() {
		fmt.Fprintf(&b, "- %s: %s. `%s` in `test/%s`\n", c.name, c.says, strings.NewReplacer("^", "", "$", "").Replace(c.tests), c.pkg)
	}
	return b.String()
}
