package userdata

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"bootagent/pkg/strictyaml"
)

// maxUnpacked bounds what packed user-data may unpack to: gzip packs a
// thousand bytes into one, and EC2 hands out 16 KiB at the most.
const maxUnpacked = 1 << 20

// broken gives the error for user-data that can't be read as ours.
func broken(name string, line int, format string, args ...any) error {
	return strictyaml.Errors{{File: name, Line: line, Column: 1, Problem: fmt.Sprintf(format, args...)}}
}

func isGzip(data []byte) bool { return bytes.HasPrefix(data, []byte{0x1f, 0x8b}) }

// unpack gives what gzip packed, or data itself where it is not packed.
func unpack(name string, data []byte) ([]byte, error) {
	if !isGzip(data) {
		return data, nil
	}
	packed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, broken(name, 1, "gzip data that can't be unpacked: %v", err)
	}
	text, err := readAll(packed)
	switch {
	case errors.Is(err, errLarge):
		return nil, broken(name, 1, "gzip data of more than 1 MiB; bootagent unpacks no more")
	case err != nil:
		return nil, broken(name, 1, "gzip data that can't be unpacked: %v", err)
	}
	return text, nil
}

var errLarge = errors.New("unpacks to more than 1 MiB")

// readAll reads what is unpacked, up to what is bounded.
func readAll(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if len(text) > maxUnpacked {
		return nil, errLarge
	}
	return text, err
}
