package secret

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"bootagent/pkg/policy"
)

// A Source is one kind of place that secrets come from. A role file names a
// place in it as SCHEME://REFERENCE.
type Source interface {
	Scheme() string // "s3"
	Form() string   // how a role file writes it: "s3://BUCKET/KEY"
	Sealed() bool   // its payloads are encrypted with age

	// Check refuses a reference that can't be one of this source.
	Check(ref string) error

	// Permit adds what IAM has to allow for a reference.
	Permit(needs *policy.Needs, ref string)

	// Fetch gets the payload of a reference. Its error names the place, and is
	// permanent only where no change at the source can help.
	Fetch(ctx context.Context, ref string) (Payload, error)
}

// Sources returns all sources that there are. Objects may be nil where nothing
// is fetched, and on a machine outside AWS.
func Sources(objects Objects) []Source {
	return []Source{S3Source{objects}, FileSource{}}
}

// A Payload is what a source holds of a secret.
type Payload struct {
	Bytes   func() []byte // behind a function, so that nothing prints an unsealed one
	Version string        // tells payloads of the same reference apart
	Sealed  bool          // it is encrypted with age
}

// sourceOf returns the source of a place, and the reference.
func sourceOf(sources []Source, place string) (source Source, ref string, err error) {
	scheme, ref, is := strings.Cut(place, "://")
	var forms []string
	for _, s := range sources {
		if is && s.Scheme() == scheme {
			return s, ref, s.Check(ref)
		}
		forms = append(forms, s.Form())
	}
	return nil, "", fmt.Errorf("no source of secrets has the form of %q (allowed: %s)", place, strings.Join(forms, ", "))
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
