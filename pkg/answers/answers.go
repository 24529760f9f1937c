// Package answers keeps what programs answered to questions whose answers depend
// on nothing but the program, in files of one directory. It runs no program.
package answers

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// A Store is the kept answers. A program is the same as long as its file has the
// same number, size, and times of its last change.
type Store struct {
	Dir string // "" keeps nothing
	Log *slog.Logger
}

// Of returns the answer of a command: the kept one, or what ask returns, which is
// kept then. An answer that cannot be kept is a warning.
func (a Store) Of(argv []string, ask func() ([]byte, error)) ([]byte, error) {
	if a.Dir == "" {
		return ask()
	}
	mark, err := programMark(argv)
	if err != nil {
		return ask() // which tells what is wrong with the program
	}
	file := filepath.Join(a.Dir, fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(argv, "\x00"))))[:16])
	if kept, err := os.ReadFile(file); err == nil {
		if answer, ok := bytes.CutPrefix(kept, mark); ok {
			return answer, nil
		}
	}
	answer, err := ask()
	if err != nil {
		return nil, err
	}
	if err = os.MkdirAll(a.Dir, 0o700); err == nil {
		err = renameio.WriteFile(file, append(mark, answer...), 0o600)
	}
	if err != nil {
		a.Log.Warn("cannot keep the answer of a program, and asks it again at the next boot", "program", argv[0], "error", err)
	}
	return answer, nil
}

// programMark is a line that says which program a command is.
func programMark(argv []string) ([]byte, error) {
	info, err := os.Stat(argv[0])
	if err != nil {
		return nil, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s has no number", argv[0])
	}
	return fmt.Appendf(nil, "%q %d %d %d.%09d %d.%09d\n", argv, s.Ino, s.Size, s.Mtim.Sec, s.Mtim.Nsec, s.Ctim.Sec, s.Ctim.Nsec), nil
}
