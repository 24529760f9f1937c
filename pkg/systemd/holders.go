package systemd

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

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"bootagent/pkg/unit"
)

// holdersMax is how many holders of a mount are named. The rest is counted.
const holdersMax = 8

// Holders names the processes that hold what is mounted at a path: by their
// working or root directory, an open file or one that is mapped. It reads
// proc(5), mounted at proc, as far as it may and until ctx ends, and touches
// nothing below the path, which may hang.
func Holders(ctx context.Context, proc, where string) (holders []string, err error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	more := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ctx.Err() != nil {
			return append(holders, "and perhaps others, which was not found out in time"), nil
		}
		how := holds(filepath.Join(proc, e.Name()), where)
		switch {
		case how == "":
		case len(holders) == holdersMax:
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

// holds says how a process holds what is mounted at a path, or "". What can't
// be read is of a process that has ended, or another's.
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

// describe names a process. What it calls itself is quoted: it may be anything.
func describe(process string, pid int, how string) string {
	name := "?"
	if comm, err := os.ReadFile(filepath.Join(process, "comm")); err == nil {
		name = strings.TrimSuffix(string(comm), "\n")
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
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
	return fmt.Sprintf("%s (pid %d%s, by %s)", name, pid, owner, how)
}

// HoldersWithin bounds the search for the holders of a mount.
const HoldersWithin = 5 * time.Second

// holders asks PID 1 who holds a mount: the agent itself sees no process of
// another user's. Where that can't be told, it says so in place of a name.
func (m *Manager) holders(ctx context.Context, where string) []string {
	out := filepath.Join(m.run, "holders", unit.MountAt(where))
	names, err := m.askHolders(ctx, where, out)
	if err != nil {
		m.log.Warn("cannot tell who holds a mount", "at", where, "error", err)
	}
	if len(names) == 0 {
		names = []string{"a process that could not be found out"}
	}
	return names
}

func (m *Manager) askHolders(ctx context.Context, where, out string) ([]string, error) {
	if err := privateDir(filepath.Dir(out)); err != nil {
		return nil, err
	}
	defer os.Remove(out)
	if err := m.startTransient(ctx, unit.CommandAt("holders", where), holdersProperties(where, out)); err != nil {
		return nil, err
	}
	src, err := os.ReadFile(out)
	return slices.DeleteFunc(strings.Split(string(src), "\n"), func(line string) bool { return line == "" }), err
}

// Agent is where the package puts the program of the agent, which units of its
// run as well.
const Agent = "/usr/bin/bootagent"

func holdersProperties(where, out string) []dbus.Property {
	return []dbus.Property{
		dbus.PropDescription("Search for what holds " + where),
		dbus.PropType("oneshot"),
		property("ExecStart", []execCommand{{Agent, []string{"bootagent", "holders", "--", where}, false}}),
		property("StandardOutputFileToTruncate", out),
		property("TimeoutStartUSec", uint64((2 * HoldersWithin).Microseconds())),
		property("CollectMode", "inactive-or-failed"),
		property("NoNewPrivileges", true),
		property("PrivateNetwork", true),
	}
}

// privateDir makes a directory that only root may enter.
func privateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return os.Chmod(path, 0o700) // one of an earlier version, or that systemd made
}
