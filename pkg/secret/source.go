package secret

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A Source is where the ciphertext of a secret lies. String names it as a role
// file does.
type Source interface {
	Fetch(context.Context) ([]byte, error)
	String() string
}

// File is a source on this machine, by its path.
type File string

func (f File) String() string { return "file://" + string(f) }

// Fetch reads the file. An error is never final: somebody may put it there.
func (f File) Fetch(context.Context) ([]byte, error) {
	ciphertext, _, err := readRegular(string(f), CiphertextMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &problem{
			text: fmt.Sprintf("cannot fetch %s: there is no such file", f),
			hint: "seal the secret into it: bootagent secret encrypt --output " + string(f),
			fact: err,
		}
	case err != nil:
		return nil, fmt.Errorf("cannot fetch %s: %w", f, err)
	}
	return ciphertext, nil
}

// readRegular reads a regular file of up to most bytes.
func readRegular(path string, most int) ([]byte, fs.FileInfo, error) {
	// A pipe without a writer would hold up the open for good.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, bare(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, bare(err)
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("it is %s, and no regular file", kind(info.Mode()))
	}
	content, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	switch {
	case err != nil:
		return nil, nil, bare(err)
	case len(content) > most:
		clear(content)
		return nil, nil, tooLarge(most)
	}
	return content, info, nil
}

// bare is an error without the path, which is told already.
func bare(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

func tooLarge(most int) error {
	return fmt.Errorf("it has more than %d bytes, which is too much for a secret", most)
}
