// Package regular reads regular files that may be anything: it waits for no pipe,
// and reads no more than it has to.
package regular

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Read reads a regular file of up to most bytes. An error does not repeat the
// path.
func Read(path string, most int) ([]byte, fs.FileInfo, error) {
	// Without O_NONBLOCK, opening a pipe waits for a writer for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, Bare(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, nil, Bare(err)
	case !info.Mode().IsRegular():
		return nil, nil, fmt.Errorf("it is %s, not a regular file", kind(info.Mode()))
	}
	content, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	switch {
	case err != nil:
		return nil, nil, Bare(err)
	case len(content) > most:
		clear(content)
		return nil, nil, fmt.Errorf("it has more than %d bytes, which is too large", most)
	}
	return content, info, nil
}

// Bare returns an error without the path, for a text that has it already.
func Bare(err error) error {
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
