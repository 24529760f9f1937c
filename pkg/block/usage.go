package block

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/mountinfo"
)

// Usage says what uses a disk or one of its partitions, as in "mounted at
// /srv/data", and which partitions the kernel sees on the disk. It finds words
// for who they are, and keeps nobody out: only an exclusive open does that. The
// error says what of /sys or /proc could not be read.
func (s System) Usage(major, minor uint32) (users, partitions []string, err error) {
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
			users = append(users, s.holder(h.Name()))
		}
	}
	loops, err := s.loops(numbers)
	if err != nil {
		return nil, nil, err
	}
	mounts, err := s.mounts(numbers)
	if err != nil {
		return nil, nil, err
	}
	swaps, err := s.swaps(numbers)
	if err != nil {
		return nil, nil, err
	}
	return slices.Concat(users, loops, mounts, swaps), partitions, nil
}

// holder names a device that is built on a disk, with its name in device mapper if
// it has one: "held by dm-0 (vg-data)".
func (s System) holder(name string) string {
	if mapped := readLine(filepath.Join(s.Sys, "block", name, "dm"), "name"); mapped != "" {
		return fmt.Sprintf("held by %s (%s)", name, mapped)
	}
	return "held by " + name
}

// loops finds loop devices whose file is a disk. They don't claim the disk, so it
// can still be opened exclusively, or mounted a second time.
func (s System) loops(numbers map[string]string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(s.Sys, "block/loop*/loop"))
	if err != nil {
		return nil, err
	}
	var users []string
	for _, dir := range files {
		if _, used := numbers[s.numberOf(readLine(dir, "backing_file"))]; used {
			users = append(users, "held by "+filepath.Base(filepath.Dir(dir)))
		}
	}
	return users, nil
}

// How long to search for who has opened a disk, and among how many descriptors.
const (
	openersWithin = 2 * time.Second
	openersAmong  = 100_000
)

// Openers names the processes that have opened a disk which the kernel says is
// in use: "opened by dd (process 812)". It names those that this process may see,
// and searches for 2 seconds at most.
func (s System) Openers(major, minor uint32) []string {
	number := fmt.Sprintf("%d:%d", major, minor)
	until, seen := time.Now().Add(openersWithin), 0
	processes, _ := filepath.Glob(filepath.Join(s.Proc, "[0-9]*"))
	var users []string
	for _, process := range processes {
		pid := filepath.Base(process)
		if pid == strconv.Itoa(os.Getpid()) {
			continue
		}
		descriptors, err := os.ReadDir(filepath.Join(process, "fd"))
		if err != nil {
			continue // not permitted, or the process has ended
		}
		for _, fd := range descriptors {
			if seen++; seen > openersAmong || time.Now().After(until) {
				break
			}
			to, err := os.Readlink(filepath.Join(process, "fd", fd.Name()))
			if err == nil && s.numberOf(to) == number {
				users = append(users, fmt.Sprintf("opened by %s (process %s)", printable(readLine(process, "comm")), pid))
				break
			}
		}
	}
	if len(users) == 0 {
		return []string{"opened exclusively by another program or by the kernel"}
	}
	return users
}

// printable replaces the characters that may control a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func pathsIn(dir string, names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(dir, name)
	}
	return paths
}

// mounts finds where devices are mounted, by their numbers. A btrfs has a number
// of its own in mountinfo, so the number of the source counts too.
func (s System) mounts(numbers map[string]string) ([]string, error) {
	path := filepath.Join(s.Proc, "self/mountinfo")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var users []string
	for m, err := range mountinfo.Parse(string(text)) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		_, used := numbers[fmt.Sprintf("%d:%d", m.Major, m.Minor)]
		if _, ofSource := numbers[s.numberOf(m.Source)]; used || ofSource {
			users = append(users, "mounted at "+m.Point)
		}
	}
	return users, nil
}

// swaps finds devices that are used as swap, by their numbers.
func (s System) swaps(numbers map[string]string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(s.Proc, "swaps"))
	if err != nil {
		return nil, err
	}
	var users []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if name, used := numbers[s.numberOf(mountinfo.Unescape(fields[0]))]; used {
			users = append(users, "swap is on "+name)
		}
	}
	return users, nil
}

// numberOf returns the device number of a node in /dev, as in "259:1", and "" for
// any other path: a stat of some paths hangs.
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
