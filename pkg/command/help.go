package command

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"bootagent/pkg/strictyaml"
)

// A List is the commands of a program, in the order of its help.
type List []Command

// Find returns the command with a name. The error for an unknown one is a
// UsageError with its near miss.
func (l List) Find(name string) (*Command, error) {
	names := []string{"help"}
	for i, c := range l {
		if c.Name == name {
			return &l[i], nil
		}
		if c.RunBy == "" {
			names = append(names, c.Name)
		}
	}
	return nil, Misuse(fmt.Errorf("unknown command %s%s", strictyaml.Quote(name), strictyaml.DidYouMean(name, names)))
}

// Describe prints the commands for people, with their summaries.
func (l List) Describe(out io.Writer) {
	for _, c := range l {
		if c.RunBy == "" {
			fmt.Fprintf(out, "  %-10s %s\n", c.Name, c.Summary)
		}
	}
}

// Describe prints the help of a command.
func (c *Command) Describe(out io.Writer) {
	fmt.Fprintf(out, "usage: %s\n\n", c.Usage())
	if c.RunBy != "" {
		fmt.Fprintf(out, "bootagent %s: %s. %s runs it.\n", c.Name, c.Summary, c.RunBy)
	} else {
		fmt.Fprintln(out, c.About)
	}
	flags, _ := c.flags()
	describeFlags(flags, out)
	section(out, "Examples", c.Examples)
	section(out, "Exit codes", c.Exits)
}

func describeFlags(flags *flag.FlagSet, out io.Writer) {
	letters := make(map[string]string) // by the name that they are short for
	flags.VisitAll(func(f *flag.Flag) {
		if name, ok := strings.CutPrefix(f.Usage, ShortFor); ok {
			letters[name] = "-" + f.Name + ", "
		}
	})
	var lines []string
	flags.VisitAll(func(f *flag.Flag) {
		if f.Usage == Hidden || strings.HasPrefix(f.Usage, ShortFor) {
			return
		}
		value, usage := flag.UnquoteUsage(f)
		line := strings.TrimSpace(letters[f.Name] + Dashed(f.Name) + " " + value)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			usage += " (default " + f.DefValue + ")"
		}
		lines = append(lines, line+"\n        "+usage)
	})
	section(out, "Flags", lines)
}

func section(out io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s:\n", title)
	for _, line := range lines {
		fmt.Fprintf(out, "  %s\n", line)
	}
}
