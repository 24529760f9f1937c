package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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
	person, program := pseudoTerminal(t)
	text := make(chan string, 1)
	go func() {
		got, err := ReadHidden(t.Context(), program, 1000, "The key.")
		text <- fmt.Sprintf("%s %v", got, err)
	}()
	waitHidden(t, program)
	io.WriteString(person, "AGE-SECRET-KEY-1"+"\n\x04")
	if got := <-text; got != "AGE-SECRET-KEY-1"+"\n <nil>" {
		t.Errorf("read %q", got)
	}
	if !shows(t, program) {
		t.Error("afterwards, the terminal shows nothing any more")
	}
	io.WriteString(person, "seen")
	got := make([]byte, 1000)
	n, err := io.ReadAtLeast(person, got, len("seen"))
	if string(got[:n]) != "seen" || err != nil {
		t.Errorf("the terminal showed %q, %v", got[:n], err)
	}
}

func TestAnInterruptEndsTheReadingAndShowsAgain(t *testing.T) {
	_, program := pseudoTerminal(t)
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := ReadHidden(ctx, program, 1000, "The key.")
		ended <- err
	}()
	waitHidden(t, program)
	cancel(stop)
	if err := <-ended; !errors.Is(err, stop) || !shows(t, program) {
		t.Errorf("got %v, and it shows what is typed: %v", err, shows(t, program))
	}
}
