package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/strictyaml"
)

// A command is one command of bootagent.
type command struct {
	name     string
	verbs    []string // its subcommands, of which one is given first
	args     string   // its flags and arguments, for the usage line
	summary  string   // what it does, in one line
	about    string   // what it does, in a few sentences
	examples []string // command lines
	exits    []string // its exit codes, if there are more than 0, 1 and 2
	runBy    string   // the unit that runs it; "" for a command for people, which the help lists
	binary   bool     // its output may be binary

	least, most int // how many arguments it has, without flags; most < 0 is any number

	// setup defines the flags, and returns what runs when they are parsed. With
	// verbs, the first of args is the verb.
	setup func(f *flag.FlagSet) action

	// raw parses its arguments itself. It is instead of setup.
	raw action
}

// An action does what a command is for, with its arguments.
type action func(ctx context.Context, args []string, out io.Writer) error

// usage is the usage line.
func (c *command) usage() string {
	words := []string{"bootagent", c.name}
	if len(c.verbs) > 0 {
		words = append(words, strings.Join(c.verbs, "|"))
	}
	if c.args != "" {
		words = append(words, c.args)
	}
	return strings.Join(words, " ")
}

// run parses arguments, and runs the command with them.
func (c *command) run(ctx context.Context, args []string, out io.Writer) error {
	err := c.parseAndRun(ctx, args, out)
	if errors.Is(err, flag.ErrHelp) {
		c.describe(out)
		return nil
	}
	return err
}

func (c *command) parseAndRun(ctx context.Context, args []string, out io.Writer) error {
	if c.raw != nil {
		return c.raw(ctx, args, out)
	}
	flags, do := c.flags()
	var verb []string
	if len(c.verbs) > 0 {
		var err error
		if verb, args, err = c.verb(args); err != nil {
			return err
		}
	}
	if err := flags.Parse(args); err != nil {
		return flagError(flags, err)
	}
	switch n := flags.NArg(); {
	case n < c.least:
		return usageError{fmt.Errorf("an argument is missing: %s", c.args[strings.LastIndex(c.args, " ")+1:])}
	case c.most >= 0 && n > c.most:
		return usageError{fmt.Errorf("unexpected argument %s", strictyaml.Quote(flags.Arg(c.most)))}
	}
	return do(ctx, append(verb, flags.Args()...), out)
}

// verb takes the verb from the arguments.
func (c *command) verb(args []string) (verb, rest []string, err error) {
	known := strings.Join(c.verbs, ", ")
	switch {
	case len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]):
		return nil, nil, flag.ErrHelp
	case len(args) == 0 || strings.HasPrefix(args[0], "-"):
		return nil, nil, usageError{fmt.Errorf("bootagent %s needs a subcommand first: %s", c.name, known)}
	case !slices.Contains(c.verbs, args[0]):
		return nil, nil, usageError{fmt.Errorf("unknown subcommand %s of bootagent %s%s (it has: %s)",
			strictyaml.Quote(args[0]), c.name, strictyaml.DidYouMean(args[0], c.verbs), known)}
	}
	return args[:1:1], args[1:], nil
}

func (c *command) flags() (*flag.FlagSet, action) {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if c.setup == nil {
		return flags, nil
	}
	return flags, c.setup(flags)
}

// flagError puts an error of package flag into our words, with the two dashes
// that the help writes.
func flagError(flags *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var known []string
		flags.VisitAll(func(f *flag.Flag) { known = append(known, dashed(f.Name)) })
		name = dashed(strings.TrimPrefix(name, "-"))
		return usageError{fmt.Errorf("unknown flag %s%s", name, strictyaml.DidYouMean(name, known))}
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usageError{fmt.Errorf("flag %s needs a value", dashed(name))}
	}
	if m := flagInError.FindStringSubmatch(text); m != nil {
		text = strings.Replace(text, m[0], " for "+dashed(m[1])+": ", 1)
	}
	return usageError{errors.New(text)}
}

var flagInError = regexp.MustCompile(` for (?:flag )?-([a-z-]+): `)

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// hiddenFlag is the usage of a flag that only the agent gives: the help leaves it
// out.
const hiddenFlag = "hidden"

// aliasOf begins the usage of a flag that is another flag's short name.
const aliasOf = "short for "

// short gives a flag a second name of one letter.
func short(f *flag.FlagSet, letter, name string) {
	f.Var(f.Lookup(name).Value, letter, aliasOf+name)
}

// parse parses the flags that define defines, and passes from least to most
// arguments to the function that it returns; most < 0 is any number. It is for
// raw commands.
func parse(name string, args []string, define func(*flag.FlagSet) func([]string), least, most int) error {
	c := command{name: name, args: "ARGUMENT", least: least, most: most}
	c.setup = func(f *flag.FlagSet) action {
		take := func([]string) {}
		if define != nil {
			take = define(f)
		}
		return func(_ context.Context, args []string, _ io.Writer) error { take(args); return nil }
	}
	return c.parseAndRun(context.Background(), args, io.Discard)
}
