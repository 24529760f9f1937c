package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bootagent/pkg/datadir"
	"bootagent/pkg/engine/innodb"
	"bootagent/pkg/engine/mycnf"
	"bootagent/pkg/host"
)

// An installation is a root directory in which a real server is: "/", or one of
// those in BOOTAGENT_ENGINE_ROOTS, separated by ":". Its user mysql runs it.
type installation struct {
	root   string
	engine Engine
	server string
	uid    int
	gid    int
	work   string // a directory of its user in the root, as seen from there
}

// installations are those of an engine. A test of none is skipped.
func installations(t testing.TB, name string) (all []installation) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("running a server as its own user needs root")
	}
	e, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	roots := append([]string{"/"}, filepath.SplitList(os.Getenv("BOOTAGENT_ENGINE_ROOTS"))...)
	for _, root := range slices.DeleteFunc(roots, func(r string) bool { return r == "" }) {
		for _, server := range e.Tools()[0].Paths {
			i := installation{root: root, engine: e, server: server}
			if output, err := i.command(context.Background(), "0:0", server, "--version").Output(); err != nil || !familyOf(name).Is(string(output)) {
				continue
			}
			i.uid, i.gid = i.account(t)
			i.work = "/tmp/bootagent-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(len(all))
			if err := errors.Join(os.MkdirAll(i.path(""), 0o755), os.Chown(i.path(""), i.uid, i.gid)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(i.path("")) })
			all = append(all, i)
			break
		}
	}
	if len(all) == 0 {
		t.Skipf("a server of %s is missing here", familyOf(name).Title)
	}
	return all
}

func familyOf(name string) mycnf.Server {
	if name == "mysql" {
		return mycnf.MySQL
	}
	return mycnf.MariaDB
}

// account is that of mysql in the root, or where it has none, nobody's.
func (i installation) account(t testing.TB) (uid, gid int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(i.root, "etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); f[0] == "mysql" {
			uid, _ = strconv.Atoi(f[2])
			gid, _ = strconv.Atoi(f[3])
			return uid, gid
		}
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid
}

func (i installation) as() string           { return fmt.Sprintf("%d:%d", i.uid, i.gid) }
func (i installation) seen(n string) string { return filepath.Join(i.work, n) }
func (i installation) path(n string) string { return filepath.Join(i.root, i.work, n) }

// command runs a program in the root, in a process group of its own.
func (i installation) command(ctx context.Context, as string, argv ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "chroot", append([]string{"--userspec=" + as, i.root}, argv...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.WaitDelay = time.Second
	return c
}

// Run makes an installation an Asker.
func (i installation) Run(ctx context.Context, q Question) ([]byte, error) {
	c := i.command(ctx, i.as(), q.Argv...)
	c.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/nonexistent"}, q.Env...)
	return c.Output()
}

func (i installation) Read(path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(i.root, path))
}

func (i installation) Glob(pattern string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(i.root, pattern))
	for n := range found {
		found[n] = strings.TrimPrefix(found[n], strings.TrimSuffix(i.root, "/"))
	}
	return found, err
}

// look examines a directory, whoever owns it.
func (i installation) look(t *testing.T, name string, set host.EngineSettings) host.DirectoryReport {
	t.Helper()
	names, err := datadir.Names(i.path(name))
	ok(t, err)
	return i.engine.Examine(Dir{Mode: fs.ModeDir, Names: names, path: i.path(name), files: datadir.Host{}}, set)
}

// empty makes an empty data directory.
func (i installation) empty(t *testing.T, name string) {
	t.Helper()
	ok(t, os.RemoveAll(i.path(name)))
	ok(t, os.Mkdir(i.path(name), 0o700))
	ok(t, os.Chown(i.path(name), i.uid, i.gid))
}

// initialize makes a new database. step is called over and over meanwhile; when
// it returns false, all of the initialisation is killed.
func (i installation) initialize(t *testing.T, name string, set host.EngineSettings, step func() bool) (finished bool) {
	t.Helper()
	i.empty(t, name)
	c := i.command(t.Context(), i.as(), i.engine.Initialize(i.seen(name), i.as(), set)...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + i.work}
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	ok(t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		select {
		case err := <-ended:
			step()
			if err != nil {
				t.Fatalf("%v: %s", err, said.Bytes())
			}
			return true
		default:
		}
		if !step() {
			ok(t, syscall.Kill(-c.Process.Pid, syscall.SIGKILL))
			<-ended
			return false
		}
		time.Sleep(time.Millisecond)
	}
}

// serve starts the server on a directory, and returns what it says to a query of
// root, or why it ended. The server is killed, or with clean told to stop.
func (i installation) serve(t *testing.T, name, query string, clean bool, options ...string) (answer string, err error) {
	t.Helper()
	socket := i.seen("s.sock")
	os.Remove(i.path("s.sock"))
	c := i.command(t.Context(), i.as(), slices.Concat([]string{i.server, "--no-defaults", "--datadir=" + i.seen(name), "--socket=" + socket, "--skip-networking", "--pid-file=" + i.seen("s.pid")}, options)...)
	if i.engine.Name() == "mysql" {
		c.Args = append(c.Args, "--mysqlx=OFF")
	}
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	ok(t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	deadline := time.After(time.Minute)
	for {
		out, err := i.command(t.Context(), "0:0", "mysql", "--no-defaults", "-uroot", "-S"+socket, "-Ne", query).CombinedOutput()
		answer = strings.TrimSpace(string(out))
		if err == nil || strings.Contains(answer, "ERROR 1") {
			signal := syscall.SIGKILL
			if clean {
				signal = syscall.SIGTERM
			}
			ok(t, syscall.Kill(-c.Process.Pid, signal))
			<-ended
			return answer, err
		}
		select {
		case <-ended:
			return "", errors.New(said.String())
		case <-deadline:
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			t.Fatal("the server neither serves nor ends: ", said.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

var whoIsRoot = map[string]string{
	"mysql":   "select count(*) from mysql.user where user = 'root' and plugin <> 'auth_socket'",
	"mariadb": "select count(*) from mysql.global_priv where user = 'root' and json_value(priv, '$.auth_or[1].plugin') <> 'unix_socket'",
}

// A real initialisation is watched, and then killed at many moments: whenever the
// directory is taken for whole, a real server starts on it, and root is nobody's.
func TestAnInterruptedInitialisationIsNeverTakenForWhole(t *testing.T) {
	for _, name := range []string{"mariadb", "mysql"} {
		t.Run(name, func(t *testing.T) {
			for _, i := range installations(t, name) {
				set, err := i.engine.Settings(t.Context(), i, nil)
				ok(t, err)
				set.Options, set.Values = []string{"--no-defaults"}, map[string]string{mycnf.Scratch: "ibtmp1"}
				var seen []moment
				began := time.Now()
				i.initialize(t, "watched", set, func() bool {
					if m := momentOf(i.path("watched")); len(seen) == 0 || !m.equal(seen[len(seen)-1]) {
						seen = append(seen, m)
					}
					return true
				})
				took := time.Since(began)
				record(t, i, seen)
				if got := i.look(t, "watched", set); got.State != host.Ready || got.LastStop != host.StopClean {
					t.Errorf("%s: after the initialisation: %+v", i.root, got)
				}
				if answer, err := i.serve(t, "watched", whoIsRoot[name], false); err != nil || answer != "0" {
					t.Errorf("%s: root of the machine asks who else is root: %q, %v", i.root, answer, err)
				}
				if got := i.look(t, "watched", set); got.State != host.Ready || got.LastStop != host.StopUnclean {
					t.Errorf("%s: after the kill of its server: %+v", i.root, got)
				}
				if answer, err := i.serve(t, "watched", "select 1", true); err != nil || answer != "1" {
					t.Errorf("%s: after that: %q, %v", i.root, answer, err)
				}
				if got := i.look(t, "watched", set); got.State != host.Ready || got.LastStop != host.StopClean {
					t.Errorf("%s: after a clean stop: %+v", i.root, got)
				}
				t.Logf("%s: %d moments in %v", i.root, len(seen), took.Round(time.Millisecond))
				states := make(map[host.DirectoryState]int)
				for n := range kills {
					// Most of what counts is at the end.
					after := took * time.Duration(n+1) / kills
					start := time.Now()
					finished := i.initialize(t, "killed", set, func() bool { return time.Since(start) < after })
					got := i.look(t, "killed", set)
					states[got.State]++
					answer, err := i.serve(t, "killed", "select count(*) > 0 from mysql.user where user = 'root'", true)
					if started := err == nil && answer == "1"; got.State == host.Ready && !started || finished && got.State != host.Ready {
						t.Errorf("%s: killed after %v: %+v, and its server says %q, %v", i.root, after, got, answer, err)
					}
				}
				t.Logf("%s: states after a kill: %v", i.root, states)
			}
		})
	}
}

const kills = 4

// A moment is what is in a directory: names, with a "/" behind those of
// directories, and the beginning of files that an engine looks into.
type moment struct {
	names []string
	heads map[string]string
}

func (m moment) equal(other moment) bool {
	return slices.Equal(m.names, other.names) && maps.Equal(m.heads, other.heads)
}

func momentOf(dir string) moment {
	m := moment{heads: make(map[string]string)}
	add := func(below string) {
		entries, _ := os.ReadDir(filepath.Join(dir, below))
		for _, e := range entries {
			name := filepath.Join(below, e.Name())
			if e.IsDir() {
				name += "/"
			}
			m.names = append(m.names, name)
			if base := e.Name(); base == "ibdata1" || base == "ib_logfile0" || base == "mysql.ibd" || base == "db.frm" ||
				strings.HasPrefix(base, "#ib_redo") && !strings.HasSuffix(base, "_tmp") {
				m.heads[name] = hex.EncodeToString(datadir.Host{}.Head(filepath.Join(dir, name), 64))
			}
		}
	}
	add("")
	for _, below := range []string{innodb.Redo, innodb.System, "sys"} {
		add(below)
	}
	return m
}

// record writes the moments of an initialisation to BOOTAGENT_ENGINE_RECORD, where
// that is set: what each has more or less than the one before.
func record(t *testing.T, i installation, seen []moment) {
	t.Helper()
	dir := os.Getenv("BOOTAGENT_ENGINE_RECORD")
	if dir == "" {
		return
	}
	version, err := i.command(t.Context(), "0:0", i.server, "--version").Output()
	ok(t, err)
	var b strings.Builder
	fmt.Fprintf(&b, "# Moments of an initialisation, as live_test.go records them: %s\n", strings.TrimSpace(string(version)))
	last := moment{}
	for _, m := range seen {
		b.WriteString("moment\n")
		for _, n := range last.names {
			if !slices.Contains(m.names, n) {
				fmt.Fprintf(&b, "- %s\n", n)
			}
		}
		for _, n := range m.names {
			if !slices.Contains(last.names, n) {
				fmt.Fprintf(&b, "+ %s\n", n)
			}
			if head, there := m.heads[n]; there && head != last.heads[n] {
				fmt.Fprintf(&b, "= %s %s\n", n, head)
			}
		}
		last = m
	}
	number := strings.Fields(strings.SplitN(string(version), "Ver ", 2)[1])[0]
	ok(t, os.WriteFile(filepath.Join(dir, i.engine.Name()+"-"+number+".moments"), []byte(b.String()), 0o644))
}

// The recorded moments of real initialisations, the clean end of the last server
// of which begins with ib_buffer_pool: servers that were killed before did not
// start again.
func TestNoRecordedMomentOfAnInitialisationIsTakenForWhole(t *testing.T) {
	files, err := filepath.Glob("testdata/*.moments")
	ok(t, err)
	engines := make(map[string]bool)
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), "-")
		engines[name] = true
		e, err := Named(name)
		ok(t, err)
		text, err := os.ReadFile(file)
		ok(t, err)
		dir := t.TempDir()
		set := host.EngineSettings{Files: []string{"ibdata1"}, Values: map[string]string{mycnf.Scratch: "ibtmp1"}}
		var got host.DirectoryReport
		states := make(map[host.DirectoryState]int)
		check := func() {
			names, err := datadir.Names(dir)
			ok(t, err)
			got = e.Examine(Dir{Mode: fs.ModeDir, Names: names, path: dir, files: datadir.Host{}}, set)
			states[got.State]++
			if got.State == host.Ready && !slices.Contains(names, "ib_buffer_pool") {
				t.Errorf("%s: taken for whole with %q", file, names)
			}
			if got.State != host.Ready && (got.Reason == "" || got.Hint == "") {
				t.Errorf("%s: %+v", file, got)
			}
		}
		for n, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			words := strings.Fields(line)
			switch path := filepath.Join(dir, words[min(1, len(words)-1)]); words[0] {
			case "moment":
				if n > 1 {
					check()
				}
			case "-":
				ok(t, os.RemoveAll(path))
			case "+":
				if strings.HasSuffix(words[1], "/") {
					ok(t, os.MkdirAll(path, 0o700))
				} else {
					ok(t, os.WriteFile(path, []byte("data"), 0o600))
				}
			case "=":
				head := []byte(nil)
				if len(words) > 2 {
					head, err = hex.DecodeString(words[2])
					ok(t, err)
				}
				ok(t, os.WriteFile(path, head, 0o600))
			}
		}
		check()
		if got.State != host.Ready {
			t.Errorf("%s: at the end %+v", file, got)
		}
		t.Logf("%s: %v", file, states)
		if states[host.Damaged] < 20 || states[host.Ready] == 0 {
			t.Errorf("%s has few moments: %v", file, states)
		}
	}
	if !engines["mysql"] || !engines["mariadb"] {
		t.Errorf("moments of %v only", engines)
	}
}
