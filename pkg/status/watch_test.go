package status

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A change is told by the kernel: long before the net below would look.
func TestEachChangeOfTheStatusFileIsTold(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bootagent")
	path := filepath.Join(dir, "status.json")
	changed := Watch(t.Context(), path)
	until := func(want State) {
		t.Helper()
		late := time.After(lookAnyway / 2)
		for {
			if s, err := Read(path); err == nil && s.State == want {
				return
			}
			select {
			case <-changed:
			case <-late:
				t.Fatalf("it was not told that the role is %s", want)
			}
		}
	}
	write := func(s State) {
		t.Helper()
		if err := (Status{Agent: agent, State: s}).Write(path); err != nil {
			t.Fatal(err)
		}
	}
	time.AfterFunc(10*time.Millisecond, func() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Error(err)
		}
		write(Starting)
	})
	until(Starting)
	for _, s := range []State{Waiting, Starting, Ready} {
		time.Sleep(5 * time.Millisecond) // until nobody looks any more
		write(s)
		until(s)
	}
}

func TestAWatchEndsWithItsContext(t *testing.T) {
	before := descriptors(t)
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		Watch(ctx, filepath.Join(t.TempDir(), "status.json"))
		cancel()
	}
	for range 1000 {
		if descriptors(t) <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%d descriptors stay open, of %d before", descriptors(t), before)
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
