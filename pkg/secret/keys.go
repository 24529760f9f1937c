package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"filippo.io/age"
)

const (
	// KeysTextMax bounds what keys are read from, in bytes: a line is 74 of them.
	KeysTextMax = 64 << 10

	// keysMax bounds how many keys there are: each is tried on each recipient.
	keysMax = 64

	// commandWithin is how long a command may take to come up with a key.
	commandWithin = 30 * time.Second
)

// Keys are the age identities that secrets are opened with. They are in memory
// only, and are safe for concurrent use.
type Keys struct {
	hidden
	mu  sync.Mutex
	all []key
}

// key holds an identity behind a function: see hidden.
type key struct {
	identity  func() age.Identity
	recipient string
}

// Recipients are the public keys, in the order in which they came. What is
// sealed to one of them can be opened.
func (k *Keys) Recipients() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return recipients(k.all)
}

// identities are the keys as package age takes them.
func (k *Keys) identities() []age.Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]age.Identity, len(k.all))
	for i, key := range k.all {
		all[i] = key.identity()
	}
	return all
}

// Add takes the identities out of a text as age-keygen writes it, and returns
// their public keys. Where one can't be taken, none is. An error says of which
// line and never what it holds.
func (k *Keys) Add(text []byte) ([]string, error) {
	parsed, err := parseKeys(text)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all := k.all[:len(k.all):len(k.all)]
	for _, key := range parsed {
		if !has(all, key.recipient) {
			all = append(all, key)
		}
	}
	if len(all) > keysMax {
		return nil, fmt.Errorf("cannot take these keys: there would be %d, and %d is the most", len(all), keysMax)
	}
	k.all = all
	return recipients(parsed), nil
}

// AddFile takes the identities out of a file that nobody but its owner, the
// user of this process, can read.
func (k *Keys) AddFile(path string) ([]string, error) {
	text, info, err := readRegular(path, KeysTextMax)
	if err != nil {
		return nil, fmt.Errorf("cannot take keys from %s: %w", path, err)
	}
	defer clear(text)
	owner, mode := int(info.Sys().(*syscall.Stat_t).Uid), info.Mode().Perm()
	switch {
	case owner != os.Geteuid():
		return nil, &problem{
			text: fmt.Sprintf("will not take keys from %s: it belongs to user number %d, who can replace it", path, owner),
			hint: "chown root: " + path + " && chmod 600 " + path,
		}
	case mode&0o077 != 0:
		return nil, &problem{
			text: fmt.Sprintf("will not take keys from %s: others can read or write it, its mode is %04o", path, mode),
			hint: "chmod 600 " + path + "; and if others use this machine, make a new key and seal the secrets anew",
		}
	}
	added, err := k.Add(text)
	if err != nil {
		return nil, fmt.Errorf("cannot take keys from %s: %w", path, err)
	}
	return added, nil
}

// Run runs a program and returns what it prints. Its error tells what the
// program complained on stderr, and nothing that it printed.
type Run func(ctx context.Context, argv []string) (stdout []byte, err error)

// AddCommand takes the identities that a command prints within 30 seconds.
func (k *Keys) AddCommand(ctx context.Context, run Run, argv []string) ([]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commandWithin, fmt.Errorf("no end within %s", commandWithin))
	defer cancel()
	text, err := run(ctx, argv)
	defer clear(text)
	if err != nil {
		return nil, fmt.Errorf("cannot take keys from the command %s: %w", argv[0], scrubbed(err))
	}
	added, err := k.Add(text)
	if err != nil {
		return nil, fmt.Errorf("cannot take keys from what the command %s prints: %w", argv[0], err)
	}
	return added, nil
}

// secretKey matches an identity of age, whole or broken.
var secretKey = regexp.MustCompile(`(?i)AGE-(SECRET-KEY|PLUGIN)-[^\s"']+`)

// scrubbed is an error without the keys in it: a script that traces itself
// complains with all that it does.
func scrubbed(err error) error {
	if text := err.Error(); secretKey.MatchString(text) {
		return errors.New(secretKey.ReplaceAllString(text, redacted))
	}
	return err
}

// Taken says which keys were taken, by their public keys.
func Taken(added []string) string {
	if len(added) == 1 {
		return "1 key taken: " + Short(added[0])
	}
	return fmt.Sprintf("%d keys taken: %s", len(added), shortList(added))
}

// Short is a public key as people tell it from others. A post-quantum one has
// two thousand characters.
func Short(recipient string) string {
	if len(recipient) <= 80 {
		return recipient
	}
	return recipient[:20] + "..." + recipient[len(recipient)-8:]
}

func shortList(recipients []string) string {
	short := make([]string, len(recipients))
	for i, r := range recipients {
		short[i] = Short(r)
	}
	return strings.Join(short, ", ")
}

func recipients(keys []key) []string {
	all := make([]string, len(keys))
	for i, key := range keys {
		all[i] = key.recipient
	}
	return all
}

func has(keys []key, recipient string) bool {
	for _, key := range keys {
		if key.recipient == recipient {
			return true
		}
	}
	return false
}

func parseKeys(text []byte) ([]key, error) {
	if len(text) > KeysTextMax {
		return nil, fmt.Errorf("more than %d bytes, which is too much for keys", KeysTextMax)
	}
	if as := encodedAs(text); as != "" {
		return nil, &problem{text: "it " + as, hint: hintUTF8}
	}
	var keys []key
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, problem := parseKey(string(line))
		if problem != "" {
			return nil, fmt.Errorf("line %d %s", n, problem)
		}
		if !has(keys, key.recipient) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key is in it: one looks like AGE-SECRET-KEY-1..., and age-keygen makes it")
	}
	return keys, nil
}

// parseKey reads one identity, or says what the line is instead. It does not
// say it with age's words, which quote.
func parseKey(line string) (k key, problem string) {
	const broken = "begins as a key of age and is not one: it was cut or changed; copy it again"
	begins := func(with ...string) bool {
		for _, w := range with {
			if len(line) >= len(w) && strings.EqualFold(line[:len(w)], w) {
				return true
			}
		}
		return false
	}
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1"):
		id, err := age.ParseHybridIdentity(line)
		if err != nil {
			return key{}, broken
		}
		return key{func() age.Identity { return id }, id.Recipient().String()}, ""
	case strings.HasPrefix(line, "AGE-SECRET-KEY-1"):
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return key{}, broken
		}
		return key{func() age.Identity { return id }, id.Recipient().String()}, ""
	case begins("AGE-SECRET-KEY-"):
		return key{}, "is a key of age of a kind that bootagent does not know"
	case begins("AGE-PLUGIN-"):
		return key{}, "is for a plugin of age, and bootagent runs none"
	case begins("age1"):
		return key{}, "is a public key: what opens a secret is the private one, AGE-SECRET-KEY-1..."
	case begins("-----BEGIN AGE ENCRYPTED FILE-----", "age-encryption.org/"):
		return key{}, "begins a file that is itself encrypted: hand in what age -d makes of it"
	case begins("-----BEGIN ", "ssh-"):
		return key{}, "is a key of SSH or another program: bootagent takes keys that age-keygen made"
	}
	return key{}, "is no key of age: one looks like AGE-SECRET-KEY-1..., and age-keygen makes it"
}
