package release

import (
	"os"
	"testing"
	"time"
)

func TestOnlyTheShutdownThatEndedABootTellsOfIt(t *testing.T) {
	dir, at := t.TempDir(), time.Date(2026, 11, 28, 10, 4, 0, 0, time.UTC)
	if err := (Release{BootID: "first", At: at, Unmounted: []string{"data"}}).Keep(dir); err != nil {
		t.Fatal(err)
	}
	for of, want := range map[[2]string]time.Time{
		{"first", "data"}: at, {"first", "logs"}: {}, {"second", "data"}: {},
	} {
		if got, err := Kept(dir).Released(of[0], of[1]); err != nil || !got.Equal(want) {
			t.Errorf("%v: got %s, %v, want %s", of, got, err, want)
		}
	}
	if err := (Release{BootID: "second", At: at, Unmounted: nil}).Keep(dir); err != nil {
		t.Fatal(err)
	}
	if got, _ := Kept(dir).Released("first", "data"); !got.IsZero() {
		t.Errorf("a later shutdown replaces it, and it still tells %s", got)
	}
	if err := os.WriteFile(file(dir), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Kept(dir).Released("second", "data"); !got.IsZero() || err != nil {
		t.Errorf("a broken file: got %s, %v", got, err)
	}
}
