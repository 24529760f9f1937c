// Package secret fetches the secrets of a role, decrypts them in memory, and
// stages them where systemd takes credentials from. Secrets is what package boot
// asks for.
//
// Three lists say what there is, with one file for each entry: package sources, where
// payloads come from; providerKinds, where age identities come from; and delivery,
// of which there is one way, package credential.
//
// It writes ciphertext to a cache on disk, and plaintext to a directory on ramfs
// and nowhere else. Of units it knows a name, which is a directory there.
//
// Nothing that it returns, prints or puts into an error tells a plaintext or an
// age identity. It never hands on age's own errors, which quote what they can't
// read.
//
// Nearly no error is permanent: a person uploads what was missing, allows what
// was denied, or brings an age identity, and then the next try succeeds.
package secret

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"bootagent/pkg/secret/credential"
)

const (
	// PlaintextMax bounds the plaintext of one secret, in bytes, so that a unit
	// that has no other takes it under any name.
	PlaintextMax = credential.Max - credential.NameMax
)

// problem is an error with a hint whose text does not repeat the fact.
type problem struct {
	text string
	hint string
	fact error // what errors.Is and errors.As find
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.fact }
func (p *problem) Hint() string  { return p.hint }

// redacted is all that a type prints which holds a secret.
const redacted = "[redacted]"

// hidden is embedded in what holds a secret. Package fmt does not ask it where
// that is in turn in a field which is not exported, and follows pointers where
// a verb does not fit. So the secret itself is what a function returns, of
// which nothing prints more than an address.
type hidden struct{}

func (hidden) String() string               { return redacted }
func (hidden) GoString() string             { return redacted }
func (hidden) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (hidden) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }
func (hidden) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (hidden) LogValue() slog.Value         { return slog.StringValue(redacted) }

// A Plaintext is a decrypted secret.
type Plaintext struct {
	hidden
	opened func() *opened
}

type opened struct {
	plaintext  []byte
	ciphertext []byte // nil where the payload was not encrypted
}

// Bytes returns the secret itself, until Wipe. It is not a copy.
func (p *Plaintext) Bytes() []byte { return p.opened().plaintext }

// Wipe overwrites the secret. Copies that the runtime and package age made on
// the way stay in memory until that is used again: nobody but root can read
// it, and none of it is ever swapped or dumped.
func (p *Plaintext) Wipe() {
	o := p.opened()
	clear(o.plaintext)
	o.plaintext = nil
}
