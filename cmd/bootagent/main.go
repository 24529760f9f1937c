// Bootagent gives an instance its role: see bootagent(8).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"bootagent/pkg/bypass/byhand"
	"bootagent/pkg/child"
	"bootagent/pkg/command"
	"bootagent/pkg/fault"
	"bootagent/pkg/filesystem/growfs"
	"bootagent/pkg/filesystem/introduce"
	"bootagent/pkg/machine"
	"bootagent/pkg/status"
	grow "bootagent/pkg/storage/grow/byhand"
	adopt "bootagent/pkg/storage/ledger/byhand"
	"bootagent/pkg/systemd/imdsd"
)

// The files of the agent; see FILES in bootagent(8).
const (
	agentFile     = "/etc/bootagent/agent.yaml"
	rolesDir      = "/etc/bootagent/roles.d"
	runDir        = "/run/bootagent"
	statusFile    = runDir + "/status.json"
	planFile      = runDir + "/plan.json" // the plan in force
	controlSocket = runDir + "/control.sock"
	stateDir      = "/var/lib/bootagent"
)

// bypasses are where a person's bypasses are asked for, and kept.
var bypasses = byhand.Machine{Socket: controlSocket, RunDir: runDir}

// Exit codes of all commands. status, wait and inspect have more.
const (
	exitFailed = 1
	exitUsage  = 2
)

// commands are all commands, in the order of the help: one file each.
func commands() command.List {
	return command.List{
		statusCommand(),
		waitCommand(),
		timelineCommand(),
		retryCommand(),
		unlockCommand(),
		byhand.Command(bypasses),
		grow.Command(controlSocket),
		adopt.Command(controlSocket),
		planCommand(),
		validateCommand(),
		iamCommand(),
		guardCommand(),
		inspectCommand(),
		holdersCommand(),
		secretCommand(),
		versionCommand(),

		// These are run by units and by the agent.
		{Name: "daemon", Summary: "run the agent", RunBy: "bootagent.service", Raw: daemonCommand},
		releaseCommand(),
		{
			Name: "mkfs", Args: "--type TYPE --uuid UUID --serial SERIAL --sequence N --size BYTES DEVICE", Raw: mkfs,
			Summary: "make a filesystem on a disk that is proven blank", RunBy: "bootagent-make-SERIAL.service",
		},
		introduce.Command(),
		growfs.Command(),
		imdsd.Command(),
		{Name: child.Command, Summary: "do for the agent what may hang", RunBy: "the agent", Raw: machine.Worker},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs a command and returns its exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	errs = status.Printer(errs)
	name := "help"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "-h", "-help", "--help", "help":
		return help(args, status.Printer(out), errs)
	case "-version", "--version":
		name = "version"
	}
	c, err := commands().Find(name)
	if err != nil {
		return exitOf(nil, err, errs)
	}
	if !c.Binary {
		out = status.Printer(out)
	}
	return exitOf(c, c.Run(ctx, args, out), errs)
}

// help prints the list of commands, or the help of the command that is named.
func help(args []string, out, errs io.Writer) int {
	if len(args) > 0 {
		c, err := commands().Find(args[0])
		if err == nil {
			c.Describe(out)
		}
		return exitOf(nil, err, errs)
	}
	fmt.Fprint(out, "usage: bootagent COMMAND [ARGUMENT...]\n\n",
		"bootagent gives an instance its role, and starts its services only on their own data.\n\n")
	commands().Describe(out)
	fmt.Fprint(out, "\nbootagent help COMMAND shows its flags and an example; man bootagent has everything.\n")
	return 0
}

// exitOf prints the error of a command, and returns the exit code for it: all
// errors become exit codes here. The command is nil if it is unknown.
func exitOf(c *command.Command, err error, errs io.Writer) int {
	var code command.Ends
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintf(errs, "bootagent: %v\n", err)
	if hint := fault.HintOf(err); hint != "" {
		fmt.Fprintf(errs, "hint: %s\n", hint)
	}
	if errors.As(err, new(*command.UsageError)) {
		if c == nil {
			fmt.Fprintln(errs, "bootagent help lists the commands")
		} else {
			fmt.Fprintf(errs, "usage: %s\nbootagent help %s explains it\n", c.Usage(), c.Name)
		}
		return exitUsage
	}
	if coded := (codedError{}); errors.As(err, &coded) {
		return coded.code
	}
	return exitFailed
}

// codedError is an error with an exit code of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }
