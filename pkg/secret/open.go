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
	// ErrNotEncrypted says that age did not make the payload.
	ErrNotEncrypted = errors.New("is not encrypted with age")

	// ErrDamaged says that a part of the payload is missing, or was changed.
	ErrDamaged = errors.New("is damaged")

	// ErrPassphrase says that the payload is encrypted with a passphrase.
	ErrPassphrase = errors.New("is encrypted with a passphrase")

	// ErrUnfit says that the secret is empty or too large.
	ErrUnfit = errors.New("is empty or too large")
)

// A NoKeyError says that no age identity here decrypts a secret. Another may.
type NoKeyError struct {
	Here    []string // the recipients of those that are here
	foreign bool     // none of its recipients is of a kind that bootagent supports
}

func (e *NoKeyError) Error() string {
	switch {
	case e.foreign:
		return "is encrypted for SSH keys or age plugins only, and bootagent supports neither"
	case len(e.Here) == 0:
		return "is encrypted, and the agent has no age identity yet"
	case len(e.Here) == 1:
		return fmt.Sprintf("is encrypted for other recipients: the only age identity here has the recipient %s", Short(e.Here[0]))
	}
	return fmt.Sprintf("is encrypted for other recipients: the %d age identities here have the recipients %s", len(e.Here), shortList(e.Here))
}

// Hint says what a person can do.
func (e *NoKeyError) Hint() string {
	switch {
	case e.foreign:
		return "encrypt it again for a recipient that age-keygen printed: bootagent secret encrypt"
	case len(e.Here) == 0:
		return "bring its age identity: bootagent unlock"
	}
	return "bring its age identity, bootagent unlock, or encrypt it again for a recipient that is here; an encrypted file does not say for whom it is"
}

// age's files begin so: https://age-encryption.org/v1, and its armor.
const (
	binaryMark = "age-encryption.org/v1\n"
	armorMark  = armor.Header
)

// Decrypt decrypts a ciphertext, binary or armored. What it returns was read to
// its authenticated end. The error is a NoKeyError or one of the facts above; its
// text completes the name of the secret, and quotes nothing of it.
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
	if err != nil {
		return nil, damaged()
	}
	return newPlaintext(plaintext, slices.Clone(ciphertext))
}

// newPlaintext returns a secret, and wipes one that systemd can't take. The
// ciphertext is nil where there is none.
func newPlaintext(plaintext, ciphertext []byte) (*Plaintext, error) {
	switch {
	case len(plaintext) == 0:
		return nil, &problem{text: "is an empty secret", hint: "store the secret again: a program may take an empty password for no password", fact: ErrUnfit}
	case len(plaintext) > PlaintextMax:
		clear(plaintext)
		return nil, &problem{text: fmt.Sprintf("has %d bytes, and systemd accepts %d at most", len(plaintext), PlaintextMax), fact: ErrUnfit}
	}
	o := &opened{plaintext, ciphertext}
	return &Plaintext{opened: func() *opened { return o }}, nil
}

// unarmored returns a reader of the binary form of a ciphertext.
func unarmored(ciphertext []byte) (io.Reader, error) {
	text := bytes.TrimLeft(ciphertext, " \t\r\n")
	if as := encodedAs(ciphertext); as != "" {
		hint := "save it as UTF-8 without one, or upload the file again that bootagent secret encrypt --output wrote"
		if isUTF8 := bytes.HasPrefix(ciphertext, []byte(byteOrderMark)); !isUTF8 {
			hint = "encrypt it again with --output, because a shell may change what it redirects: bootagent secret encrypt"
		}
		if plain := asciiOf(ciphertext); bytes.HasPrefix(plain, []byte(armorMark)) || bytes.HasPrefix(plain, []byte("age-encryption.org/")) {
			return nil, &problem{text: as + "; a file of age does not", hint: hint, fact: errSavedOtherwise}
		}
	}
	// A few bytes could be anything's.
	begins := func(with string) bool { return len(text) >= 8 && bytes.HasPrefix([]byte(with), text) }
	switch {
	case len(text) == 0:
		return nil, &problem{text: "has no content", hint: sealHint, fact: ErrNotEncrypted}
	case bytes.HasPrefix(ciphertext, []byte(binaryMark)):
		return bytes.NewReader(ciphertext), nil
	case bytes.HasPrefix(text, []byte(armorMark)):
		return armor.NewReader(bytes.NewReader(ciphertext)), nil
	case begins(binaryMark), begins(armorMark):
		return nil, damaged()
	case bytes.HasPrefix(text, []byte("age-encryption.org/")):
		return nil, &problem{text: "is in another version of age's format, or was changed", hint: sealHint, fact: ErrDamaged}
	}
	return nil, &problem{
		text: "is not encrypted with age",
		hint: sealHint + "; if the secret itself was stored there, others may have read it: replace it",
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

const sealHint = "encrypt the secret and store the result there: bootagent secret encrypt"

func damaged() error {
	return &problem{text: "is damaged: it begins like a file of age, but a part is missing or changed", hint: "upload it again, or encrypt it again: bootagent secret encrypt", fact: ErrDamaged}
}

// notOpened returns the error for what age says before it hands out a byte.
func notOpened(err error, here []string) error {
	none := (*age.NoIdentityMatchError)(nil)
	if !errors.As(err, &none) {
		return damaged()
	}
	if slices.Contains(none.StanzaTypes, "scrypt") {
		return &problem{text: "is encrypted with a passphrase, which nobody can type here", hint: "encrypt it for a recipient: bootagent secret encrypt", fact: ErrPassphrase}
	}
	ours := slices.ContainsFunc(none.StanzaTypes, func(t string) bool { return t == "X25519" || t == "mlkem768x25519" })
	return &NoKeyError{Here: here, foreign: !ours}
}

// nobody is an age identity that decrypts nothing.
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
