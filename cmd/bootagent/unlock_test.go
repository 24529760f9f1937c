package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/command"
	"bootagent/pkg/control"
	"bootagent/pkg/fault"
	"bootagent/pkg/secret"
)

// A key pair that opens nothing.
const (
	private = "AGE-SECRET-KEY-1K542RNVNP7WFDCQNGHLFXL3HKL2Q7YMQMEUWD22XZL34Q32XUSUS2M0Q6V"
	public  = "age1phauf6ym72qsjpv4affc8akfclkfvuu6244m4jrzjd57hzctdcts8m6fvx"
)

// serve lets an agent answer on a socket, and returns the socket. Only root is
// answered.
func serve(t *testing.T, unlock func(context.Context, []byte) (string, error)) (socket string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("being root needs root")
	}
	dir, err := os.MkdirTemp("", "bootagent") // a socket's path has at most 107 bytes, unix(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "control.sock")
	server := control.NewServer(slog.New(slog.DiscardHandler), socket, control.Commands{Unlock: unlock, KeysMax: secret.KeysTextMax})
	server.Keep()
	t.Cleanup(server.Close)
	return socket
}

// typed is a file that holds what a program reads.
func typed(t *testing.T, text string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestUnlockHandsKeysToTheAgent(t *testing.T) {
	keys := new(secret.Keys)
	var kept []byte
	socket := serve(t, func(_ context.Context, text []byte) (string, error) {
		kept = text
		added, err := keys.Add(text)
		return secret.Taken(added), err
	})
	for _, c := range []struct{ name, stdin, out, err string }{
		{"a key", private + "\n", "1 age identity added, for the recipient " + public + "\n", "<nil>"},
		{"as age-keygen writes it", "# created: 2026-11-23\n# public key: " + public + "\n" + private + "\n", "1 age identity added, for the recipient " + public + "\n", "<nil>"},
		{"the public key", public, "", "cannot unlock: line 1 is a recipient, which is a public key; what is needed is the age identity, the private key: it begins with AGE-SECRET-KEY-1"},
		{"nothing", " \n", "", "cannot unlock: standard input contains no key"},
		{"too much", strings.Repeat("#\n", secret.KeysTextMax), "", "cannot unlock: the keys have more than 65536 bytes"},
	} {
		kept = nil
		var out strings.Builder
		err := unlockFrom(t.Context(), socket, typed(t, c.stdin), &out)
		if out.String() != c.out || fmt.Sprint(err) != c.err {
			t.Errorf("%s: got %q, %v", c.name, out.String(), err)
		}
		if left := bytes.Trim(kept, "\x00"); len(left) > 0 {
			t.Errorf("%s: the agent keeps the text of the key: %q", c.name, left)
		}
	}
	if all := keys.Recipients(); len(all) != 1 || all[0] != public {
		t.Errorf("the agent has %q", all)
	}
}

func TestUnlockWithoutAnAgentSaysSo(t *testing.T) {
	err := unlockFrom(t.Context(), "/nonexistent/control.sock", typed(t, private), io.Discard)
	if err == nil || err.Error() != "cannot reach the agent: dial unix /nonexistent/control.sock: connect: no such file or directory" || fault.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestRetryWithoutAnAgentSaysSo(t *testing.T) {
	if _, err := os.Stat(controlSocket); err == nil {
		t.Skip("an agent runs on this machine")
	}
	var out, errs strings.Builder
	code := run(context.Background(), []string{"retry"}, &out, &errs)
	want := "bootagent: cannot reach the agent: dial unix /run/bootagent/control.sock: connect: no such file or directory\n" +
		"hint: start the agent: systemctl start bootagent; if that fails: systemctl status --no-pager bootagent\n"
	if code != exitFailed || errs.String() != want || out.Len() > 0 {
		t.Errorf("exit %d, %s", code, errs.String())
	}
}

// pseudoTerminal opens a pseudo terminal, pty(7): what a person has, and what a
// program has.
func pseudoTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminal here: ", err)
	}
	t.Cleanup(func() { person.Close() })
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

func TestNothingBinaryIsWrittenToATerminal(t *testing.T) {
	_, program := pseudoTerminal(t)
	c := secretCommand()
	err := c.Run(t.Context(), []string{"encrypt", "-r", public, "--without-recovery"}, program)
	if !errors.As(err, new(*command.UsageError)) || err.Error() != "cannot write binary data to a terminal: pass --output with a file, or --armor" {
		t.Errorf("got %v", err)
	}
}
