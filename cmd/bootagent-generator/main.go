// Bootagent-generator writes the guards that are missing in /etc at boot.
//
// systemd runs it early on every boot and on every daemon-reload, before it
// reads any unit (man systemd.generator). It reads the role files in
// /etc/bootagent/roles.d, the copy of those in force that the agent keeps in
// /run/bootagent/roles.d, and the installed guards. For each unit that a role
// file names and that has no guard, or a wrong one, it writes the guard into the
// early directory, which has priority over /etc. In a role file that it can't
// decode, it looks for the names of units, and holds those.
//
// It logs what it did to the kernel's log, and it exits with 0 after any error: an
// installed guard works without it, and it must not make a boot fail. It talks to
// no other process, and reads at most 1000 role files of up to 1 MiB.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	os.Exit(run("/", os.Args[1:], os.Getenv("SYSTEMD_SCOPE"), kernelLog()))
}

// kernelLog is the kernel's log: the journal does not run yet.
func kernelLog() io.Writer {
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return os.Stderr
	}
	return kmsg
}

// run runs the generator below a root, with the arguments and the scope that systemd
// passes. It returns the exit status.
func run(root string, args []string, scope string, out io.Writer) (status int) {
	log := logger{out}
	// One directory serves as all three in tests (man systemd.generator).
	var early string
	switch len(args) {
	case 1:
		early = args[0]
	case 3:
		early = args[1]
	default:
		log.error("cannot guard units: 1 or 3 directories expected as arguments, not %d; only systemd runs this program", len(args))
		return 2
	}
	if scope == "user" {
		return 0
	}
	err := protect(func() error {
		guardAll(root, early, log)
		return nil
	})
	if err != nil {
		log.error("cannot guard all units: %v; the guards in /etc hold, the others may be missing", err)
	}
	return 0
}

// protect turns a panic into an error, so that the generator goes on with the other
// role files.
func protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	return f()
}

// A logger writes lines as the kernel's log expects them: one per write, with the
// syslog level in front.
type logger struct{ out io.Writer }

func (l logger) error(format string, args ...any)   { l.line(3, format, args...) }
func (l logger) warning(format string, args ...any) { l.line(4, format, args...) }

func (l logger) line(level int, format string, args ...any) {
	const longest = 900 // the kernel refuses 1024 bytes, with what it adds (LOG_LINE_MAX)
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "..."
	}
	fmt.Fprintf(l.out, "<%d>bootagent-generator[%d]: %s\n", level, os.Getpid(), text)
}
