package byhand

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/command"
	"bootagent/pkg/control"
)

// agent answers on a socket as the agent does, and keeps what it was asked.
func agent(t *testing.T) (socket string, asked *[]control.AdoptRequest) {
	t.Helper()
	socket, asked = filepath.Join(t.TempDir(), "socket"), new([]control.AdoptRequest)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var want control.AdoptRequest
		if err := json.NewDecoder(r.Body).Decode(&want); err != nil || r.URL.Path != "/v1/adopt" {
			t.Errorf("it is asked %s: %v", r.URL.Path, err)
		}
		if want.By == "" {
			t.Error("it is not told who asks")
		}
		want.By = ""
		*asked = append(*asked, want)
		message := "it would be adopted"
		if want.Yes != "" {
			message = "it is being adopted"
		}
		_ = json.NewEncoder(w).Encode(control.Answer{Message: message})
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return socket, asked
}

func TestAdoptSaysWhatAPersonSays(t *testing.T) {
	socket, asked := agent(t)
	c := Command(socket)
	for _, line := range []struct {
		args string
		want control.AdoptRequest
	}{
		{"data --as-copy-of vol-1 --yes vol-2", control.AdoptRequest{Volume: "data", AsCopyOf: "vol-1", Yes: "vol-2"}},
		{"--yes vol-2 data --from-role orders", control.AdoptRequest{Volume: "data", FromRole: "orders", Yes: "vol-2"}},
		{"data --as-copy-of vol-1 --from-role orders --yes vol-2", control.AdoptRequest{Volume: "data", AsCopyOf: "vol-1", FromRole: "orders", Yes: "vol-2"}},
		{"data --lost-ledger --yes vol-2", control.AdoptRequest{Volume: "data", LostLedger: true, Yes: "vol-2"}},
		{"data --yes vol-2", control.AdoptRequest{Volume: "data", Yes: "vol-2"}},
	} {
		var out strings.Builder
		*asked = nil
		if err := c.Run(t.Context(), strings.Fields(line.args), &out); err != nil || out.String() != "it is being adopted\n" {
			t.Errorf("%s: got %q, %v", line.args, &out, err)
		}
		if !slices.Equal(*asked, []control.AdoptRequest{line.want}) {
			t.Errorf("%s: it asked for %+v", line.args, *asked)
		}
	}
	*asked = nil
	for _, args := range []string{"", "--lost-ledger", "data log", "data --force", "data --lost-ledger --from-role orders", "data --lost-ledger --as-copy-of vol-1"} {
		if err := c.Run(t.Context(), strings.Fields(args), io.Discard); !errors.As(err, new(*command.UsageError)) {
			t.Errorf("%q: got %v", args, err)
		}
	}
	if len(*asked) > 0 {
		t.Errorf("it asked for %+v", *asked)
	}
}

// Without a terminal nobody confirms, and nothing is done.
func TestWithoutATerminalItOnlyTells(t *testing.T) {
	socket, asked := agent(t)
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out strings.Builder
	err = ask(t.Context(), control.Client{Socket: socket}, control.AdoptRequest{Volume: "data", By: "alice"}, in, &out)
	if ends := command.Ends(0); !errors.As(err, &ends) || ends != exitUnconfirmed || out.String() != "it would be adopted\n" {
		t.Errorf("got %q, %v", &out, err)
	}
	if !slices.Equal(*asked, []control.AdoptRequest{{Volume: "data"}}) {
		t.Errorf("it asked for %+v", *asked)
	}
}

// At a terminal, a person types the ID.
func TestAPersonTypesTheVolume(t *testing.T) {
	for typed, want := range map[string][]control.AdoptRequest{
		"vol-2\n": {{Volume: "data"}, {Volume: "data", Yes: "vol-2"}},
		"\n":      {{Volume: "data"}},
		"\x04":    {{Volume: "data"}}, // the end of the input
	} {
		socket, asked := agent(t)
		person, program := pseudoTerminal(t)
		go func() {
			time.Sleep(50 * time.Millisecond)
			io.WriteString(person, typed)
		}()
		var out strings.Builder
		err := ask(t.Context(), control.Client{Socket: socket}, control.AdoptRequest{Volume: "data", By: "alice"}, program, &out)
		if !strings.Contains(out.String(), "Type the ID of the volume") || (err == nil) != (len(want) == 2) || !slices.Equal(*asked, want) {
			t.Errorf("typed %q: it asked for %+v, and says %q, %v", typed, *asked, &out, err)
		}
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
