// Package secret fetches what was sealed with age, opens it in memory, and
// stages it where systemd takes credentials from.
//
// It reads objects of S3, files, and what a command for keys prints. It writes
// ciphertext to a cache on disk, and plaintext to a folder that is on ramfs and
// nowhere else. Of units it knows a name, which is a folder there.
//
// Nothing that it returns, prints or puts into an error tells a plaintext or a
// key: age's own errors are never handed on, as they quote what they can't read.
//
// Errors may have the methods Hint, what a person can do, and Final, whether
// trying again is in vain. Nearly nothing here is: a person uploads what was
// missing, allows what was forbidden, or hands in a key, and then the next try
// succeeds.
package secret

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

const (
	// CredentialsMax is what systemd takes for all credentials of a unit
	// together, names included, in bytes: systemd.exec(5), "Credentials".
	CredentialsMax = 1 << 20

	// nameMax is the longest name of a credential, in bytes: it is a file's name.
	nameMax = 255

	// PlaintextMax bounds the plaintext of one secret, in bytes, so that a unit
	// that has no other takes it under any name.
	PlaintextMax = CredentialsMax - nameMax

	// CiphertextMax bounds what is fetched, in bytes: the largest plaintext in
	// armor, and room for a thousand recipients.
	CiphertextMax = 2 << 20
)

// problem is an error that says what a person can do about it.
type problem struct {
	text  string
	hint  string
	final bool
	fact  error // what errors.Is and errors.As find
}

func (p *problem) Error() string   { return p.text }
func (p *problem) Unwrap() error   { return p.fact }
func (p *problem) Hint() string    { return p.hint }
func (p *problem) Permanent() bool { return p.final }

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

// A Plaintext is an opened secret.
type Plaintext struct {
	hidden
	opened func() *opened
}

type opened struct{ plaintext, ciphertext []byte }

// Bytes is the secret itself, until Wipe. It is not a copy.
func (p *Plaintext) Bytes() []byte { return p.opened().plaintext }

// Wipe overwrites the secret. Copies that the runtime and package age made on
// the way stay in memory until that is used again: nobody but root can read
// it, and none of it is ever swapped or dumped.
func (p *Plaintext) Wipe() {
	o := p.opened()
	clear(o.plaintext)
	o.plaintext = nil
}
