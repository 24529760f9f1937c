package secret

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"bootagent/pkg/secret/credential"
	"bootagent/pkg/secret/regular"
	"bootagent/pkg/secret/sources"
)

// A Cache is the directory with the last good ciphertext of each secret, so that a
// machine boots again without the source. A file in it is as age made it. Its name
// ends with a hash of the source, so that a secret that comes from elsewhere now
// is not taken from where it came before.
type Cache string

// ErrNotCached says that the ciphertext of a secret from a source was never cached.
var ErrNotCached = errors.New("no ciphertext is cached")

// Put caches the ciphertext that a plaintext was decrypted from: what was never
// decrypted can't be cached. It removes what was cached of the secret from other
// sources. A secret that was not encrypted is not cached.
func (c Cache) Put(name, source string, p *Plaintext) error {
	ciphertext := p.opened().ciphertext
	if ciphertext == nil {
		return nil
	}
	path, err := c.path(name, source)
	if err != nil {
		return err
	}
	if err := c.put(path, ciphertext); err != nil {
		return fmt.Errorf("cannot cache the ciphertext of %s: %w", name, err)
	}
	return c.forgetOthers(name, path)
}

func (c Cache) put(path string, ciphertext []byte) error {
	if err := os.MkdirAll(string(c), 0o700); err != nil {
		return err
	}
	if cached, _, err := regular.Read(path, sources.Max); err == nil && bytes.Equal(cached, ciphertext) {
		now := time.Now()
		return os.Chtimes(path, now, now) // it is good as of now
	}
	return renameio.WriteFile(path, ciphertext, 0o600)
}

// Get returns the last good ciphertext of a secret from a source, and when it was
// last good. The error is ErrNotCached where there is none.
func (c Cache) Get(name, source string) (ciphertext []byte, when time.Time, err error) {
	path, err := c.path(name, source)
	if err != nil {
		return nil, time.Time{}, err
	}
	ciphertext, info, err := regular.Read(path, sources.Max)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, time.Time{}, fmt.Errorf("%w of %s from %s", ErrNotCached, name, source)
	case err != nil:
		return nil, time.Time{}, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return ciphertext, info.ModTime(), nil
}

func (c Cache) forgetOthers(name, path string) error {
	entries, err := os.ReadDir(string(c))
	for _, e := range entries {
		hash, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), suffix), name+".")
		if other := filepath.Join(string(c), e.Name()); ok && isHash(hash) && other != path {
			err = errors.Join(err, os.Remove(other))
		}
	}
	if err != nil {
		return fmt.Errorf("cannot remove the cached ciphertext of %s from other sources: %w", name, err)
	}
	return nil
}

const suffix = ".age"

func (c Cache) path(name, source string) (string, error) {
	if err := credential.CheckName(name); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(source))
	return filepath.Join(string(c), name+"."+hex.EncodeToString(sum[:8])+suffix), nil
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 8
}
