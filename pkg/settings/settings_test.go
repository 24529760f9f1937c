package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/golden"
	"bootagent/pkg/secret"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatIsNotSetHasItsDefault(t *testing.T) {
	want := Settings{Keys: []secret.ProviderConfig{{Kind: "operator"}}, UnlockWithin: 24 * time.Hour, RetryWithin: 15 * time.Minute, ReadyWithin: 60 * time.Second}
	for _, text := range []string{"", "# nothing is set\n", "user-data: {}\n", "user-data:\nendpoints:\n", "endpoints: {}\n"} {
		if got, err := Load(write(t, text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	if got, err := Load(filepath.Join(t.TempDir(), "agent.yaml")); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("no file: got %+v, %v", got, err)
	}
}

func TestWhatIsSetIsRead(t *testing.T) {
	for text, set := range map[string]func(*Settings){
		"user-data: {file: /run/user-data}\n": func(s *Settings) { s.UserDataFile = "/run/user-data" },
		"ready-within: 2m\n":                  func(s *Settings) { s.ReadyWithin = 2 * time.Minute },
		"retry-within: 1h\n":                  func(s *Settings) { s.RetryWithin = time.Hour },
		"unlock-within: 168h\n":               func(s *Settings) { s.UnlockWithin = 7 * 24 * time.Hour },
		"default-role: web\n":                 func(s *Settings) { s.DefaultRole = "web" },
		"endpoints: {imds: \"http://[fd00:ec2::254]\", ec2: \"https://ec2.test:8443\"}\n": func(s *Settings) {
			s.Endpoints = Endpoints{IMDS: "http://[fd00:ec2::254]", EC2: "https://ec2.test:8443"}
		},
		"endpoints: {s3: http://10.0.2.2:9000}\n": func(s *Settings) { s.Endpoints = Endpoints{S3: "http://10.0.2.2:9000"} },
		"keys:\n- command: [/usr/bin/fetch-key, --for, \"1\", \"\"]\n- operator\n- file: /etc/a.key\n- file: /etc/b.key\n": func(s *Settings) {
			s.Keys = []secret.ProviderConfig{
				{Kind: "command", Args: []string{"/usr/bin/fetch-key", "--for", "1", ""}},
				{Kind: "operator"},
				{Kind: "file", Args: []string{"/etc/a.key"}},
				{Kind: "file", Args: []string{"/etc/b.key"}},
			}
		},
	} {
		want := Default()
		set(&want)
		if got, err := Load(write(t, text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

// The words of an error get into the journal and the status.
func TestAMistakeDoesNotTellASecret(t *testing.T) {
	for _, text := range []string{
		"keys: [AGE-SECRET-KEY-1SECRET]\n",
		"keys: AGE-SECRET-KEY-1SECRET\n",
		"keys: [{file: [AGE-SECRET-KEY-1SECRET]}]\n",
		"keys: [{file: AGE-SECRET-KEY-1SECRET}]\n",
		"keys: [{command: [AGE-SECRET-KEY-1SECRET]}]\n",
		"endpoints: {s3: \"https://user:SECRET@s3.test\"}\n",
		"endpoints: {s3: \"https://s3.test/?token=SECRET\"}\n",
	} {
		_, err := decode("agent.yaml", []byte(text))
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v", text, err)
		}
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
		"endpoint: {}\nkey: []\nunlock: 1h\n",
		"endpoints: {imds: 169.254.169.254, ec2: \"http://h/\", s3: \"ftp://h\", sts: x}\n",
		"endpoints: {imds: \"http://u@h\", ec2: \"http://h?x\", s3: \"http://h#x\"}\n",
		"endpoints: {imds: \"http://h:\", ec2: \"http://h:65536\", s3: \"http://h:0\"}\n",
		"endpoints: {imds: \"HTTP://h\", ec2: \"http:h\", s3: \"http://:80\"}\n",
		"endpoints: {imds: \"\", ec2: 80, s3:}\n",
		"endpoints: http://h\n",
		"keys: []\n",
		"keys:\n",
		"keys: operator\n",
		"keys: [operater, Operator, file, \"\", 1, []]\n",
		"keys:\n-\n- {}\n- {file: /a, command: [/b]}\n- {path: /a}\n- {file:}\n",
		"keys: [operator, {file: /a}, operator, {file: /a}, {command: [/a]}, {command: [/a]}]\n",
		"keys: [{file: lab.key}, {file: /a/}, {command: /a}, {command: []}, {command: [a, b]}, {command: [/a, 1]}]\n",
		"unlock-within: 8d\n",
		"unlock-within: 169h\n",
	} {
		settings, err := decode("agent.yaml", []byte(text))
		if err == nil || !reflect.DeepEqual(settings, Settings{}) {
			t.Errorf("%q is accepted: %+v", text, settings)
		}
		fmt.Fprintln(&told, err)
	}
	const file = "testdata/mistakes.golden"
	golden.Check(t, file, told.String())
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("user-data: {file: /run/user-data}\nready-within: 2m\ndefault-role: web\n"))
	f.Add([]byte("user-data:\n"))
	f.Add([]byte("endpoints: {imds: http://169.254.169.254, s3: https://s3.test:9000}\nunlock-within: 1h\n"))
	f.Add([]byte("keys: [operator, {file: /a.key}, {command: [/b, c]}]\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		s, err := decode("f", src)
		if err != nil {
			return
		}
		if s.UserDataFile != "" && !filepath.IsAbs(s.UserDataFile) ||
			s.ReadyWithin <= 0 || s.ReadyWithin > longestReadyWithin ||
			s.UnlockWithin <= 0 || s.UnlockWithin > longestUnlockWithin || len(s.Keys) == 0 {
			t.Errorf("accepted: %+v", s)
		}
		for _, k := range s.Keys {
			if k.Kind != "operator" && (len(k.Args) == 0 || !filepath.IsAbs(k.Args[0])) {
				t.Errorf("accepted: %+v", k)
			}
		}
		for _, e := range []string{s.Endpoints.IMDS, s.Endpoints.EC2, s.Endpoints.S3} {
			if e != "" && !strings.HasPrefix(e, "http://") && !strings.HasPrefix(e, "https://") {
				t.Errorf("accepted: %q", e)
			}
		}
	})
}
