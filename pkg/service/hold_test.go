package service

import (
	"testing"
	"time"
)

func TestHowLongAServiceHasToHoldGrowsWithItsRestarts(t *testing.T) {
	for restarts, want := range map[int]time.Duration{
		-1: 0, 0: 0, 1: 30 * time.Second, 2: time.Minute, 3: 2 * time.Minute, 5: 8 * time.Minute, 6: 10 * time.Minute, 1 << 20: 10 * time.Minute,
	} {
		if got := holds(restarts); got != want {
			t.Errorf("after %d restarts: %s, want %s", restarts, got, want)
		}
	}
}
