package execstart

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// LoadEnvironment completes the environment of a service: it adds the variables
// of its EnvironmentFiles and removes those that are Unset.
func (s Service) LoadEnvironment() (Service, error) {
	s.Environment = slices.Clone(s.Environment)
	for _, pattern := range s.EnvironmentFiles {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return s, err
		}
		for _, file := range files {
			env, err := readEnvironmentFile(file)
			if err != nil {
				return s, fmt.Errorf("cannot read an EnvironmentFile= of %s: %w", s.Unit, err)
			}
			s.Environment = append(s.Environment, env...)
		}
	}
	s.Environment = slices.DeleteFunc(s.Environment, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(s.Unset, name) || slices.Contains(s.Unset, entry)
	})
	return s, nil
}

// environmentMax bounds how much of an EnvironmentFile= is read, in bytes.
const environmentMax = 64 << 10

// readEnvironmentFile reads the variables of an EnvironmentFile=
// (systemd.exec(5)): lines of NAME=VALUE, with quotes and comments. A file that
// does not exist has none.
func readEnvironmentFile(path string) ([]string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	text, err := io.ReadAll(io.LimitReader(f, environmentMax+1))
	if err == nil && len(text) > environmentMax {
		err = fmt.Errorf("%s has more than %d bytes", path, environmentMax)
	}
	return environment(string(text)), err
}

func environment(text string) (env []string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		env = append(env, strings.TrimSpace(name)+"="+value)
	}
	return env
}
