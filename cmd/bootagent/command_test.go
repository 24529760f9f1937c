package main

import (
	"bytes"
	"flag"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/command"
)

var flagWord = regexp.MustCompile(`--?[a-z][a-z-]*`)

// Whoever adds a command or a flag says what it is for.
func TestEveryCommandAndFlagIsExplained(t *testing.T) {
	for _, c := range commands() {
		if c.Summary == "" || strings.HasSuffix(c.Summary, ".") || c.Setup == nil && c.Raw == nil {
			t.Errorf("%s: the summary is %q", c.Name, c.Summary)
		}
		if c.RunBy != "" {
			continue
		}
		if c.About == "" || len(c.Examples) == 0 {
			t.Errorf("%s: it has no text or no example", c.Name)
		}
		for _, example := range c.Examples {
			if !strings.Contains(example, "bootagent "+c.Name) {
				t.Errorf("%s: the example %q is of another command", c.Name, example)
			}
		}
		flags := flag.NewFlagSet(c.Name, flag.ContinueOnError)
		if c.Setup(flags) == nil {
			t.Errorf("%s: nothing runs", c.Name)
		}
		used := flagWord.FindAllString(c.Args, -1)
		flags.VisitAll(func(f *flag.Flag) {
			if f.Usage == command.Hidden {
				return
			}
			long, isShort := strings.CutPrefix(f.Usage, command.ShortFor)
			switch {
			case f.Usage == "":
				t.Errorf("%s: %s has no description", c.Name, command.Dashed(f.Name))
			case isShort && flags.Lookup(long) == nil:
				t.Errorf("%s: %s is short for %s, and there is no such flag", c.Name, command.Dashed(f.Name), command.Dashed(long))
			case !isShort && !slices.Contains(used, command.Dashed(f.Name)) && !slices.Contains(used, command.Dashed(f.Name[:1])) && !slices.Contains(used, "-"+f.Name[:1]):
				t.Errorf("%s: the usage line does not have %s", c.Name, command.Dashed(f.Name))
			}
		})
		for _, word := range used {
			if flags.Lookup(strings.TrimLeft(word, "-")) == nil {
				t.Errorf("%s: the usage line has %s, and there is no such flag", c.Name, word)
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
	help(nil, &text, &text)
	if n := strings.Count(text.String(), "\n"); n > 24 {
		t.Errorf("the list of commands has %d lines", n)
	}
	fits("the list", text.String())
	for _, c := range commands() {
		var asked, flagged, errs bytes.Buffer
		if code := run(t.Context(), []string{"help", c.Name}, &asked, &errs); code != 0 {
			t.Errorf("help %s: exit %d, %s", c.Name, code, errs.String())
		}
		fits("help of "+c.Name, asked.String())
		if c.Raw != nil {
			continue
		}
		if code := run(t.Context(), []string{c.Name, "--help"}, &flagged, &errs); code != 0 || flagged.String() != asked.String() {
			t.Errorf("%s --help: exit %d, %s", c.Name, code, flagged.String())
		}
		if c.RunBy != "" && strings.Contains(text.String(), c.Name) {
			t.Errorf("the list has %s, which %s runs", c.Name, c.RunBy)
		}
	}
}
