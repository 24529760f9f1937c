package answers

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// A program is asked again as soon as it is another one, even if a package put it
// there with the same size and date.
func TestAnAnswerIsKeptAsLongAsItsProgramIsTheSame(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "server")
	put := func(text string) {
		t.Helper()
		fresh := program + ".new"
		if err := os.WriteFile(fresh, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(program); err == nil {
			if err := os.Chtimes(fresh, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Rename(fresh, program); err != nil {
			t.Fatal(err)
		}
	}
	a := Store{filepath.Join(dir, "state", "answers"), slog.New(slog.DiscardHandler)}
	asked := 0
	expect := func(answer string, times int, argv ...string) {
		t.Helper()
		got, err := a.Of(argv, func() ([]byte, error) { asked++; return os.ReadFile(program) })
		if err != nil || string(got) != answer || asked != times {
			t.Errorf("got %q, %v, asked %d times; want %q, asked %d times", got, err, asked, answer, times)
		}
	}
	put("one")
	expect("one", 1, program, "--help")
	expect("one", 1, program, "--help")
	expect("one", 2, program, "--other")
	expect("one", 2, program, "--help")
	put("two")
	expect("two", 3, program, "--help")
	expect("two", 3, program, "--help")
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	gone := errors.New("no such program")
	if _, err := a.Of([]string{program, "--help"}, func() ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
		t.Errorf("a program that is gone answers: %v", err)
	}
}

func TestAnAnswerThatCannotBeKeptIsGiven(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := Store{filepath.Join(dir, "file", "answers"), slog.New(slog.DiscardHandler)}
	if got, err := a.Of([]string{"/bin/sh"}, func() ([]byte, error) { return []byte("yes"), nil }); err != nil || string(got) != "yes" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAStoreWithoutADirectoryKeepsNothing(t *testing.T) {
	asked := 0
	for range 2 {
		if got, err := (Store{}).Of([]string{"/bin/sh"}, func() ([]byte, error) { asked++; return []byte("one"), nil }); err != nil || string(got) != "one" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}
