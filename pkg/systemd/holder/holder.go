// Package holder finds the processes that keep a mount from being unmounted. It
// reads proc(5) and the list of users.
package holder

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Within limits how long the search for the holders of one mount may take.
const Within = 5 * time.Second

// maxNamed is how many holders of a mount are named. The others are counted.
const maxNamed = 8

// Find returns one line for each process that holds what is mounted at the path
// where: by its working directory, its root directory, an open file, a mapped
// file, or a mount in a namespace of its own, which an unmount here leaves. A mount
// below the path has a line, too. Find reads proc(5), which is mounted at proc, as
// far as it has permission, and it stops when ctx ends. It touches nothing below
// the path, because that may hang.
func Find(ctx context.Context, proc, where string) (holders []string, err error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	names := namespaces{proc: proc, seen: make(map[string]bool)}
	holders = names.here(where)
	more := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return append(holders, "and perhaps others: the search took too long"), nil
		}
		how := holds(filepath.Join(proc, e.Name()), where)
		if how == "" {
			how = names.holds(filepath.Join(proc, e.Name()))
		}
		switch {
		case how == "":
		case len(holders) == maxNamed:
			more++
		default:
			holders = append(holders, describe(filepath.Join(proc, e.Name()), pid, how))
		}
	}
	if more > 0 {
		holders = append(holders, fmt.Sprintf("and %d more", more))
	}
	return holders, nil
}

// holds says how a process holds what is mounted at a path, or "". It ignores
// what it can't read: the process has ended, or belongs to another user.
func holds(process, where string) string {
	within := func(path string) bool {
		path = strings.TrimSuffix(path, " (deleted)")
		return path == where || strings.HasPrefix(path, where+"/")
	}
	for _, link := range []struct{ name, how string }{{"cwd", "its working directory"}, {"root", "its root directory"}} {
		if to, err := os.Readlink(filepath.Join(process, link.name)); err == nil && within(to) {
			return link.how
		}
	}
	files, _ := os.ReadDir(filepath.Join(process, "fd"))
	for _, f := range files {
		if to, err := os.Readlink(filepath.Join(process, "fd", f.Name())); err == nil && within(to) {
			return "an open file"
		}
	}
	maps, err := os.Open(filepath.Join(process, "maps"))
	if err != nil {
		return ""
	}
	defer maps.Close()
	lines := bufio.NewReader(maps)
	for {
		line, err := lines.ReadSlice('\n')
		if i := bytes.IndexByte(line, '/'); i >= 0 && within(strings.TrimRight(string(line[i:]), "\n")) {
			return "a mapped file"
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return ""
		}
	}
}

// describe names a process. A name with unusual characters is quoted, because a
// process can choose any name.
func describe(process string, pid int, how string) string {
	name := "?"
	if comm, err := os.ReadFile(filepath.Join(process, "comm")); err == nil {
		name = strings.TrimSuffix(string(comm), "\n")
	}
	if strings.ContainsFunc(name, strange) {
		name = strconv.Quote(name)
	}
	owner := ""
	var stat unix.Stat_t
	if err := unix.Stat(process, &stat); err == nil {
		owner = fmt.Sprintf(" of uid %d", stat.Uid)
		if u, err := user.LookupId(strconv.Itoa(int(stat.Uid))); err == nil {
			owner = " of " + u.Username
		}
	}
	return fmt.Sprintf("%s (pid %d%s%s, by %s)", name, pid, owner, within(process), how)
}

// within says in which unit of systemd a process runs, or "". It is the last of the
// path of its cgroup: user@1000.service has units of its own.
func within(process string) string {
	text, _ := os.ReadFile(filepath.Join(process, "cgroup"))
	_, path, _ := strings.Cut(strings.TrimSpace(string(text)), "::")
	parts := strings.Split(path, "/")
	slices.Reverse(parts)
	for _, name := range parts {
		if ext := filepath.Ext(name); (ext == ".service" || ext == ".scope") && !strings.ContainsFunc(name, strange) {
			return " in " + name
		}
	}
	return ""
}

func strange(r rune) bool { return r <= ' ' || r > '~' }
