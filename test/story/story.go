// Package story holds how some boots went, step by step, as the simulated world
// of test/sim tells it. The same is made to happen in virtual machines, by
// test/e2e, and has to be told the same there: that is how far the world can be
// believed.
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

// Of is a status as a story: the state of the role, and of each step with the
// reason for it. What no two machines have in common is left out of it.
func Of(s status.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", s.State)
	for _, step := range s.Steps {
		fmt.Fprintf(&b, "%-8s %s\n", step.State, step.Name)
		for _, words := range []struct{ what, said string }{
			{"for", step.For}, {"because", step.Error}, {"hint", step.Hint}, {"remark", step.Remark},
		} {
			if words.said != "" {
				fmt.Fprintf(&b, "         %s: %s\n", words.what, common(words.said))
			}
		}
	}
	return b.String()
}

// own is what is a machine's own, and what stands for it.
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
	// Which of several clocks ran out first is left to chance.
	{regexp.MustCompile(`^(relies on .* TIME(: |, as it waited \w+ in vain for )).*`), "${1}WHY"},
}

func common(text string) string {
	for _, o := range own {
		text = o.is.ReplaceAllString(text, o.said)
	}
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
}

// File is where a story is, below this package.
func File(name string) string { return "stories/" + name + ".txt" }

// Told is a story as it was told in the simulated world.
func Told(name string) (string, error) {
	text, err := fs.ReadFile(stories, File(name))
	return string(text), err
}
