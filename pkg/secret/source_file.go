package secret

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"bootagent/pkg/fault"
	"bootagent/pkg/policy"
)

// FileSource is the source file:///PATH: a file of this machine that is encrypted
// with age. Its version is the SHA-256 of its content.
type FileSource struct{}

// Scheme returns "file".
func (FileSource) Scheme() string { return "file" }

// Form returns how a role file writes a file.
func (FileSource) Form() string { return "file:///PATH" }

// Sealed returns true.
func (FileSource) Sealed() bool { return true }

// Check refuses a reference that is not an absolute path without . and ..
func (FileSource) Check(ref string) error {
	if !filepath.IsAbs(ref) || filepath.Clean(ref) != ref {
		return fmt.Errorf("file://%s is not an absolute path without . and ..: write file:///PATH", ref)
	}
	return nil
}

// Permit adds nothing: no call of AWS gets a file.
func (FileSource) Permit(*policy.Needs, string) {}

// Fetch reads the file. No error is permanent: somebody may put the file there.
func (FileSource) Fetch(_ context.Context, path string) (Payload, error) {
	ciphertext, _, err := readRegular(path, CiphertextMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Payload{}, fault.WithHint(fmt.Errorf("cannot fetch file://%s: %w", path, err),
			"write the encrypted secret there: bootagent secret encrypt --output "+path)
	case err != nil:
		return Payload{}, fmt.Errorf("cannot fetch file://%s: %w", path, err)
	}
	return sealedPayload(ciphertext, ""), nil
}
