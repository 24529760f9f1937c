package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// help prints the list of commands, or the help of the command that is named.
func help(args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		list(out)
		return 0
	}
	c, err := find(args[0])
	if err != nil {
		return exitOf(nil, err, errs)
	}
	c.describe(out)
	return 0
}

// list prints all commands that are for people.
func list(out io.Writer) {
	fmt.Fprint(out, "usage: bootagent COMMAND [ARGUMENT...]\n\n",
		"bootagent gives an instance its role, and starts its services only on their own data.\n\n")
	for _, c := range commands() {
		if c.runBy == "" {
			fmt.Fprintf(out, "  %-10s %s\n", c.name, c.summary)
		}
	}
	fmt.Fprint(out, "\nbootagent help COMMAND shows its flags and an example; man bootagent has everything.\n")
}

// describe prints the help of a command.
func (c *command) describe(out io.Writer) {
	fmt.Fprintf(out, "usage: %s\n\n", c.usage())
	if c.runBy != "" {
		fmt.Fprintf(out, "bootagent %s: %s. %s runs it.\n", c.name, c.summary, c.runBy)
	} else {
		fmt.Fprintln(out, c.about)
	}
	flags, _ := c.flags()
	describeFlags(flags, out)
	section(out, "Examples", c.examples)
	section(out, "Exit codes", c.exits)
}

func describeFlags(flags *flag.FlagSet, out io.Writer) {
	letters := make(map[string]string) // by the name that they are short for
	flags.VisitAll(func(f *flag.Flag) {
		if name, ok := strings.CutPrefix(f.Usage, aliasOf); ok {
			letters[name] = "-" + f.Name + ", "
		}
	})
	var lines []string
	flags.VisitAll(func(f *flag.Flag) {
		if f.Usage == hiddenFlag || strings.HasPrefix(f.Usage, aliasOf) {
			return
		}
		value, usage := flag.UnquoteUsage(f)
		line := strings.TrimSpace(letters[f.Name] + dashed(f.Name) + " " + value)
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
