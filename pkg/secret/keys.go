package secret

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"

	"filippo.io/age"

	"bootagent/pkg/fault"
)

const (
	// KeysTextMax bounds a text with age identities, in bytes: one is a line of 74.
	KeysTextMax = 64 << 10

	// keysMax bounds how many age identities there are: each is tried on each recipient.
	keysMax = 64
)

// Keys are the age identities that decrypt secrets. They are in memory only. Keys
// are safe for concurrent use.
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

// Recipients returns the recipients of the age identities, in the order in which
// these came. What is encrypted for one of them can be decrypted.
func (k *Keys) Recipients() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return recipients(k.all)
}

// identities returns the age identities for package age.
func (k *Keys) identities() []age.Identity {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]age.Identity, len(k.all))
	for i, key := range k.all {
		all[i] = key.identity()
	}
	return all
}

// Add adds the age identities in a text as age-keygen writes it, and returns their
// recipients. If a line is wrong, it adds none. An error names the line and never
// quotes it.
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
		return nil, fmt.Errorf("too many age identities: with these there are %d, and %d is the most", len(all), keysMax)
	}
	k.all = all
	return recipients(parsed), nil
}

// Taken says which age identities were added, by their recipients.
func Taken(added []string) string {
	if len(added) == 1 {
		return "1 age identity added, for the recipient " + Short(added[0])
	}
	return fmt.Sprintf("%d age identities added, for the recipients %s", len(added), shortList(added))
}

// Short returns enough of a recipient to tell it from others. A post-quantum one
// has two thousand characters.
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
		return nil, fmt.Errorf("more than %d bytes, which is too much for age identities", KeysTextMax)
	}
	if as := encodedAs(text); as != "" {
		return nil, fault.WithHint(errors.New("it "+as), hintUTF8)
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
		return nil, errors.New("no age identity in it: one begins with AGE-SECRET-KEY-1, and age-keygen makes it")
	}
	return keys, nil
}

// parseKey reads one age identity, or says what the line is instead. It does not
// hand on age's errors, which quote.
func parseKey(line string) (k key, problem string) {
	const broken = "is a damaged age identity: a part is missing or changed; copy it again"
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
		return key{}, "is a kind of age identity that bootagent does not support"
	case begins("AGE-PLUGIN-"):
		return key{}, "is for an age plugin, which bootagent does not support"
	case begins("age1"):
		return key{}, "is a recipient, which is a public key; what is needed is the age identity, the private key: it begins with AGE-SECRET-KEY-1"
	case begins("-----BEGIN AGE ENCRYPTED FILE-----", "age-encryption.org/"):
		return key{}, "begins an encrypted file: decrypt it first, with age -d"
	case begins("-----BEGIN ", "ssh-"):
		return key{}, "is a key of SSH or of another program: bootagent supports those of age-keygen only"
	}
	return key{}, "is not an age identity: one begins with AGE-SECRET-KEY-1, and age-keygen makes it"
}
