package machine

import (
	"context"
	"os"
	"testing"

	"bootagent/pkg/child"
)

// TestMain is this program where it is started as a worker.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == child.Command {
		if err := Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
