// Package command is the commands of a program: their flags, their usage and
// their help. A Command is a value, so the program has one explicit list of
// them. It writes only to what it is given.
package command

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

// A Command is one command of bootagent.
type Command struct {
	Name     string
	Verbs    []string // its subcommands, of which one is given first
	Args     string   // its flags and arguments, for the usage line
	Summary  string   // what it does, in one line
	About    string   // what it does, in a few sentences
	Examples []string // command lines
	Exits    []string // its exit codes, if there are more than 0, 1 and 2
	RunBy    string   // the unit that runs it; "" for a command for people, which the help lists
	Binary   bool     // its output may be binary
	Mixed    bool     // its flags may stand after its arguments

	Least, Most int // how many arguments it has, without flags; Most < 0 is any number

	// Setup defines the flags, and returns what runs when they are parsed. With
	// Verbs, the first of its arguments is the verb.
	Setup func(f *flag.FlagSet) Action

	// Raw parses its arguments itself. It is instead of Setup.
	Raw Action
}

// An Action does what a command is for, with its arguments.
type Action func(ctx context.Context, args []string, out io.Writer) error

// A UsageError says that a command was called in a wrong way.
type UsageError struct{ err error }

// Misuse returns err as a UsageError.
func Misuse(err error) error { return &UsageError{err} }

func (e *UsageError) Error() string { return e.err.Error() }
func (e *UsageError) Unwrap() error { return e.err }

// Ends is the error of a command that has printed everything, and ends with this code.
type Ends int

func (e Ends) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Usage returns the usage line.
func (c *Command) Usage() string {
	words := []string{"bootagent", c.Name}
	if len(c.Verbs) > 0 {
		words = append(words, strings.Join(c.Verbs, "|"))
	}
	if c.Args != "" {
		words = append(words, c.Args)
	}
	return strings.Join(words, " ")
}

// Run parses arguments, and runs the command with them, or prints its help if
// they ask for it.
func (c *Command) Run(ctx context.Context, args []string, out io.Writer) error {
	err := c.parseAndRun(ctx, args, out)
	if errors.Is(err, flag.ErrHelp) {
		c.Describe(out)
		return nil
	}
	return err
}

func (c *Command) parseAndRun(ctx context.Context, args []string, out io.Writer) error {
	if c.Raw != nil {
		return c.Raw(ctx, args, out)
	}
	flags, do := c.flags()
	var verb []string
	if len(c.Verbs) > 0 {
		var err error
		if verb, args, err = c.verb(args); err != nil {
			return err
		}
	}
	if err := flags.Parse(args); err != nil {
		return flagError(flags, err)
	}
	if c.Mixed && flags.NArg() > 0 {
		verb = append(verb, flags.Arg(0))
		if err := flags.Parse(flags.Args()[1:]); err != nil {
			return flagError(flags, err)
		}
	}
	switch n := flags.NArg(); {
	case n < c.Least:
		return Misuse(fmt.Errorf("an argument is missing: %s", c.Args[strings.LastIndex(c.Args, " ")+1:]))
	case c.Most >= 0 && n > c.Most:
		return Misuse(fmt.Errorf("unexpected argument %s", strictyaml.Quote(flags.Arg(c.Most))))
	}
	return do(ctx, append(verb, flags.Args()...), out)
}

// verb takes the verb from the arguments.
func (c *Command) verb(args []string) (verb, rest []string, err error) {
	known := strings.Join(c.Verbs, ", ")
	switch {
	case len(args) > 0 && slices.Contains([]string{"-h", "-help", "--help"}, args[0]):
		return nil, nil, flag.ErrHelp
	case len(args) == 0 || strings.HasPrefix(args[0], "-"):
		return nil, nil, Misuse(fmt.Errorf("bootagent %s needs a subcommand first: %s", c.Name, known))
	case !slices.Contains(c.Verbs, args[0]):
		return nil, nil, Misuse(fmt.Errorf("unknown subcommand %s of bootagent %s%s (it has: %s)",
			strictyaml.Quote(args[0]), c.Name, strictyaml.DidYouMean(args[0], c.Verbs), known))
	}
	return args[:1:1], args[1:], nil
}

func (c *Command) flags() (*flag.FlagSet, Action) {
	flags := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	if c.Setup == nil {
		return flags, nil
	}
	return flags, c.Setup(flags)
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
		flags.VisitAll(func(f *flag.Flag) {
			if len(f.Name) > 1 && f.Usage != Hidden {
				known = append(known, Dashed(f.Name))
			}
		})
		name = Dashed(strings.TrimPrefix(name, "-"))
		return Misuse(fmt.Errorf("unknown flag %s%s", name, strictyaml.DidYouMean(name, known)))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return Misuse(fmt.Errorf("flag %s needs a value", Dashed(name)))
	}
	if m := flagInError.FindStringSubmatch(text); m != nil {
		text = strings.Replace(text, m[0], " for "+Dashed(m[1])+": ", 1)
	}
	return Misuse(errors.New(text))
}

var flagInError = regexp.MustCompile(` for (?:flag )?-([a-z-]+): `)

// Dashed returns the name of a flag with its dashes.
func Dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// Hidden is the usage of a flag that only the agent gives: the help leaves it out.
const Hidden = "hidden"

// ShortFor begins the usage of a flag that is another flag's short name.
const ShortFor = "short for "

// Short gives a flag a second name of one letter.
func Short(f *flag.FlagSet, letter, name string) {
	f.Var(f.Lookup(name).Value, letter, ShortFor+name)
}

// Parse parses the flags that define defines, and passes from least to most
// arguments to the function that it returns; most < 0 is any number. It is for
// commands that are Raw.
func Parse(name string, args []string, define func(*flag.FlagSet) func([]string), least, most int) error {
	c := Command{Name: name, Args: "ARGUMENT", Least: least, Most: most}
	c.Setup = func(f *flag.FlagSet) Action {
		take := func([]string) {}
		if define != nil {
			take = define(f)
		}
		return func(_ context.Context, args []string, _ io.Writer) error { take(args); return nil }
	}
	return c.parseAndRun(context.Background(), args, io.Discard)
}
