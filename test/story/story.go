// Package story contains the status of some boots, step by step, from the
// simulated world of test/sim. The tests in test/e2e cause the same boots in
// virtual machines, and compare the status there with these files. So they show
// for these boots that the simulated world behaves as a machine does.
package story

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"bootagent/pkg/status"
)

//go:embed stories/*.txt
var stories embed.FS

// Of formats a status as a story: the state of the role and of each step, with
// the reason. It replaces texts that differ from machine to machine.
func Of(s status.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.State)
	for _, step := range s.Steps {
		fmt.Fprintf(&b, "%-8s %s\n", step.State, step.Name)
		for _, words := range []struct{ what, said string }{
			{"for", step.For}, {"because", step.Error}, {"hint", step.Hint}, {"warning", step.Warning},
		} {
			if words.said != "" {
				fmt.Fprintf(&b, "         %s: %s\n", words.what, common(words.said))
			}
		}
	}
	return b.String()
}

// own matches the texts that differ from machine to machine, with their replacements.
var own = []struct {
	is   *regexp.Regexp
	said string
}{
	{regexp.MustCompile(`\bvol-[0-9a-f]{17}\b`), "vol-ID"},
	{regexp.MustCompile(`\bvol[0-9a-f]{17}\b`), "volID"},
	{regexp.MustCompile(`\bi-[0-9a-f]{17}\b`), "i-ID"},
	{regexp.MustCompile(`\bage1[0-9a-z.]+`), "age1KEY"},
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "UUID"},
	{regexp.MustCompile(`\b(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\b`), "TIME"},
	{regexp.MustCompile(`\b\d+(\.\d+)? [KMG]iB\b`), "SIZE"},
	// It depends on chance which of several deadlines passes first.
	{regexp.MustCompile(`^((?:relies on|uses) .* TIME(: |, because it waited \w+ in vain for )).*`), "${1}WHY"},
}

func common(text string) string {
	for _, o := range own {
		text = o.is.ReplaceAllString(text, o.said)
	}
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
}

// File returns the path of a story, relative to this package.
func File(name string) string { return "stories/" + name + ".txt" }

// Told returns a story of the simulated world.
func Told(name string) (string, error) {
	text, err := fs.ReadFile(stories, File(name))
	return string(text), err
}
