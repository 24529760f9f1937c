package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"bootagent/pkg/fault"
)

// An Encryption says for whom a person encrypts a secret.
type Encryption struct {
	To              []string // recipients: machines
	Recovery        []string // recipients that decrypt it when the machines' age identities are lost
	WithoutRecovery bool     // the person accepts that then nobody can
}

// Recipients returns all recipients, or what is wrong with them.
func (e Encryption) Recipients() ([]string, error) {
	switch {
	case len(e.To) == 0:
		return nil, errors.New("no recipient: pass --recipient with the machine's public key")
	case len(e.Recovery) == 0 && !e.WithoutRecovery:
		return nil, errors.New("no recovery recipient: if the machine's age identity is lost, so is the secret; pass --recovery with a public key whose age identity you keep elsewhere, or --without-recovery")
	case len(e.Recovery) > 0 && e.WithoutRecovery:
		return nil, errors.New("--recovery and --without-recovery contradict each other: pass one of them")
	}
	all := slices.Concat(e.To, e.Recovery)
	_, err := parseRecipients(all)
	return all, err
}

// Encrypt encrypts a secret for recipients. It writes only when it has read all of
// the secret.
func Encrypt(w io.Writer, plaintext io.Reader, recipients []string, armored bool) error {
	to, err := parseRecipients(recipients)
	if err != nil {
		return err
	}
	// Room for all of it, so that nothing is left behind by a buffer that grows.
	text, err := readInto(make([]byte, 0, PlaintextMax+2), io.LimitReader(plaintext, PlaintextMax+1))
	defer clear(text)
	switch {
	case err != nil:
		return fmt.Errorf("cannot read the secret: %w", err)
	case len(text) == 0:
		return fault.WithHint(errors.New("cannot encrypt: standard input is empty"), "a program may take an empty password for no password")
	case len(bytes.TrimSpace(bytes.TrimPrefix(text, []byte(byteOrderMark)))) == 0:
		return fault.WithHint(errors.New("cannot encrypt: standard input has only white space"), "check why the program that should print the secret does not")
	case len(text) > PlaintextMax:
		return fmt.Errorf("cannot encrypt: the secret has more than %d bytes, and systemd accepts no more", PlaintextMax)
	case IsEncrypted(text):
		return fault.WithHint(errors.New("cannot encrypt: the secret is encrypted with age already"), "decrypt it first, with age -d")
	}
	var encrypted bytes.Buffer
	if err := encryptTo(&encrypted, text, to, armored); err != nil {
		return fmt.Errorf("cannot encrypt: %w", err)
	}
	_, err = w.Write(encrypted.Bytes())
	return err
}

// EncryptToFile is Encrypt with a file that does not exist yet. If it fails, it leaves no
// file.
func EncryptToFile(path string, plaintext io.Reader, recipients []string, armored bool) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write the encrypted secret: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	return Encrypt(f, plaintext, recipients, armored)
}

func encryptTo(to io.Writer, text []byte, recipients []age.Recipient, armored bool) error {
	closeArmor := func() error { return nil }
	if armored {
		a := armor.NewWriter(to)
		to, closeArmor = a, a.Close
	}
	w, err := age.Encrypt(to, recipients...)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return closeArmor()
}

// IsEncrypted reports whether a text is encrypted by age, binary or armored.
func IsEncrypted(text []byte) bool {
	_, err := unarmored(text)
	return err == nil || errors.Is(err, errSavedOtherwise)
}

func parseRecipients(texts []string) ([]age.Recipient, error) {
	if len(texts) == 0 {
		return nil, errors.New("no recipient")
	}
	all := make([]age.Recipient, len(texts))
	quantum := 0
	for i, text := range texts {
		r, err := parseRecipient(text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(texts[:i], text) {
			return nil, fmt.Errorf("the recipient %s is given twice: the second has to be another one, or it is lost with the first", Short(text))
		}
		if _, ok := r.(*age.HybridRecipient); ok {
			quantum++
		}
		all[i] = r
	}
	if quantum != 0 && quantum != len(all) {
		return nil, errors.New("some recipients are post-quantum, age1pq1..., and some are not: use one kind, because the weakest protects the secret; age-keygen -pq makes post-quantum ones")
	}
	return all, nil
}

// parseRecipient reads a recipient. It does not quote what does not look like one:
// that may be a secret.
func parseRecipient(text string) (age.Recipient, error) {
	broken := fmt.Errorf("%q is a damaged recipient: a part is missing or changed; copy it again", Short(text))
	switch {
	case encodedAs([]byte(text)) != "":
		return nil, fmt.Errorf("a recipient %s, which you can't see: copy what follows it", encodedAs([]byte(text)))
	case strings.HasPrefix(text, "age1pq1"):
		r, err := age.ParseHybridRecipient(text)
		if err != nil {
			return nil, broken
		}
		return r, nil
	case strings.HasPrefix(text, "age1") && isPlugin(text):
		return nil, fmt.Errorf("%q is a recipient of an age plugin, which bootagent does not support", Short(text))
	case strings.HasPrefix(text, "age1"):
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, broken
		}
		return r, nil
	case secretKey.MatchString(text):
		return nil, errors.New("this is an age identity, the private key, where a recipient, age1..., has to be: others may have seen the command, so make a new one with age-keygen")
	case strings.HasPrefix(text, "ssh-"):
		return nil, errors.New("this is an SSH key, which bootagent does not support: a recipient begins with age1, and age-keygen prints it")
	}
	return nil, errors.New("this is not a recipient: one begins with age1, and age-keygen prints it")
}

// isPlugin recognises a plugin's recipient, age1NAME1..., by the second 1: there is
// none in the data of a recipient.
func isPlugin(text string) bool {
	return strings.Contains(text[len("age1"):], "1")
}
