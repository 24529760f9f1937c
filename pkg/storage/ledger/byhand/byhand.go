// Package byhand is the command with which a person says whose a filesystem is that the
// agent refuses. It asks the agent.
package byhand

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"bootagent/pkg/command"
	"bootagent/pkg/control"
	"bootagent/pkg/terminal"
)

// exitUnconfirmed is the exit code where nobody has confirmed what would be done.
const exitUnconfirmed = 3

// Command is the command adopt, which asks the agent that listens on a socket.
func Command(socket string) command.Command {
	return command.Command{
		Name:    "adopt",
		Args:    "VOLUME [--as-copy-of VOLUME-ID] [--from-role ROLE] [--lost-ledger] [--yes VOLUME-ID]",
		Summary: "take a filesystem for a volume, which is refused for its ledger",
		About: "Let the running agent take a filesystem for a volume of the role that it refuses for its ledger, its\n" +
			"record on the volume of whose it is. VOLUME is its name in the role file. The flags say what the\n" +
			"filesystem is, and have to be what the ledger says; bootagent status names the ones that fit. Without\n" +
			"a flag, it is one that bootagent did not make.\n\n" +
			"It first prints what is on the disk and what it would write, and asks at a terminal for the ID of\n" +
			"the volume, or the serial number of a disk that is no EBS volume. It writes the ledger, and changes\n" +
			"no file; the agent then goes on as after bootagent retry.",
		Examples: []string{
			"bootagent adopt data --as-copy-of vol-0123456789abcdef0",
			"bootagent adopt data --from-role orders",
			"bootagent adopt data --lost-ledger --yes vol-0123456789abcdef0",
		},
		Exits: []string{
			"0  it is done, or asked for",
			"1  it is refused, or the agent does not answer",
			"2  the command line is wrong",
			"3  nothing was changed: nobody confirmed it",
		},
		Mixed: true,
		Setup: func(f *flag.FlagSet) command.Action {
			var want control.AdoptRequest
			f.StringVar(&want.AsCopyOf, "as-copy-of", "", "it is a copy of the volume with this `ID`, such as one made from its snapshot, and is to be a volume of its own")
			f.StringVar(&want.FromRole, "from-role", "", "it was a volume of this `ROLE`, which was renamed")
			f.BoolVar(&want.LostLedger, "lost-ledger", false, "its ledger is gone, damaged, or that of another filesystem")
			f.StringVar(&want.Yes, "yes", "", "the `ID` of the volume that is adopted, in place of typing it at a terminal")
			return func(ctx context.Context, args []string, out io.Writer) error {
				if len(args) != 1 {
					return command.Misuse(errors.New("adopt needs the name of one volume of the role"))
				}
				if want.LostLedger && (want.AsCopyOf != "" || want.FromRole != "") {
					return command.Misuse(errors.New("a lost ledger says neither a volume nor a role: --lost-ledger stands alone"))
				}
				want.Volume, want.By = args[0], terminal.User()
				return ask(ctx, control.Client{Socket: socket}, want, os.Stdin, out)
			}
		},
	}
}

// ask asks the agent, and before that a person, unless the volume is confirmed already.
func ask(ctx context.Context, agent control.Client, want control.AdoptRequest, in *os.File, out io.Writer) error {
	if want.Yes == "" {
		answer, err := agent.Adopt(ctx, want)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, answer.Message)
		if !terminal.Is(in) {
			return command.Ends(exitUnconfirmed)
		}
		fmt.Fprint(out, "Type the ID of the volume to do it, or nothing to leave it: ")
		if want.Yes, err = terminal.ReadLine(ctx, in); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if want.Yes == "" {
			fmt.Fprintln(out, "nothing was changed")
			return command.Ends(exitUnconfirmed)
		}
	}
	answer, err := agent.Adopt(ctx, want)
	if err == nil {
		fmt.Fprintln(out, answer.Message)
	}
	return err
}
