package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"bootagent/pkg/fault"
)

// TestMain is this program where it is started as a worker: it answers a request
// with itself, or with an error.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == Command {
		err := Serve(context.Background(), os.Stdin, os.Stdout, func(_ context.Context, request json.RawMessage) (any, error) {
			return request, nil
		})
		if err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestOneTaskAfterAnotherHasOneWorkerUnlessItIsKilled(t *testing.T) {
	c := new(Group)
	t.Cleanup(c.Close)
	echo := func() {
		t.Helper()
		var got string
		if err := c.Do(t.Context(), Task{}, "request", &got); err != nil || got != "request" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	for range 3 {
		echo()
	}
	if len(c.idle) != 1 {
		t.Errorf("for one task after another there were %d workers", len(c.idle))
	}
	for range 3 { // as it may have been killed meanwhile
		unix.Kill(c.idle[0].cmd.Process.Pid, unix.SIGKILL)
		<-c.idle[0].ended
		echo()
	}
}

var errAbsent = errors.New("no such disk")

// What a caller asks of an error outlives the way from the worker.
func TestAnErrorOfAWorkerKeepsItsHintAndWhetherItIsFinal(t *testing.T) {
	src, err := json.Marshal(reply{Error: asReplyError(fault.Permanent(fault.WithHint(fmt.Errorf("no: %w", errAbsent), "plug it in")), []error{errAbsent})})
	var r reply
	if err := errors.Join(err, json.Unmarshal(src, &r)); err != nil {
		t.Fatal(err)
	}
	if r.Error.Error() != "no: no such disk" || fault.HintOf(r.Error) != "plug it in" || !r.Error.Permanent() || r.Error.Is != 1 {
		t.Errorf("got %#v", r.Error)
	}
	if plain := asReplyError(errors.New("no"), []error{errAbsent}); plain.Permanent() || fault.HintOf(plain) != "" || plain.Is != 0 {
		t.Errorf("got %#v", plain)
	}
}
