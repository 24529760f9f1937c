// Bootagent gives an instance its role: see bootagent(8).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"bootagent/pkg/child"
	"bootagent/pkg/fault"
	"bootagent/pkg/status"
)

// version is set by the linker.
var version = "unknown"

// Where the agent keeps what it reads and writes; see FILES in
// bootagent(8).
const (
	agentFile  = "/etc/bootagent/agent.yaml"
	rolesDir   = "/etc/bootagent/roles.d"
	runDir     = "/run/bootagent"
	statusFile = runDir + "/status.json"
	planFile   = runDir + "/plan.json" // that is in force
	stateDir   = "/var/lib/bootagent"
)

// Exit codes, beside those of status.State.ExitCode.
const (
	exitFailed = 1
	exitUsage  = 2
)

// A command is one thing that bootagent can be told to do.
type command struct {
	name, args, does string
	run              func(ctx context.Context, args []string, out io.Writer) error
}

func (c command) String() string { return strings.TrimSpace(c.name + " " + c.args) }

func commands() []command {
	return []command{
		{"status", "[--json]", "say what the agent is doing, and why", showStatus},
		{"wait", "[--timeout DURATION]", "wait until the role is ready", wait},
		{"timeline", "", "say when each step of this boot was started, and how long it took", timeline},
		{"retry", "", "read everything again, try what failed again, and start what was stopped by hand", retry},
		{"unlock", "", "hand the agent the key that a secret waits for, on standard input", unlock},
		{"plan", "[--json] [--roles DIR] [--user-data FILE]", "print what this instance has to make true, and in which order", showPlan},
		{"validate", "[--root DIR] [--roles DIR] [--user-data FILE] [FILE...]", "check role files and user-data", validate},
		{"iam", "[--role ROLE] [--user-data FILE] [--partition aws] [--roles DIR]", "print the least IAM policy for the instances of a role", iam},
		{"guard", "install|check|remove|show [--root DIR]", "hold the units of every role until they are granted", guardCommand},
		{"prove", "[--json] [--whole] [--require-blank] [--serial SERIAL] [--sequence N] DEVICE", "say what is on a disk, without writing to it", prove},
		{"holders", "MOUNTPOINT", "say which processes hold what is mounted there", holders},
		{"secret", "seal --to KEY... --recovery KEY...|--without-recovery [--armor] [--output FILE]", "encrypt standard input as a secret of a role", secretCommand},
		{"version", "", "print the version", showVersion},
		{"mkfs", "--type TYPE --uuid UUID --serial SERIAL --sequence N DEVICE", "make a filesystem on a disk that is proven blank once more: what bootagent-make-SERIAL.service runs", mkfs},
		{"daemon", "", "be the agent: what bootagent.service runs", daemonCommand},
		{"release", "", "let go of the volumes: what bootagent-release.service runs", release},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs a command and returns its exit code. This is where errors become
// exit codes.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		usage(out)
		return 0
	}
	for _, c := range append(commands(), command{name: child.Command, does: "do for the agent what may hang", run: worker}) {
		if c.name != args[0] {
			continue
		}
		errs := status.Printer(errs)
		if c.name != "secret" { // which prints what is sealed
			out = status.Printer(out)
		}
		err := c.run(ctx, args[1:], out)
		var code exitCode
		switch {
		case err == nil:
			return 0
		case errors.As(err, &code):
			return int(code)
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprintf(out, "usage: bootagent %s\n%s\n", c, c.does)
			return 0
		case errors.As(err, new(usageError)):
			fmt.Fprintf(errs, "bootagent: %v\nusage: bootagent %s\n", err, c)
			return exitUsage
		}
		fmt.Fprintf(errs, "bootagent: %v\n", err)
		if hint := fault.HintOf(err); hint != "" {
			fmt.Fprintf(errs, "hint: %s\n", hint)
		}
		if coded := (codedError{}); errors.As(err, &coded) {
			return coded.code
		}
		return exitFailed
	}
	fmt.Fprintf(errs, "bootagent: unknown command %q; bootagent help lists them\n", args[0])
	return exitUsage
}

func usage(out io.Writer) {
	fmt.Fprint(out, "bootagent gives an instance its role, and starts its services only on their own data.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(out, "  bootagent %s\n        %s\n", c, c.does)
	}
	fmt.Fprint(out, "\nman bootagent tells more.\n")
}

func showVersion(_ context.Context, args []string, out io.Writer) error {
	if err := parse("version", args, nil, 0, 0); err != nil {
		return err
	}
	fmt.Fprintln(out, "bootagent", version)
	return nil
}

// exitCode ends the program with a code, when all is said.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// codedError is one that has an exit code of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

// usageError is a command that was called the wrong way.
type usageError struct{ error }

// parse parses the flags that define defines, and leaves from least to most
// arguments to it by flags.Args; most < 0 is without bound.
func parse(name string, args []string, define func(*flag.FlagSet) func([]string), least, most int) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	take := func([]string) {}
	if define != nil {
		take = define(flags)
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	switch n := flags.NArg(); {
	case n < least:
		return usageError{fmt.Errorf("%s wants %d more argument(s)", name, least-n)}
	case most >= 0 && n > most:
		return usageError{fmt.Errorf("%s does not know what to do with %q", name, flags.Arg(most))}
	}
	take(flags.Args())
	return nil
}
