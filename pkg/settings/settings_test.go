package settings

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatIsNotSetHasItsDefault(t *testing.T) {
	want := Settings{UserDataFile: "/etc/bootagent/user-data", ReadyWithin: 60 * time.Second}
	for _, text := range []string{"", "# nothing is set\n", "user-data: {}\n", "user-data:\n"} {
		if got, err := Load(write(t, text)); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	if got, err := Load(filepath.Join(t.TempDir(), "agent.yaml")); err != nil || got != want {
		t.Errorf("no file: got %+v, %v", got, err)
	}
}

func TestWhatIsSetIsRead(t *testing.T) {
	got, err := Load(write(t, "user-data: {file: /run/user-data}\nready-within: 2m\ndefault-role: web\n"))
	want := Settings{UserDataFile: "/run/user-data", ReadyWithin: 2 * time.Minute, DefaultRole: "web"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAFileThatCannotBeReadIsAnError(t *testing.T) {
	if got, err := Load(t.TempDir()); err == nil {
		t.Errorf("got %+v", got)
	}
}

func TestMistakesAreTold(t *testing.T) {
	var told strings.Builder
	for _, text := range []string{
		"user_data: {file: /x}\nredy-within: 1m\nversion: 1\n",
		"user-data: /etc/user-data\nready-within: 60\ndefault-role: Web\n",
		"user-data: {file: user-data, url: x}\nready-within: 2h\ndefault-role:\n",
		"user-data: {file: /etc/../x}\nready-within: -1s\n",
		"ready-within: 1m\nready-within: 2m\n",
		"default-role: [\n",
	} {
		settings, err := decode("agent.yaml", []byte(text))
		if err == nil || settings != (Settings{}) {
			t.Errorf("%q is accepted: %+v", text, settings)
		}
		fmt.Fprintln(&told, err)
	}
	const golden = "testdata/mistakes.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(told.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if told.String() != string(want) {
		t.Errorf("got\n%swant\n%s", told.String(), want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("user-data: {file: /run/user-data}\nready-within: 2m\ndefault-role: web\n"))
	f.Add([]byte("user-data:\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		s, err := decode("f", src)
		if err == nil && (!filepath.IsAbs(s.UserDataFile) || s.ReadyWithin <= 0 || s.ReadyWithin > longestReadyWithin) {
			t.Errorf("accepted: %+v", s)
		}
	})
}
