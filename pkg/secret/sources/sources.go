// Package sources has the places that secrets come from. Each fetches what is
// there, and says how a role file writes it and what IAM has to allow. It decrypts
// nothing.
package sources

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"bootagent/pkg/host"
	"bootagent/pkg/role/source"
)

// Max bounds what is fetched, in bytes: the largest plaintext in armor, and room
// for a thousand recipients.
const Max = 2 << 20

// A Source is one kind of place that secrets come from. A role file names a
// place in it as SCHEME://REFERENCE.
type Source interface {
	Syntax() source.Syntax // how a role file writes it, and what IAM has to allow
	Encrypted() bool       // its payloads are encrypted with age

	// Fetch gets the payload of a reference. Its error names the place, and is
	// permanent only where no change at the source can help.
	Fetch(ctx context.Context, ref string) (host.Payload, error)
}

// All returns all sources. It is the one list of them: a new source is a file
// and one line here. Objects may be nil where nothing
// is fetched, and on a machine outside AWS.
func All(objects Objects) []Source {
	return []Source{
		S3{objects},
		File{},
	}
}

// Of returns the source that a role file names.
func Of(sources []Source, from source.Source) (Source, error) {
	for _, s := range sources {
		if syntax := s.Syntax(); syntax.Scheme == from.Scheme {
			return s, syntax.Check(from.Ref)
		}
	}
	return nil, fmt.Errorf("unknown source of secrets: %q", from)
}

// part adds to an error which part of a reference it is about.
func part(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Digest is the version of a payload whose source has no versions.
func Digest(payload []byte) string {
	sum := sha256.Sum256(payload)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// EncryptedPayload returns a payload that is encrypted with age. Without a version it
// is told apart by its content.
func EncryptedPayload(ciphertext []byte, version string) host.Payload {
	if version == "" {
		version = Digest(ciphertext)
	}
	return host.Payload{Bytes: func() []byte { return ciphertext }, Version: version, Encrypted: true}
}
