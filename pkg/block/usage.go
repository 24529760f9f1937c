package block

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// usage says what uses a disk or one of its partitions, and which partitions
// the kernel sees on it. The exclusive open is what keeps others out; this
// finds the words for who they are.
func (s System) usage(major, minor uint32) (users, partitions []string, err error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(s.Sys, "dev/block", fmt.Sprintf("%d:%d", major, minor)))
	if err != nil {
		return nil, nil, fmt.Errorf("the kernel does not show device %d:%d: %w", major, minor, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	numbers := map[string]string{fmt.Sprintf("%d:%d", major, minor): filepath.Base(dir)}
	for _, e := range entries {
		part := filepath.Join(dir, e.Name())
		if _, err := os.Stat(filepath.Join(part, "partition")); err == nil {
			partitions = append(partitions, e.Name())
			if number := readLine(part, "dev"); number != "" {
				numbers[number] = e.Name()
			}
		}
	}
	for _, holding := range append([]string{dir}, pathsIn(dir, partitions)...) {
		holders, err := os.ReadDir(filepath.Join(holding, "holders"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		for _, h := range holders {
			users = append(users, "held by "+h.Name())
		}
	}
	mounts, err := s.mounts(numbers)
	if err != nil {
		return nil, nil, err
	}
	swaps, err := s.swaps(numbers)
	if err != nil {
		return nil, nil, err
	}
	return slices.Concat(users, mounts, swaps), partitions, nil
}

func pathsIn(dir string, names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(dir, name)
	}
	return paths
}

// mounts looks for device numbers in /proc/self/mountinfo, proc(5). A btrfs has
// a number of its own there, so the source's counts too.
func (s System) mounts(numbers map[string]string) ([]string, error) {
	var users []string
	err := s.eachLine("self/mountinfo", func(fields []string) error {
		dash := slices.Index(fields, "-")
		if dash < 5 || len(fields) < dash+3 {
			return fmt.Errorf("cannot understand the line %q", strings.Join(fields, " "))
		}
		_, used := numbers[fields[2]]
		if _, ofSource := numbers[s.numberOf(unescape(fields[dash+2]))]; used || ofSource {
			users = append(users, "mounted at "+unescape(fields[4]))
		}
		return nil
	})
	return users, err
}

// swaps looks for device numbers in /proc/swaps, below its headline.
func (s System) swaps(numbers map[string]string) ([]string, error) {
	var users []string
	err := s.eachLine("swaps", func(fields []string) error {
		if name, used := numbers[s.numberOf(unescape(fields[0]))]; used {
			users = append(users, "swap is on "+name)
		}
		return nil
	})
	return users, err
}

func (s System) eachLine(file string, do func(fields []string) error) error {
	f, err := os.Open(filepath.Join(s.Proc, file))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 {
			if err := do(fields); err != nil {
				return fmt.Errorf("%s: %w", f.Name(), err)
			}
		}
	}
	return lines.Err()
}

// numberOf returns the device number that a node in /dev stands for, as in
// "259:1", and "" for any other path: some hang when they are looked at.
func (s System) numberOf(path string) string {
	if !strings.HasPrefix(path, s.Dev+"/") {
		return ""
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return ""
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
}

// unescape undoes what the kernel does to blanks and backslashes in paths.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
