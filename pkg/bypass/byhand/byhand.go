// Package byhand is the command with which a person bypasses what holds a service. It
// asks the agent. Where no agent answers, or the agent has no plan for the service, it
// starts the service itself, without any proof.
package byhand

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/agent"
	"bootagent/pkg/bypass"
	"bootagent/pkg/command"
	"bootagent/pkg/control"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/secret"
	"bootagent/pkg/status"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
	"bootagent/pkg/terminal"
)

// A Machine says where the agent of the machine is, and what it keeps.
type Machine struct {
	Socket string // of the agent
	RunDir string // /run/bootagent
}

// Commands are the commands of the control API, as an agent does them.
func Commands(a *agent.Agent) control.Commands {
	return control.Commands{
		Retry: a.Retry, Unlock: a.Unlock, KeysMax: secret.KeysTextMax,
		Grow: func(ctx context.Context, want control.GrowRequest) (string, error) {
			return a.Grow(ctx, want.Volume, want.DryRun)
		},
		Adopt: func(ctx context.Context, want control.AdoptRequest) (string, error) {
			return a.Adopt(ctx, want.Volume, storage.Adoption{
				Claim: ledger.Claim{CopyOf: want.AsCopyOf, Role: want.FromRole, Lost: want.LostLedger}, Yes: want.Yes, By: want.By,
			})
		},
		Bypass: func(ctx context.Context, r control.BypassRequest) (string, error) {
			want := host.Bypass{Unit: r.Unit, Reason: r.Reason, By: r.By, At: time.Now().UTC(), WithoutProof: r.WithoutProof}
			if err := bypass.Check(want); err != nil {
				return "", err
			}
			answer, err := a.Bypass(ctx, want)
			return answer, withoutPlan(err)
		},
		EndBypass: func(ctx context.Context, unit string) (string, error) {
			answer, err := a.EndBypass(ctx, unit)
			return answer, withoutPlan(err)
		},
	}
}

func withoutPlan(err error) error {
	if errors.Is(err, agent.ErrNoPlan) {
		return fmt.Errorf("%w%s", control.ErrNoPlan, strings.TrimPrefix(err.Error(), agent.ErrNoPlan.Error()))
	}
	return err
}

// options are the flags of the command.
type options struct {
	reason, yes             string
	withoutProof, end, list bool
}

// Command is the command bypass.
func Command(m Machine) command.Command {
	return command.Command{
		Name:    "bypass",
		Args:    "UNIT --reason TEXT [--without-proof [--yes UNIT]] | UNIT --end | --list",
		Summary: "start one held service although not all that it needs is there",
		About: "Start a service that the agent holds, although a secret or another need of it is missing. It is\n" +
			"started only if its volumes are mounted and its data is proven. A missing secret is an empty line.\n" +
			"A bypass is shown first in the status, and ends with this boot of the machine.\n\n" +
			"With --without-proof, the service is started on what is at its paths, whatever that is. Only this\n" +
			"works if the agent does not run or has no plan. Look first: findmnt, ls.",
		Examples: []string{
			`bootagent bypass mariadb.service --reason "secrets service is down, ticket 4711"`,
			"bootagent bypass mariadb.service --end",
		},
		Mixed: true,
		Setup: func(f *flag.FlagSet) command.Action {
			var o options
			f.StringVar(&o.reason, "reason", "", "why, for those who read the status and the journal: a `TEXT` of one line")
			f.BoolVar(&o.withoutProof, "without-proof", false, "start it on what there is: neither volumes nor data need be proven")
			f.StringVar(&o.yes, "yes", "", "with --without-proof: the name of the `UNIT` again, in place of typing it at a terminal")
			f.BoolVar(&o.end, "end", false, "end the bypass: the service goes on if all that it needs is there, and else stops")
			f.BoolVar(&o.list, "list", false, "print the bypasses that are in force")
			return func(ctx context.Context, args []string, out io.Writer) error { return m.run(ctx, o, args, out) }
		},
	}
}

func (m Machine) run(ctx context.Context, o options, args []string, out io.Writer) error {
	switch {
	case o.list && len(args) == 0:
		return m.list(out)
	case len(args) == 0 || o.list || o.end && o.reason != "":
		return command.Misuse(errors.New("bypass needs the name of a unit, and --reason or --end; or only --list"))
	}
	return m.unit(ctx, o, args[0], out)
}

// list prints the bypasses that are in force.
func (m Machine) list(out io.Writer) error {
	all, err := bypass.Below(m.RunDir).Bypassed()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(out, "%s, since %s\n", all[name], all[name].At.Local().Format(time.DateTime))
	}
	return err
}

// InForce returns the bypasses that are in force where no agent tells of them.
func (m Machine) InForce() (all []status.Bypass) {
	inForce, _ := bypass.Below(m.RunDir).Bypassed() // bypass --list says what cannot be read
	for _, name := range slices.Sorted(maps.Keys(inForce)) {
		b := inForce[name]
		all = append(all, status.Bypass{
			Unit: b.Unit, Reason: b.Reason, By: b.By, At: b.At, WithoutProof: b.WithoutProof, Lacks: []string{"nobody knows, as no agent runs"},
		})
	}
	return all
}

func (m Machine) unit(ctx context.Context, o options, name string, out io.Writer) error {
	client := control.Client{Socket: m.Socket}
	if o.end {
		answer, err := client.EndBypass(ctx, name)
		if gone(err) {
			answer.Message, err = m.endDirectly(ctx, name)
		}
		return printed(out, answer, err)
	}
	want := host.Bypass{Unit: name, Reason: o.reason, By: terminal.User(), At: time.Now().UTC(), WithoutProof: o.withoutProof}
	if strings.TrimSpace(o.reason) == "" {
		return command.Misuse(errors.New("bypass needs --reason: it is shown to everybody who looks at this machine"))
	}
	if err := bypass.Check(want); err != nil {
		return err
	}
	if o.withoutProof {
		if err := confirm(ctx, o.yes, name, out); err != nil {
			return err
		}
	}
	answer, err := client.Bypass(ctx, control.BypassRequest{Unit: name, Reason: want.Reason, By: want.By, WithoutProof: want.WithoutProof})
	if gone(err) && !o.withoutProof {
		return fault.WithHint(fmt.Errorf("cannot bypass %s with the proofs of its data, which only the agent can give: %w", name, err),
			"systemctl start bootagent, and if it has no plan: bootagent status; or start the service without any proof: bootagent help bypass")
	}
	if gone(err) {
		answer.Message, err = m.startDirectly(ctx, want, err)
	}
	if err == nil {
		console("bootagent: BYPASS: " + want.String())
	}
	return printed(out, answer, err)
}

// gone tells whether the agent cannot do it: none answers, or it has no plan.
func gone(err error) bool {
	return errors.Is(err, control.ErrUnreachable) || errors.Is(err, control.ErrNoPlan)
}

func printed(out io.Writer, answer control.Answer, err error) error {
	if err == nil {
		fmt.Fprintln(out, answer.Message)
	}
	return err
}

// confirm makes sure that a person means a bypass without proof.
func confirm(ctx context.Context, yes, name string, out io.Writer) error {
	if yes == "" && terminal.Is(os.Stdin) {
		fmt.Fprintf(out, "%s will start on whatever is at its paths. If that is not its data, it may make a new, empty database there,\n"+
			"or damage what it finds. Type the name of the unit to go on: ", name)
		typed, err := terminal.ReadLine(ctx, os.Stdin)
		if err != nil {
			return err
		}
		yes = typed
	}
	if yes != name {
		return command.Misuse(fmt.Errorf("--without-proof needs the name of the unit again: --yes %s", name))
	}
	return nil
}

// console writes a line on the console, for whoever looks at it. It may fail.
func console(line string) {
	f, err := os.OpenFile("/dev/console", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "\r\n%s\r\n", line)
}
