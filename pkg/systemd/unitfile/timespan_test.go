package unitfile

import (
	"testing"
	"time"
)

func TestTimeSpansAreReadAsSystemdReadsThem(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "15min": 15 * time.Minute, "1h 30min": 90 * time.Minute, "5min20s": 320 * time.Second,
		"1.5s": 1500 * time.Millisecond, "2 days": 48 * time.Hour, "100ms": 100 * time.Millisecond, "infinity": Endless, " 20 ": 20 * time.Second, "1m 1M": time.Minute + 2630016*time.Second,
	} {
		if got, ok := TimeSpan(text); !ok || got != want {
			t.Errorf("%q: got %s, %t, want %s", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "x", "5 parsecs", "-1", "1h,30m", "infinity 1"} {
		if got, ok := TimeSpan(text); ok {
			t.Errorf("%q: got %s", text, got)
		}
	}
}
