package byhand

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/command"
	"bootagent/pkg/control"
)

// agent answers on a socket, and keeps what it was asked.
func agent(t *testing.T) (socket string, asked *[]control.GrowRequest) {
	t.Helper()
	socket, asked = filepath.Join(t.TempDir(), "socket"), new([]control.GrowRequest)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var want control.GrowRequest
		if err := json.NewDecoder(r.Body).Decode(&want); err != nil || r.URL.Path != "/v1/grow" {
			t.Errorf("it is asked %s: %v", r.URL.Path, err)
		}
		*asked = append(*asked, want)
		_ = json.NewEncoder(w).Encode(control.Answer{Message: "it is grown"})
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return socket, asked
}

func TestGrowAsksTheAgentForOneVolume(t *testing.T) {
	socket, asked := agent(t)
	c := Command(socket)
	for _, args := range [][]string{{"data"}, {"--dry-run", "data"}} {
		var out strings.Builder
		if err := c.Run(t.Context(), args, &out); err != nil || out.String() != "it is grown\n" {
			t.Errorf("%q: got %q, %v", args, &out, err)
		}
	}
	if want := []control.GrowRequest{{Volume: "data"}, {Volume: "data", DryRun: true}}; !slices.Equal(*asked, want) {
		t.Errorf("it asked for %+v", *asked)
	}
	for _, args := range [][]string{{}, {"--dry-run"}, {"data", "log"}, {"--force", "data"}} {
		if err := c.Run(t.Context(), args, new(strings.Builder)); !errors.As(err, new(*command.UsageError)) {
			t.Errorf("%q: got %v", args, err)
		}
	}
	if len(*asked) != 2 {
		t.Errorf("it asked for %+v", *asked)
	}
}
