package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
	"filippo.io/age/armor"
)

var (
	// ErrNotEncrypted says that what was fetched is nothing that age made.
	ErrNotEncrypted = errors.New("is not encrypted with age")

	// ErrDamaged says that what was fetched is not all that age made, or was changed.
	ErrDamaged = errors.New("is damaged or cut short")

	// ErrPassphrase says that it was encrypted with a passphrase, which nobody
	// is there to type.
	ErrPassphrase = errors.New("is encrypted with a passphrase")

	// ErrUnfit says that it was opened, and is empty or too large.
	ErrUnfit = errors.New("is empty or too large")
)

// A NoKeyError says that no key here opens a secret. Another key may.
type NoKeyError struct {
	Here    []string // the public keys of those that are here
	foreign bool     // none of its recipients is of a kind that we have
}

func (e *NoKeyError) Error() string {
	switch {
	case e.foreign:
		return "is sealed for keys of SSH or of a plugin only, and bootagent takes neither"
	case len(e.Here) == 0:
		return "is sealed, and no key is here to open it"
	case len(e.Here) == 1:
		return fmt.Sprintf("is sealed for others: the only key here, %s, does not open it", Short(e.Here[0]))
	}
	return fmt.Sprintf("is sealed for others: none of the %d keys here opens it: %s", len(e.Here), shortList(e.Here))
}

// Hint is what a person can do.
func (e *NoKeyError) Hint() string {
	switch {
	case e.foreign:
		return "seal it anew for a key that age-keygen made: bootagent secret encrypt"
	case len(e.Here) == 0:
		return "hand in its key: bootagent unlock"
	}
	return "hand in its key, bootagent unlock, or seal it anew for one that is here; age does not tell for whom it is sealed"
}

// age's files begin so: https://age-encryption.org/v1, and its armor.
const (
	binaryMark = "age-encryption.org/v1\n"
	armorMark  = armor.Header
)

// Decrypt opens a ciphertext, binary or armored. What it returns was read to
// its authenticated end. The error is a NoKeyError or one of the facts above;
// its words complete the name of the secret, and quote nothing of it.
func Decrypt(ciphertext []byte, keys *Keys) (*Plaintext, error) {
	src, err := unarmored(ciphertext)
	if err != nil {
		return nil, err
	}
	here := keys.Recipients()
	identities := keys.identities()
	if len(identities) == 0 {
		identities = []age.Identity{nobody{}} // age takes no less than one
	}
	r, err := age.Decrypt(src, identities...)
	if err != nil {
		return nil, notOpened(err, here)
	}
	// Plaintext is never longer than its ciphertext, so nothing is left behind
	// by a buffer that grows.
	plaintext, err := readInto(make([]byte, 0, len(ciphertext)), r)
	switch {
	case err != nil:
		return nil, damaged()
	case len(plaintext) == 0:
		return nil, &problem{text: "is sealed, and nothing is in it", hint: "a program may take an empty password for none; seal it anew", fact: ErrUnfit}
	case len(plaintext) > PlaintextMax:
		clear(plaintext)
		return nil, &problem{text: fmt.Sprintf("has %d bytes, and %d is the most that systemd has room for", len(plaintext), PlaintextMax), fact: ErrUnfit}
	}
	o := &opened{plaintext, slices.Clone(ciphertext)}
	return &Plaintext{opened: func() *opened { return o }}, nil
}

// unarmored is the binary file of a ciphertext, to be read.
func unarmored(ciphertext []byte) (io.Reader, error) {
	text := bytes.TrimLeft(ciphertext, " \t\r\n")
	if as := encodedAs(ciphertext); as != "" {
		hint := "save it as UTF-8 without one, or upload it again, from the file that bootagent secret encrypt --output wrote"
		if isUTF8 := bytes.HasPrefix(ciphertext, []byte(byteOrderMark)); !isUTF8 {
			hint = "seal it anew with --output, as a shell that redirects may change what is written: bootagent secret encrypt"
		}
		if plain := asciiOf(ciphertext); bytes.HasPrefix(plain, []byte(armorMark)) || bytes.HasPrefix(plain, []byte("age-encryption.org/")) {
			return nil, &problem{text: as + ", where a file of age should begin", hint: hint, fact: errSavedOtherwise}
		}
	}
	// A few bytes could be anything's.
	begins := func(with string) bool { return len(text) >= 8 && bytes.HasPrefix([]byte(with), text) }
	switch {
	case len(text) == 0:
		return nil, &problem{text: "is empty, where a file of age should be", hint: sealHint, fact: ErrNotEncrypted}
	case bytes.HasPrefix(ciphertext, []byte(binaryMark)):
		return bytes.NewReader(ciphertext), nil
	case bytes.HasPrefix(text, []byte(armorMark)):
		return armor.NewReader(bytes.NewReader(ciphertext)), nil
	case begins(binaryMark), begins(armorMark):
		return nil, damaged()
	case bytes.HasPrefix(text, []byte("age-encryption.org/")):
		return nil, &problem{text: "is of another version of age's format, or was changed", hint: sealHint, fact: ErrDamaged}
	}
	return nil, &problem{
		text: "is not encrypted with age",
		hint: sealHint + "; if it lay there readable, change the secret itself too",
		fact: ErrNotEncrypted,
	}
}

// errSavedOtherwise is ErrDamaged of a file that was saved in another encoding.
var errSavedOtherwise = fmt.Errorf("%w: saved in another encoding", ErrDamaged)

// asciiOf is the beginning of a text without what another encoding adds to
// plain letters.
func asciiOf(text []byte) []byte {
	var plain []byte
	for _, b := range text[:min(len(text), 256)] {
		if b != 0 && b < 0x80 {
			plain = append(plain, b)
		}
	}
	return bytes.TrimLeft(plain, " \t\r\n")
}

const sealHint = "seal it and upload that: bootagent secret encrypt"

func damaged() error {
	return &problem{text: "is damaged or cut short: it begins as a file of age, and does not open whole", hint: "upload it again, or seal it anew: bootagent secret encrypt", fact: ErrDamaged}
}

// notOpened is the error for what age says before it hands out a byte.
func notOpened(err error, here []string) error {
	none := (*age.NoIdentityMatchError)(nil)
	if !errors.As(err, &none) {
		return damaged()
	}
	if slices.Contains(none.StanzaTypes, "scrypt") {
		return &problem{text: "is encrypted with a passphrase, and nobody is there to type it", hint: "seal it for a key: bootagent secret encrypt", fact: ErrPassphrase}
	}
	ours := slices.ContainsFunc(none.StanzaTypes, func(t string) bool { return t == "X25519" || t == "mlkem768x25519" })
	return &NoKeyError{Here: here, foreign: !ours}
}

// nobody opens nothing.
type nobody struct{}

func (nobody) Unwrap([]*age.Stanza) ([]byte, error) { return nil, age.ErrIncorrectIdentity }

// readInto reads to the end into a buffer with room for it. After an error
// nothing of what was read is left.
func readInto(buf []byte, r io.Reader) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, 1)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			clear(buf)
			return nil, err
		}
	}
}
