package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
)

// copyCommand prints how it was called.
func copyCommand() Command {
	return Command{
		Name: "copy", Args: "[-n N] [--to FILE] SOURCE", Summary: "copy a file", About: "Copy a file.", Examples: []string{"copy x"},
		Least: 1, Most: 2,
		Setup: func(f *flag.FlagSet) Action {
			number := f.Int("number", 3, "copy it `N` times")
			Short(f, "n", "number")
			to := f.String("to", "", "write to `FILE`")
			f.Bool("internal", false, Hidden)
			return func(_ context.Context, args []string, out io.Writer) error {
				_, err := fmt.Fprint(out, *number, " ", *to, " ", args)
				return err
			}
		},
	}
}

func TestArgumentsAreParsedAndMisuseIsExplained(t *testing.T) {
	c := copyCommand()
	for _, test := range []struct{ args, out, err string }{
		{"x", "3  [x]", ""},
		{"-n 5 --to y x z", "5 y [x z]", ""},
		{"--number=5 -- -x", "5  [-x]", ""},
		{"", "", "an argument is missing: SOURCE"},
		{"a b c", "", `unexpected argument "c"`},
		{"--nubmer 5 x", "", `unknown flag --nubmer; did you mean "--number"?`},
		{"-x", "", "unknown flag -x"},
		{"--to", "", "flag --to needs a value"},
		{"-n", "", "flag -n needs a value"},
		{"-n many x", "", `invalid value "many" for -n: parse error`},
		{"--number many x", "", `invalid value "many" for --number: parse error`},
	} {
		var out strings.Builder
		err := c.Run(t.Context(), strings.Fields(test.args), &out)
		if text := fmt.Sprint(err); out.String() != test.out || test.err == "" && err != nil || test.err != "" && text != test.err {
			t.Errorf("%q prints %q, %v", test.args, out.String(), err)
		}
		if err != nil && !errors.As(err, new(*UsageError)) {
			t.Errorf("%q: %v is not a UsageError", test.args, err)
		}
	}
}

func TestHelpDescribesWhatThereIs(t *testing.T) {
	const want = `usage: bootagent copy [-n N] [--to FILE] SOURCE

Copy a file.

Flags:
  -n, --number N
        copy it N times (default 3)
  --to FILE
        write to FILE

Examples:
  copy x
`
	c := copyCommand()
	for _, args := range [][]string{{"--help"}, {"-h"}, {"--to", "y", "-help", "x"}} {
		var out strings.Builder
		if err := c.Run(t.Context(), args, &out); err != nil || out.String() != want {
			t.Errorf("%q prints\n%s%v", args, out.String(), err)
		}
	}
}

func TestAVerbComesFirst(t *testing.T) {
	c := Command{Name: "guard", Verbs: []string{"install", "check"}, Setup: func(*flag.FlagSet) Action {
		return func(_ context.Context, args []string, out io.Writer) error {
			_, err := fmt.Fprint(out, args)
			return err
		}
	}}
	for args, want := range map[string]string{
		"check":   "[check] <nil>",
		"":        " bootagent guard needs a subcommand first: install, check",
		"--root":  " bootagent guard needs a subcommand first: install, check",
		"chek":    ` unknown subcommand "chek" of bootagent guard; did you mean "check"? (it has: install, check)`,
		"check x": ` unexpected argument "x"`,
	} {
		var out strings.Builder
		err := c.Run(t.Context(), strings.Fields(args), &out)
		if got := fmt.Sprint(out.String(), " ", err); got != want {
			t.Errorf("%q: got %s", args, got)
		}
	}
}

func TestFindNamesTheNearMissAmongCommandsForPeople(t *testing.T) {
	list := List{{Name: "status"}, {Name: "daemon", RunBy: "a unit"}}
	for name, want := range map[string]string{
		"status": "<nil>",
		"daemon": "<nil>",
		"statsu": `unknown command "statsu"; did you mean "status"?`,
		"deamon": `unknown command "deamon"`,
		"hlep":   `unknown command "hlep"; did you mean "help"?`,
	} {
		c, err := list.Find(name)
		if fmt.Sprint(err) != want || err == nil && c.Name != name || err != nil && !errors.As(err, new(*UsageError)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
