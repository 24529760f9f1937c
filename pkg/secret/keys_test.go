package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bootagent/pkg/golden"
)

func TestKeysAreTakenAsAgeKeygenWritesThem(t *testing.T) {
	hybrid := newHybridPair(t)
	text := "# created: 2026-11-23T10:04:00Z\r\n# public key: " + machine.public + "\r\n" + machine.private + "\r\n\n  " + hybrid.private + "\n" + machine.private
	keys := new(Keys)
	added, err := keys.Add([]byte(text))
	want := []string{machine.public, hybrid.public}
	if err != nil || !slices.Equal(added, want) {
		t.Errorf("got %q, %v", added, err)
	}
	if added, err = keys.Add([]byte(recovery.private)); err != nil || !slices.Equal(added, []string{recovery.public}) {
		t.Errorf("got %q, %v", added, err)
	}
	// One that is here already is not taken twice, and is told as taken.
	if added, err = keys.Add([]byte(machine.private)); err != nil || !slices.Equal(added, []string{machine.public}) {
		t.Errorf("got %q, %v", added, err)
	}
	if all := keys.Recipients(); !slices.Equal(all, append(want, recovery.public)) {
		t.Errorf("now there are %q", all)
	}
	for _, p := range []pair{machine, recovery, hybrid} {
		if got := opens(t, sealed(t, canary, false, p), keys).Bytes(); string(got) != canary {
			t.Errorf("opened %q", got)
		}
	}
}

// What is no key, and why.
var notKeys = []struct{ name, text string }{
	{"nothing", ""},
	{"comments", "# created: 2026\n\n# public key: age1abc\n"},
	{"a public key", machine.public},
	{"a key that was cut", machine.private[:70]},
	{"a key that was changed", machine.private[:40] + "Q" + machine.private[41:]},
	{"a post-quantum key that was cut", "AGE-SECRET-KEY-PQ-1QQQQ"},
	{"lower case", strings.ToLower(machine.private)},
	{"a kind to come", "AGE-SECRET-KEY-NEW-1QQQQ"},
	{"a plugin's", "AGE-PLUGIN-YUBIKEY-1QQQQ"},
	{"an SSH key", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"},
	{"an SSH public key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA somebody@somewhere"},
	{"a key file with a passphrase", "age-encryption.org/v1\n-> scrypt bBjlhJVYZeE4aqUdmtRHfw 18\n"},
	{"the same in armor", "-----BEGIN AGE ENCRYPTED FILE-----\nYWdlLWVuY3J5cHRpb24ub3JnL3YxCg==\n"},
	{"a passphrase", "correct horse battery staple"},
	{"bytes", "\x00\xff\xfe"},
	{"the second line", machine.private + "\nhunter2\n"},
	{"too much", strings.Repeat("#\n", KeysTextMax/2) + "x"},
	{"a byte order mark", "\xef\xbb\xbf" + machine.private + "\n"},
	{"UTF-16, as PowerShell saves", utf16LE("\ufeff" + machine.private + "\r\n")},
	{"UTF-16 without a mark", utf16LE(machine.private + "\r\n")},
	{"two in a line", machine.private + " " + machine.private},
}

func TestWhatIsNoKeyIsRefusedInWords(t *testing.T) {
	var got strings.Builder
	for _, c := range notKeys {
		keys := new(Keys)
		added, err := keys.Add([]byte(c.text))
		if err == nil || len(added)+len(keys.Recipients()) != 0 {
			t.Errorf("%s: took %q", c.name, keys.Recipients())
		}
		fmt.Fprintf(&got, "%s: %s\n", c.name, words(err))
	}
	golden.Check(t, filepath.Join("testdata", "keys.golden"), got.String())
}

func TestThereIsAMostOfKeys(t *testing.T) {
	keys := new(Keys)
	var text strings.Builder
	for range keysMax + 1 {
		fmt.Fprintln(&text, newPair(t).private)
	}
	if added, err := keys.Add([]byte(text.String())); err == nil || err.Error() != "too many age identities: with these there are 65, and 64 is the most" || len(keys.Recipients()) != 0 {
		t.Errorf("took %d, %v", len(added), err)
	}
}

func TestKeysAreSafeForConcurrentUse(t *testing.T) {
	keys := new(Keys)
	ciphertext := sealed(t, canary, false, machine)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { keys.Add([]byte(machine.private + "\n" + recovery.private)) })
		all.Go(func() { Decrypt(ciphertext, keys) })
		all.Go(func() { keys.Recipients() })
	}
	all.Wait()
	if got := keys.Recipients(); !slices.Equal(got, []string{machine.public, recovery.public}) {
		t.Errorf("got %q", got)
	}
}

func TestAKeyFileIsTakenOnlyWhereNobodyElseReadsIt(t *testing.T) {
	dir := t.TempDir()
	var got strings.Builder
	for _, c := range []struct {
		name  string
		mode  os.FileMode
		owner int
		text  string
	}{
		{"good", 0o600, os.Geteuid(), machine.private},
		{"good to read only", 0o400, os.Geteuid(), machine.private},
		{"for all", 0o644, os.Geteuid(), machine.private},
		{"for a group", 0o640, os.Geteuid(), machine.private},
		{"writable", 0o622, os.Geteuid(), machine.private},
		{"another's", 0o600, 65534, machine.private},
		{"broken", 0o600, os.Geteuid(), "hunter2"},
		{"absent", 0, os.Geteuid(), ""},
	} {
		if c.owner != os.Geteuid() && os.Geteuid() != 0 {
			t.Log("giving a file away needs root")
			c.mode = 0
		}
		path := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-")+".key")
		if c.mode != 0 {
			if err := errors.Join(os.WriteFile(path, []byte(c.text), c.mode), os.Chmod(path, c.mode), os.Chown(path, c.owner, -1)); err != nil {
				t.Fatal(err)
			}
		}
		keys := new(Keys)
		added, err := FileKeys(path).Provide(t.Context(), keys)
		fmt.Fprintf(&got, "%s: %s %s\n", c.name, strings.Join(added, " "), words(err))
	}
	if os.Geteuid() == 0 {
		golden.Check(t, filepath.Join("testdata", "key-files.golden"), strings.ReplaceAll(got.String(), dir, "DIR"))
	} else if !strings.Contains(got.String(), "chmod 600") {
		t.Errorf("got\n%s", got.String())
	}
}

func TestACommandIsAskedForAKey(t *testing.T) {
	argv := []string{"/usr/local/bin/fetch-key", "--for", "bootagent"}
	var got strings.Builder
	for _, c := range []struct {
		name   string
		stdout string
		err    error
	}{
		{"good", machine.private + "\n", nil},
		{"nothing printed", "", nil},
		{"no key printed", "hunter2\n", nil},
		{"failed", machine.private, errors.New("exit status 1: no route to the vault")},
		{"failed, with a key in its complaint", "", errors.New("exit status 1: + echo '" + machine.private + "'\n+ age-secret-key-1qqq " + recovery.private[:50])},
	} {
		keys := new(Keys)
		added, err := CommandKeys{argv, func(ctx context.Context, got []string) ([]byte, error) {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 30*time.Second || !slices.Equal(got, argv) {
				t.Errorf("runs %q until %v", got, deadline)
			}
			return []byte(c.stdout), c.err
		}}.Provide(t.Context(), keys)
		fmt.Fprintf(&got, "%s: %s %s\n", c.name, strings.Join(added, " "), words(err))
		if err != nil && (strings.Contains(err.Error(), machine.private[20:30]) || strings.Contains(err.Error(), recovery.private[20:30])) {
			t.Errorf("%s: the error tells a key", c.name)
		}
	}
	golden.Check(t, filepath.Join("testdata", "key-commands.golden"), got.String())
}

func TestTheStdoutOfACommandIsWiped(t *testing.T) {
	for _, fails := range []error{nil, errors.New("exit status 1")} {
		stdout := []byte(machine.private)
		CommandKeys{[]string{"x"}, func(context.Context, []string) ([]byte, error) { return stdout, fails }}.Provide(t.Context(), new(Keys))
		if strings.Trim(string(stdout), "\x00") != "" {
			t.Errorf("left: %q", stdout)
		}
	}
}

func TestTakenNamesTheRecipients(t *testing.T) {
	hybrid := newHybridPair(t).public
	for want, added := range map[string][]string{
		"1 age identity added, for the recipient " + machine.public:                                                          {machine.public},
		"2 age identities added, for the recipients " + machine.public + ", " + hybrid[:20] + "..." + hybrid[len(hybrid)-8:]: {machine.public, hybrid},
	} {
		if got := Taken(added); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// Whatever is handed in as a key, the error is one of few texts and quotes
// nothing of it.
func FuzzKeys(f *testing.F) {
	known := map[string]bool{}
	for _, c := range notKeys {
		_, err := new(Keys).Add([]byte(c.text))
		known[withoutLine(err)] = true
		f.Add([]byte(c.text))
	}
	f.Add([]byte(machine.private))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys := new(Keys)
		added, err := keys.Add(text)
		switch {
		case err == nil && len(added) == 0:
			t.Error("no error, and no key")
		case err != nil && !known[withoutLine(err)]:
			t.Errorf("an error in words of its own: %v", err)
		}
	})
}

func withoutLine(err error) string {
	text := err.Error()
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		return strings.TrimLeft(rest, "0123456789")
	}
	return text
}
