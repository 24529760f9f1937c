package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/agent"
	"bootagent/pkg/fault"
	"bootagent/pkg/secret"
)

// A key pair that opens nothing.
const (
	private = "AGE-SECRET-KEY-1K542RNVNP7WFDCQNGHLFXL3HKL2Q7YMQMEUWD22XZL34Q32XUSUS2M0Q6V"
	public  = "age1phauf6ym72qsjpv4affc8akfclkfvuu6244m4jrzjd57hzctdcts8m6fvx"
)

// taking takes orders at a socket, and no others' word for who they are.
func taking(t *testing.T, unlock func(context.Context, []byte) (string, error)) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bootagent") // a socket's path has room for 107 bytes, unix(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "control.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	retry := func(context.Context) (string, error) {
		return "", fault.WithHint(errors.New("this instance has no role"), "give it one")
	}
	server := &http.Server{Handler: orders(retry, unlock)}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
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
	socket := taking(t, func(_ context.Context, text []byte) (string, error) {
		kept = text
		added, err := keys.Add(text)
		return secret.Taken(added), err
	})
	for _, c := range []struct{ name, stdin, out, err string }{
		{"a key", private + "\n", "1 age identity added, for the recipient " + public + "\n", "<nil>"},
		{"as age-keygen writes it", "# created: 2026-11-23\n# public key: " + public + "\n" + private + "\n", "1 age identity added, for the recipient " + public + "\n", "<nil>"},
		{"the public key", public, "", "the agent took no key: line 1 is a recipient, age's public key: the age identity begins with AGE-SECRET-KEY-1"},
		{"nothing", " \n", "", "standard input holds no key"},
		{"too much", strings.Repeat("#\n", secret.KeysTextMax), "", "the agent took no key: more than 65536 bytes, which is too much for keys"},
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

func TestOnlyTheOrdersThereAreAreTaken(t *testing.T) {
	socket := taking(t, new(agent.Agent).Unlock)
	if _, err := order(t.Context(), socket, "retry", nil); err == nil || err.Error() != "this instance has no role\nhint: give it one" {
		t.Errorf("retry: got %v", err)
	}
	if _, err := order(t.Context(), socket, "lock", nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("lock: got %v", err)
	}
	if strings.Contains(fmt.Sprint(ask(t, socket, os.Getuid())), "taken") {
		t.Error("a GET unlocks")
	}
}

// terminal opens a pseudo terminal, pty(7): what a person has, and what a
// program has.
func terminal(t *testing.T) (person, program *os.File) {
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

func shows(t *testing.T, terminal *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// waitHidden waits until a terminal shows nothing of what is typed.
func waitHidden(t *testing.T, terminal *os.File) {
	t.Helper()
	for began := time.Now(); shows(t, terminal); time.Sleep(time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("the terminal still shows what is typed")
		}
	}
}

func TestATerminalDoesNotShowTheKey(t *testing.T) {
	person, program := terminal(t)
	text := make(chan string, 1)
	go func() {
		got, err := readQuietly(t.Context(), program, 1000, "The key.")
		text <- fmt.Sprintf("%s %v", got, err)
	}()
	waitHidden(t, program)
	io.WriteString(person, private+"\n\x04")
	if got := <-text; got != private+"\n <nil>" {
		t.Errorf("read %q", got)
	}
	if !shows(t, program) {
		t.Error("afterwards, the terminal shows nothing any more")
	}
	io.WriteString(person, "seen")
	got := make([]byte, 1000)
	n, err := person.Read(got)
	if string(got[:n]) != "seen" || err != nil {
		t.Errorf("the terminal showed %q, %v", got[:n], err)
	}
}

func TestAnInterruptEndsTheReadingAndShowsAgain(t *testing.T) {
	_, program := terminal(t)
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := readQuietly(ctx, program, 1000, "The key.")
		ended <- err
	}()
	waitHidden(t, program)
	cancel(stop)
	if err := <-ended; !errors.Is(err, stop) || !shows(t, program) {
		t.Errorf("got %v, and it shows what is typed: %v", err, shows(t, program))
	}
}

func TestNothingBinaryIsWrittenToATerminal(t *testing.T) {
	_, program := terminal(t)
	err := secretCommand(t.Context(), []string{"seal", "--to", public, "--without-recovery"}, program)
	if !errors.As(err, new(usageError)) || err.Error() != "what is sealed is binary, and standard output is a terminal: say --output or --armor" {
		t.Errorf("got %v", err)
	}
}
