package secret

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"bootagent/pkg/role/source"
)

// A Source is one kind of place that secrets come from. A role file names a
// place in it as SCHEME://REFERENCE.
type Source interface {
	Syntax() source.Syntax // how a role file writes it, and what IAM has to allow
	Sealed() bool          // its payloads are encrypted with age

	// Fetch gets the payload of a reference. Its error names the place, and is
	// permanent only where no change at the source can help.
	Fetch(ctx context.Context, ref string) (Payload, error)
}

// Sources returns all sources. It is the one list of them: a new source is a file
// and one line here. Objects may be nil where nothing
// is fetched, and on a machine outside AWS.
func Sources(objects Objects) []Source {
	return []Source{
		S3Source{objects},
		FileSource{},
	}
}

// A Payload is what a source holds of a secret.
type Payload struct {
	Bytes   func() []byte // behind a function, so that nothing prints an unsealed one
	Version string        // tells payloads of the same reference apart
	Sealed  bool          // it is encrypted with age
}

// sourceOf returns the source that a role file names.
func sourceOf(sources []Source, from source.Source) (Source, error) {
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

// digest is the version of a payload whose source has no versions.
func digest(payload []byte) string {
	sum := sha256.Sum256(payload)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// sealedPayload returns a payload that is encrypted with age.
func sealedPayload(ciphertext []byte, version string) Payload {
	if version == "" {
		version = digest(ciphertext)
	}
	return Payload{Bytes: func() []byte { return ciphertext }, Version: version, Sealed: true}
}
