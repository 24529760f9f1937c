package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/regular"
	"bootagent/pkg/role/source"
	"bootagent/pkg/syntax"
)

// File is the source file:///PATH: a file of this machine that is encrypted
// with age. Its version is the SHA-256 of its content.
type File struct{}

// Syntax returns how a role file writes a file.
func (File) Syntax() source.Syntax { return fileSyntax }

// Encrypted returns true.
func (File) Encrypted() bool { return true }

// Fetch reads the file. No error is permanent: somebody may put the file there.
func (File) Fetch(_ context.Context, path string) (host.Payload, error) {
	ciphertext, _, err := regular.Read(path, Max)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return host.Payload{}, fault.WithHint(fmt.Errorf("cannot fetch file://%s: %w", path, err),
			"write the encrypted secret there: bootagent secret encrypt --output "+path)
	case err != nil:
		return host.Payload{}, fmt.Errorf("cannot fetch file://%s: %w", path, err)
	}
	return EncryptedPayload(ciphertext, ""), nil
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
