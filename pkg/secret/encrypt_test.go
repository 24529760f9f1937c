package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/golden"
)

func TestASealingNamesTwoWhoCanOpen(t *testing.T) {
	for name, c := range map[string]struct {
		s    Encryption
		want []string
	}{
		"both":             {Encryption{To: []string{machine.public}, Recovery: []string{recovery.public}}, []string{machine.public, recovery.public}},
		"without recovery": {Encryption{To: []string{machine.public}, WithoutRecovery: true}, []string{machine.public}},
	} {
		if got, err := c.s.Recipients(); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestWrongRecipientsAreRefusedInWords(t *testing.T) {
	hybrid := newHybridPair(t).public
	var got strings.Builder
	for _, c := range []struct {
		name string
		Encryption
	}{
		{"nobody", Encryption{Recovery: []string{recovery.public}}},
		{"no recovery", Encryption{To: []string{machine.public}}},
		{"recovery, and without it", Encryption{To: []string{machine.public}, Recovery: []string{recovery.public}, WithoutRecovery: true}},
		{"the same twice", Encryption{To: []string{machine.public}, Recovery: []string{machine.public}}},
		{"a private key", Encryption{To: []string{machine.private}, Recovery: []string{recovery.public}}},
		{"a private key, cut, in lower case", Encryption{To: []string{machine.public}, Recovery: []string{strings.ToLower(machine.private[:40])}}},
		{"a key behind a byte order mark", Encryption{To: []string{"\ufeff" + machine.public}, WithoutRecovery: true}},
		{"a changed key", Encryption{To: []string{machine.public[:40] + "q" + machine.public[41:]}, WithoutRecovery: true}},
		{"a plugin's", Encryption{To: []string{"age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt"}, WithoutRecovery: true}},
		{"one of SSH", Encryption{To: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA"}, WithoutRecovery: true}},
		{"a password", Encryption{To: []string{canary}, WithoutRecovery: true}},
		{"nothing", Encryption{To: []string{""}, WithoutRecovery: true}},
		{"post-quantum and not", Encryption{To: []string{machine.public}, Recovery: []string{hybrid}}},
		{"a post-quantum one that was cut", Encryption{To: []string{hybrid[:len(hybrid)-1]}, WithoutRecovery: true}},
	} {
		all, err := c.Recipients()
		if err == nil {
			t.Errorf("%s: takes %q", c.name, all)
			continue
		}
		for _, no := range []string{canary, machine.private[17:], strings.ToLower(machine.private[17:30])} {
			if strings.Contains(err.Error(), no) {
				t.Errorf("%s: the error quotes a secret: %v", c.name, err)
			}
		}
		fmt.Fprintf(&got, "%s: %s\n", c.name, strings.NewReplacer(hybrid[:20], "age1pq1...", hybrid[len(hybrid)-9:len(hybrid)-1], "...").Replace(words(err)))
	}
	golden.Check(t, filepath.Join("testdata", "recipients.golden"), got.String())
}

func TestWhatCantBeSealedIsRefused(t *testing.T) {
	broken := errors.New("broken pipe")
	var got strings.Builder
	for _, c := range []struct {
		name  string
		stdin io.Reader
	}{
		{"nothing", strings.NewReader("")},
		{"white space", strings.NewReader(" \t\r\n\u00a0\n")},
		{"white space after a byte order mark", strings.NewReader("\xef\xbb\xbf\r\n")},
		{"too much", bytes.NewReader(make([]byte, PlaintextMax+1))},
		{"sealed already", bytes.NewReader(sealed(t, canary, false, machine))},
		{"sealed already, in armor", bytes.NewReader(sealed(t, canary, true, machine))},
		{"sealed already, in UTF-16", strings.NewReader(utf16LE("\ufeff" + string(sealed(t, canary, true, machine))))},
		{"broken", io.MultiReader(strings.NewReader(canary), errReader{broken})},
	} {
		var out bytes.Buffer
		err := Encrypt(&out, c.stdin, []string{machine.public}, false)
		if err == nil || out.Len() > 0 {
			t.Errorf("%s: sealed to %d bytes", c.name, out.Len())
		}
		fmt.Fprintf(&got, "%s: %s\n", c.name, words(err))
	}
	golden.Check(t, filepath.Join("testdata", "seal.golden"), got.String())
	if err := Encrypt(io.Discard, strings.NewReader(canary), nil, false); err == nil || err.Error() != "no recipient" {
		t.Errorf("for nobody: %v", err)
	}
}

func TestTheSameSealedTwiceIsNotTheSame(t *testing.T) {
	if bytes.Equal(sealed(t, canary, false, machine), sealed(t, canary, false, machine)) {
		t.Error("two sealed files tell that they hold the same")
	}
}

func TestSealedTextTellsNothing(t *testing.T) {
	for _, armored := range []bool{false, true} {
		if text := string(sealed(t, canary, armored, machine)); tells(text, canary) || strings.Contains(text, machine.public[4:]) {
			t.Errorf("got %q", text)
		}
	}
}
