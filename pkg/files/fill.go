package files

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role/file"
)

const (
	// most bounds a file, in bytes.
	most = 64 << 10

	// secretMost bounds a secret that is put into a file, in bytes.
	secretMost = 4 << 10
)

// Fill returns the content of a file. Read returns a secret as it is staged for a
// service, and what it returns is overwritten. The errors tell nothing of a secret;
// those that come of what a secret is are permanent.
func Fill(f host.File, read func(unit, credential string) ([]byte, error)) (content []byte, err error) {
	var b bytes.Buffer
	for _, piece := range f.Content {
		if piece.Secret == nil {
			b.WriteString(piece.Text)
			continue
		}
		secret, err := read(piece.Secret.Services[0], piece.Secret.Credential)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", piece.Secret.Name, err)
		}
		value, err := line(secret)
		clear(secret)
		if err != nil {
			return nil, fault.Refuse("encrypt a secret of one line, and reboot",
				"secret %s can't be put into file %s: it %w", piece.Secret.Name, f.Name, err)
		}
		if piece.Quoted {
			value = file.Quote(value)
		}
		b.WriteString(value)
	}
	if b.Len() > most {
		return nil, fault.Permanent(fmt.Errorf("file %s would have %d bytes, and at most %d are allowed", f.Name, b.Len(), most))
	}
	return b.Bytes(), nil
}

// line is a secret as it stands in a file: without the line break that editors put
// at the end. It may have no other.
func line(secret []byte) (string, error) {
	text := strings.TrimSuffix(strings.TrimSuffix(string(secret), "\n"), "\r")
	switch {
	case text == "":
		return "", errors.New("is empty")
	case len(text) > secretMost:
		return "", fmt.Errorf("has %d bytes, and at most %d are allowed", len(text), secretMost)
	}
	return text, file.CheckLine(text)
}
