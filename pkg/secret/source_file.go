package secret

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"bootagent/pkg/fault"
	"bootagent/pkg/role/source"
	"bootagent/pkg/syntax"
)

// FileSource is the source file:///PATH: a file of this machine that is encrypted
// with age. Its version is the SHA-256 of its content.
type FileSource struct{}

// Syntax returns how a role file writes a file.
func (FileSource) Syntax() source.Syntax { return fileSyntax }

// Sealed returns true.
func (FileSource) Sealed() bool { return true }

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

// fileSyntax is how a role file writes a file of the image.
var fileSyntax = source.Syntax{
	Scheme: "file", Form: "file:///PATH",
	Fixed: func(ref string) string { return ref },
	Check: func(ref string) error {
		if !path.IsAbs(ref) || ref == "/" {
			return errors.New("not the path of a file: write three slashes, as in file:///etc/bootagent/sql.age")
		}
		return part("file", syntax.CheckPath(ref))
	},
	Near: func(text string) string {
		if path.IsAbs(text) {
			return "file://" + text
		}
		return ""
	},
	File: func(ref string) string { return ref },
}
