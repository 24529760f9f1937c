package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// A Sealing is for whom a person wants a secret to be sealed.
type Sealing struct {
	To              []string // public keys of machines
	Recovery        []string // of who opens it when those are lost
	WithoutRecovery bool     // the person knows that nobody does
}

// Recipients are all public keys that it is sealed for, or what is wrong with
// the wish.
func (s Sealing) Recipients() ([]string, error) {
	switch {
	case len(s.To) == 0:
		return nil, errors.New("no recipient: pass --recipient with the machine's public key")
	case len(s.Recovery) == 0 && !s.WithoutRecovery:
		return nil, errors.New("no recovery key: pass --recovery with a public key whose private key is kept elsewhere, or --without-recovery if the secret may be lost with the machine's key")
	case len(s.Recovery) > 0 && s.WithoutRecovery:
		return nil, errors.New("--recovery and --without-recovery exclude each other")
	}
	all := slices.Concat(s.To, s.Recovery)
	_, err := parseRecipients(all)
	return all, err
}

// Seal encrypts a secret for recipients, public keys of age. It writes only
// when it has all of it.
func Seal(w io.Writer, plaintext io.Reader, recipients []string, armored bool) error {
	to, err := parseRecipients(recipients)
	if err != nil {
		return err
	}
	// Room for all of it, so that nothing is left behind by a buffer that grows.
	text, err := readInto(make([]byte, 0, PlaintextMax+2), io.LimitReader(plaintext, PlaintextMax+1))
	defer clear(text)
	switch {
	case err != nil:
		return fmt.Errorf("cannot read what is to be sealed: %w", err)
	case len(text) == 0:
		return &problem{text: "nothing is there to be sealed: standard input is empty", hint: "a program may take an empty password for none"}
	case len(bytes.TrimSpace(bytes.TrimPrefix(text, []byte(byteOrderMark)))) == 0:
		return &problem{text: "nothing is there to be sealed: standard input holds white space alone", hint: "find out why what should print the secret prints none"}
	case len(text) > PlaintextMax:
		return &problem{text: fmt.Sprintf("what is to be sealed has more than %d bytes, which is all that systemd has room for", PlaintextMax)}
	case isSealed(text):
		return &problem{text: "what is to be sealed is a file of age already", hint: "open it first, with age -d"}
	}
	var sealed bytes.Buffer
	if err := encrypt(&sealed, text, to, armored); err != nil {
		return fmt.Errorf("cannot seal it: %w", err)
	}
	_, err = w.Write(sealed.Bytes())
	return err
}

func encrypt(to io.Writer, text []byte, recipients []age.Recipient, armored bool) error {
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

func isSealed(text []byte) bool {
	_, err := unarmored(text)
	return err == nil || errors.Is(err, errSavedOtherwise)
}

func parseRecipients(texts []string) ([]age.Recipient, error) {
	if len(texts) == 0 {
		return nil, errors.New("nobody is named to seal it for")
	}
	all := make([]age.Recipient, len(texts))
	quantum := 0
	for i, text := range texts {
		r, err := parseRecipient(text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(texts[:i], text) {
			return nil, fmt.Errorf("the public key %s is named twice: the second one has to be another key, or it is lost with the first", Short(text))
		}
		if _, ok := r.(*age.HybridRecipient); ok {
			quantum++
		}
		all[i] = r
	}
	if quantum != 0 && quantum != len(all) {
		return nil, errors.New("some of the public keys are post-quantum, age1pq1..., and some are not: all have to be, or none, as the weakest is what protects the secret; age-keygen -pq makes such keys")
	}
	return all, nil
}

// parseRecipient reads a public key. What does not look like one is not
// quoted: it may be a secret that was put in its place.
func parseRecipient(text string) (age.Recipient, error) {
	broken := fmt.Errorf("%q begins as a public key of age and is not one: it was cut or changed; copy it again", Short(text))
	switch {
	case encodedAs([]byte(text)) != "":
		return nil, fmt.Errorf("a public key %s, which can't be seen: copy it from behind that", encodedAs([]byte(text)))
	case strings.HasPrefix(text, "age1pq1"):
		r, err := age.ParseHybridRecipient(text)
		if err != nil {
			return nil, broken
		}
		return r, nil
	case strings.HasPrefix(text, "age1") && isPlugin(text):
		return nil, fmt.Errorf("%q is of a plugin of age, and bootagent opens nothing with those", Short(text))
	case strings.HasPrefix(text, "age1"):
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, broken
		}
		return r, nil
	case secretKey.MatchString(text):
		return nil, errors.New("a private key was given where a public one belongs, age1...: whoever saw the command has it now, so make a new one with age-keygen")
	case strings.HasPrefix(text, "ssh-"):
		return nil, errors.New("a key of SSH was given: bootagent opens secrets with keys that age-keygen made, and those begin with age1")
	}
	return nil, errors.New("what was given for a public key is none: one looks like age1..., and age-keygen prints it")
}

// isPlugin tells a plugin's recipient, age1NAME1..., by the 1 in it: in the
// data of a public key there is none.
func isPlugin(text string) bool {
	return strings.Contains(text[len("age1"):], "1")
}
