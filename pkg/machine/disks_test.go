package machine

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/blankproof"
	"bootagent/pkg/block"
)

func TestTheStatusTellsHowFarADiskIsRead(t *testing.T) {
	began := time.Date(2026, 11, 27, 12, 0, 0, 0, time.Local)
	for _, test := range []struct {
		whole bool
		p     blankproof.Proof
		want  string
	}{
		{false, blankproof.Proof{}, "disk vol1 to be read"},
		{true, blankproof.Proof{}, "all of disk vol1 to be read"},
		{true, blankproof.Proof{Read: 25 * block.GiB, Of: 100 * block.GiB}, "all of disk vol1 to be read, 25.0 GiB of 100.0 GiB so far; at this speed until 2026-11-27 12:20:00"},
	} {
		w := watch{serial: "vol1", whole: test.whole, began: began}
		if got := w.words(test.p, began.Add(5*time.Minute)); got != test.want {
			t.Errorf("it says %q, want %q", got, test.want)
		}
	}
}

func TestAReadingThatStallsIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "proof")
	tell := func(read block.Bytes) {
		if err := blankproof.WriteProof(path, blankproof.Proof{Read: read, Of: block.TiB}); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stalled := context.WithCancelCause(t.Context())
		over, left := make(chan struct{}), make(chan struct{})
		w := watch{serial: "vol1", whole: true, began: time.Now(), until: time.Now().Add(24 * time.Hour)}
		go func() {
			defer close(left)
			w.run(t.Context(), path, stalled, over)
		}()
		for range 10 { // slow, but it goes on
			time.Sleep(blankproof.StallsAfter - time.Minute)
			tell(block.Bytes(time.Since(w.began)))
			if ctx.Err() != nil {
				t.Fatal(context.Cause(ctx))
			}
		}
		time.Sleep(blankproof.StallsAfter + time.Minute)
		if err := context.Cause(ctx); err == nil || !strings.Contains(err.Error(), "disk vol1 gave no further byte for 5m0s, after ") {
			t.Errorf("a disk that gives no more bytes: %v", err)
		}
		close(over)
		<-left
	})
}
