package main

import (
	"bytes"
	"flag"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

var flagWord = regexp.MustCompile(`--?[a-z][a-z-]*`)

// Whoever adds a command or a flag says what it is for.
func TestEveryCommandAndFlagIsExplained(t *testing.T) {
	for _, c := range commands() {
		if c.summary == "" || strings.HasSuffix(c.summary, ".") || c.setup == nil && c.raw == nil {
			t.Errorf("%s: the summary is %q", c.name, c.summary)
		}
		if c.runBy != "" {
			continue
		}
		if c.about == "" || len(c.examples) == 0 {
			t.Errorf("%s: it has no text or no example", c.name)
		}
		for _, example := range c.examples {
			if !strings.Contains(example, "bootagent "+c.name) {
				t.Errorf("%s: the example %q is of another command", c.name, example)
			}
		}
		flags, _ := c.flags()
		used := flagWord.FindAllString(c.args, -1)
		flags.VisitAll(func(f *flag.Flag) {
			if f.Usage == hiddenFlag {
				return
			}
			long, isShort := strings.CutPrefix(f.Usage, aliasOf)
			switch {
			case f.Usage == "":
				t.Errorf("%s: %s has no description", c.name, dashed(f.Name))
			case isShort && flags.Lookup(long) == nil:
				t.Errorf("%s: %s is short for %s, and there is no such flag", c.name, dashed(f.Name), dashed(long))
			case !isShort && !slices.Contains(used, dashed(f.Name)) && !slices.Contains(used, dashed(f.Name[:1])) && !slices.Contains(used, "-"+f.Name[:1]):
				t.Errorf("%s: the usage line does not have %s", c.name, dashed(f.Name))
			}
		})
		for _, word := range used {
			if flags.Lookup(strings.TrimLeft(word, "-")) == nil {
				t.Errorf("%s: the usage line has %s, and there is no such flag", c.name, word)
			}
		}
	}
}

// The list of commands is read on one screen, and so is the help of a command.
func TestHelpFitsOnAScreen(t *testing.T) {
	fits := func(of, text string) {
		t.Helper()
		if n := strings.Count(text, "\n"); n > 40 {
			t.Errorf("%s has %d lines", of, n)
		}
		for line := range strings.Lines(text) {
			if len(line) > 120 {
				t.Errorf("%s has a line of %d characters: %s", of, len(line), line)
			}
		}
	}
	var text strings.Builder
	list(&text)
	if n := strings.Count(text.String(), "\n"); n > 24 {
		t.Errorf("the list of commands has %d lines", n)
	}
	fits("the list", text.String())
	for _, c := range commands() {
		var asked, flagged, errs bytes.Buffer
		if code := run(t.Context(), []string{"help", c.name}, &asked, &errs); code != 0 {
			t.Errorf("help %s: exit %d, %s", c.name, code, errs.String())
		}
		fits("help of "+c.name, asked.String())
		if c.raw != nil {
			continue
		}
		if code := run(t.Context(), []string{c.name, "--help"}, &flagged, &errs); code != 0 || flagged.String() != asked.String() {
			t.Errorf("%s --help: exit %d, %s", c.name, code, flagged.String())
		}
		if c.runBy != "" && strings.Contains(text.String(), c.name) {
			t.Errorf("the list has %s, which %s runs", c.name, c.runBy)
		}
	}
}

func TestAPlainBuildKnowsItsVersion(t *testing.T) {
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for want, info := range map[string]debug.BuildInfo{
		"v1.2.3":                 {Main: debug.Module{Version: "v1.2.3"}, Settings: vcs},
		"0123456789abcdef+dirty": {Main: debug.Module{Version: "(devel)"}, Settings: vcs},
		"0123456789abcdef":       {Settings: vcs[:1]},
		"unknown":                {Main: debug.Module{Version: "(devel)"}, Settings: vcs[1:]},
	} {
		if got := versionOf(&info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
