package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bootagent/pkg/datadir"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// A pgInstall is a root directory in which a real PostgreSQL is: "/", or one of
// those in BOOTAGENT_ENGINE_ROOTS, separated by ":".
type pgInstall struct {
	t    testing.TB
	root string
	bin  string // as seen from the root
	work string // a directory of the user, as seen from the root
}

// pgUser is nobody: PostgreSQL refuses to run as root.
const pgUser, pgNumber = "nobody", 65534

// pgInstalls are the installations. A test of none is skipped.
func pgInstalls(t testing.TB) (all []pgInstall) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("running PostgreSQL as another user needs root")
	}
	for n, root := range append([]string{"/"}, filepath.SplitList(os.Getenv("BOOTAGENT_ENGINE_ROOTS"))...) {
		servers, err := filepath.Glob(filepath.Join(root, "usr/lib/postgresql/*/bin/postgres"))
		ok(t, err)
		for _, server := range servers {
			i := pgInstall{
				t: t, root: root, bin: strings.TrimPrefix(filepath.Dir(server), strings.TrimSuffix(root, "/")),
				work: fmt.Sprintf("/tmp/bootagent-postgres-%d-%d-%d", os.Getpid(), n, len(all)),
			}
			ok(t, os.MkdirAll(i.path(""), 0o755))
			ok(t, os.Chown(i.path(""), pgNumber, pgNumber))
			t.Cleanup(func() { os.RemoveAll(i.path("")) })
			all = append(all, i)
		}
	}
	if len(all) == 0 {
		t.Skip("PostgreSQL is missing here: install postgresql")
	}
	return all
}

func (i pgInstall) seen(name string) string { return filepath.Join(i.work, name) }
func (i pgInstall) path(name string) string { return filepath.Join(i.root, i.work, name) }
func (i pgInstall) server() string          { return i.bin + "/postgres" }

func (i pgInstall) command(input string, argv ...string) *exec.Cmd {
	c := exec.CommandContext(i.t.Context(), "chroot", append([]string{"--userspec=65534:65534", i.root}, argv...)...)
	c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c.Stdin = strings.NewReader(input)
	c.WaitDelay = time.Second
	return c
}

// Run, Read and Glob make an installation an Asker.
func (i pgInstall) Run(_ context.Context, q Question) ([]byte, error) {
	c := i.command("", q.Argv...)
	c.Env = append(c.Env, q.Env...)
	out, err := c.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return out, err
}

func (i pgInstall) Read(path string) ([]byte, error) { return os.ReadFile(filepath.Join(i.root, path)) }

func (i pgInstall) Glob(pattern string) (paths []string, err error) {
	found, err := filepath.Glob(filepath.Join(i.root, pattern))
	for _, path := range found {
		paths = append(paths, strings.TrimPrefix(path, strings.TrimSuffix(i.root, "/")))
	}
	return paths, err
}

// started is a service that starts the server.
func (i pgInstall) started(args ...string) []execstart.Service {
	return []execstart.Service{{Unit: "db.service", Commands: []execstart.Exec{{Path: i.server(), Argv: append([]string{"postgres"}, args...)}}}}
}

func (i pgInstall) settings(args ...string) host.EngineSettings {
	i.t.Helper()
	set, err := postgres{}.Settings(i.t.Context(), i, i.started(args...))
	ok(i.t, err)
	return set
}

func (i pgInstall) look(name string, set host.EngineSettings) host.DirectoryReport {
	i.t.Helper()
	r, err := Examine(datadir.Host{}, host.Data{Engine: "postgres", Owner: pgUser, Dir: i.path(name)}, set)
	ok(i.t, err)
	return r
}

// begin starts initdb as bootagent does.
func (i pgInstall) begin(name string, set host.EngineSettings) *exec.Cmd {
	i.t.Helper()
	ok(i.t, os.RemoveAll(i.path(name)))
	ok(i.t, os.Mkdir(i.path(name), 0o700))
	ok(i.t, os.Chown(i.path(name), pgNumber, pgNumber))
	c := i.command("", postgres{}.Initialize(i.seen(name), pgUser, set)...)
	ok(i.t, c.Start())
	return c
}

func (i pgInstall) initialize(name string, set host.EngineSettings) {
	i.t.Helper()
	ok(i.t, i.begin(name, set).Wait())
}

// query runs a statement in a server of one user.
func (i pgInstall) query(database, statement string, args ...string) (string, error) {
	out, err := i.command(statement+"\n", slices.Concat([]string{i.server(), "--single"}, args, []string{database})...).CombinedOutput()
	return string(out), err
}

// run starts a server and returns when it accepts connections, or has ended.
func (i pgInstall) run(name string) (c *exec.Cmd, said string, up bool) {
	i.t.Helper()
	log, err := os.Create(filepath.Join(i.t.TempDir(), "log"))
	ok(i.t, err)
	defer log.Close()
	c = i.command("", i.server(), "-D", i.seen(name), "-c", "listen_addresses=", "-c", "unix_socket_directories="+i.work)
	c.Stdout, c.Stderr = log, log
	ok(i.t, c.Start())
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	i.t.Cleanup(func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL); <-ended })
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(log.Name())
		if bytes.Contains(text, []byte("ready to accept ")) {
			return c, string(text), true
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			return c, string(text), false
		default:
		}
	}
	i.t.Fatal("the server is neither up nor down")
	return nil, "", false
}

// end ends a server and waits until it has left its directory alone.
func (i pgInstall) end(c *exec.Cmd, how syscall.Signal) {
	i.t.Helper()
	to := c.Process.Pid
	if how == syscall.SIGKILL {
		to = -to
	}
	ok(i.t, syscall.Kill(to, how))
	for end := time.Now().Add(time.Minute); syscall.Kill(-c.Process.Pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			i.t.Fatal("the server does not end")
		}
	}
}

// controlData is what pg_controldata says of the state.
func (i pgInstall) controlData(name string) string {
	i.t.Helper()
	out, err := i.command("", i.bin+"/pg_controldata", i.seen(name)).Output()
	ok(i.t, err)
	return string(regexp.MustCompile(`(?m)^Database cluster state: +(.*)$`).FindSubmatch(out)[1])
}

// What postgres -C says is where a server of the same command line has its data.
func TestPostgresSettingsAreThoseOfTheServer(t *testing.T) {
	for _, i := range pgInstalls(t) {
		set := i.settings("-D", i.seen("a"))
		if set.DataDirectory != i.seen("a") || !set.Inside {
			t.Errorf("%s: before there is a directory: %+v", i.bin, set)
		}
		for _, name := range []string{"a", "b"} {
			i.initialize(name, set)
		}
		conf := i.path("conf")
		ok(t, os.Mkdir(conf, 0o755))
		write(t, conf+"/postgresql.conf", "data_directory = '"+i.seen("a")+"'\ninclude_dir = 'conf.d'\n")
		write(t, conf+"/other.conf", "listen_addresses = ''\n")
		ok(t, os.Mkdir(conf+"/conf.d", 0o755))
		for _, file := range []string{"/postgresql.conf", "/other.conf", "/conf.d"} {
			ok(t, os.Chown(conf+file, pgNumber, pgNumber))
		}
		for name, c := range map[string]struct {
			args   []string
			env    string
			inside bool
		}{
			"its directory":             {[]string{"-D", i.seen("a")}, "", true},
			"its directory, in a word":  {[]string{"-D" + i.seen("a") + "/"}, "", true},
			"by the environment":        {nil, "PGDATA=" + i.seen("a"), true},
			"a directory of settings":   {[]string{"-D", i.seen("conf")}, "", false},
			"an option":                 {[]string{"-D", i.seen("conf"), "-c", "data_directory=" + i.seen("b")}, "", false},
			"a long option":             {[]string{"-D", i.seen("conf"), "--config-file=" + i.seen("conf/other.conf"), "--data-directory=" + i.seen("b")}, "", false},
			"a file, and its directory": {[]string{"-c", "config_file=" + i.seen("conf/other.conf"), "-D", i.seen("b")}, "", false},
		} {
			services := i.started(c.args...)
			if c.env != "" {
				services[0].Environment = []string{c.env}
			}
			began := time.Now()
			set, err := postgres{}.Settings(t.Context(), i, services)
			took := time.Since(began)
			if err != nil {
				t.Errorf("%s: %s: %v", i.bin, name, err)
				continue
			}
			server := i.command("show data_directory\n", slices.Concat([]string{i.server(), "--single"}, c.args, []string{"template1"})...)
			server.Env = append(server.Env, c.env)
			began = time.Now()
			out, err := server.Output()
			if err != nil || !bytes.Contains(out, []byte(`data_directory = "`+set.DataDirectory+`"`)) || set.Inside != c.inside || set.Program != i.server() {
				t.Errorf("%s: %s: got %+v, and the server, %v, says %s", i.bin, name, set, err, out)
			}
			t.Logf("%s: %s: asked in %v; a server that starts says it in %v", i.bin, name, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		}
		// A server that is told to look elsewhere by a file in its directory.
		f, err := os.OpenFile(i.path("b/postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
		ok(t, err)
		_, err = fmt.Fprintf(f, "\ndata_directory = '%s'\n", i.seen("a"))
		ok(t, err)
		f.Close()
		if set := i.settings("-D", i.seen("b")); set.DataDirectory != i.seen("a") || set.Inside {
			t.Errorf("%s: got %+v", i.bin, set)
		}
	}
}

// The control file says what pg_controldata says of it.
func TestPostgresLastStopIsWhatItsControlFileSays(t *testing.T) {
	for _, i := range pgInstalls(t) {
		set := i.settings("-D", i.seen("a"))
		i.initialize("a", set)
		is := func(when string, want host.LastStop) {
			t.Helper()
			got := i.look("a", set)
			if says := i.controlData("a"); got.State != host.Ready || got.LastStop != want || got.LastStopSays != "pg_control: "+says {
				t.Errorf("%s: %s: got %+v, and pg_controldata says %q", i.bin, when, got, says)
			}
		}
		is("new", host.StopClean)
		server, said, up := i.run("a")
		if !up {
			t.Fatal(said)
		}
		is("while it runs", host.StopUnclean)
		i.end(server, syscall.SIGKILL)
		is("killed", host.StopUnclean)
		if server, said, up = i.run("a"); !up {
			t.Fatal(said)
		}
		i.end(server, syscall.SIGINT)
		is("stopped", host.StopClean)
		write(t, i.path("a/standby.signal"), "")
		ok(t, os.Chown(i.path("a/standby.signal"), pgNumber, pgNumber))
		if server, said, up = i.run("a"); !up {
			t.Fatal(said)
		}
		is("a standby that runs", host.StopUnclean)
		i.end(server, syscall.SIGINT)
		is("a standby that was stopped", host.StopClean)
	}
}

// What bootagent refuses, the server does not start on, and the reverse.
func TestPostgresIsRefusedWhatItsServerRefuses(t *testing.T) {
	for _, i := range pgInstalls(t) {
		set := i.settings("-D", i.seen("a"))
		i.initialize("a", set)
		major, err := strconv.Atoi(strings.SplitN(set.Version, ".", 2)[0])
		ok(t, err)
		version := i.path("a/PG_VERSION")
		for name, c := range map[string]struct {
			change, back func() error
			state        host.DirectoryState
			says         string // of the server; "" where it starts
		}{
			"mode 0750":       {func() error { return os.Chmod(i.path("a"), 0o750) }, nil, host.Ready, ""},
			"mode 0755":       {func() error { return os.Chmod(i.path("a"), 0o755) }, nil, host.Unfit, "has invalid permissions"},
			"mode 0770":       {func() error { return os.Chmod(i.path("a"), 0o770) }, nil, host.Unfit, "has invalid permissions"},
			"a newer one":     {func() error { return os.WriteFile(version, fmt.Appendf(nil, "%d\n", major+1), 0o600) }, func() error { return os.WriteFile(version, fmt.Appendf(nil, "%d\n", major), 0o600) }, host.Unfit, "database files are incompatible with server"},
			"an older one":    {func() error { return os.WriteFile(version, fmt.Appendf(nil, "%d\n", major-1), 0o600) }, func() error { return os.WriteFile(version, fmt.Appendf(nil, "%d\n", major), 0o600) }, host.Unfit, "database files are incompatible with server"},
			"no control file": {func() error { return os.Rename(i.path("a/global/pg_control"), i.path("c")) }, func() error { return os.Rename(i.path("c"), i.path("a/global/pg_control")) }, host.Damaged, "could not find the database system"},
			"no settings":     {func() error { return os.Rename(i.path("a/postgresql.conf"), i.path("c")) }, func() error { return os.Rename(i.path("c"), i.path("a/postgresql.conf")) }, host.Unfit, "could not access the server configuration file"},
			"no pg_xact":      {func() error { return os.Rename(i.path("a/pg_xact"), i.path("c")) }, func() error { return os.Rename(i.path("c"), i.path("a/pg_xact")) }, host.Damaged, "pg_xact"},
			"no log":          {func() error { return os.Rename(i.path("a/pg_wal"), i.path("c")) }, func() error { return os.Rename(i.path("c"), i.path("a/pg_wal")) }, host.Damaged, "pg_wal"},
		} {
			ok(t, c.change())
			got := i.look("a", set)
			server, said, up := i.run("a")
			if up {
				i.end(server, syscall.SIGINT)
			}
			if got.State != c.state || up != (c.says == "") || !strings.Contains(said, c.says) || got.State != host.Ready && (got.Reason == "" || got.Hint == "") {
				t.Errorf("%s: %s: got %+v; the server started: %t: %s", i.bin, name, got, up, said)
			}
			if c.back != nil {
				if name == "no log" { // the server has made an empty one
					ok(t, os.RemoveAll(i.path("a/pg_wal")))
				}
				ok(t, c.back())
			}
			ok(t, os.Chmod(i.path("a"), 0o700))
		}
		if got := i.look("a", set); got.State != host.Ready {
			t.Errorf("%s: at the end: %+v", i.bin, got)
		}
	}
}

// A real initdb is watched, and then killed at many moments. Whenever the
// directory is taken for whole, a server serves the database postgres in it.
func TestAnInterruptedInitdbIsNeverTakenForWhole(t *testing.T) {
	const kills = 6
	for _, i := range pgInstalls(t) {
		set := i.settings("-D", i.seen("a"))
		began := time.Now()
		c := i.begin("a", set)
		var moments []string
		ended := make(chan error, 1)
		go func() { ended <- c.Wait() }()
		for over := false; !over; {
			select {
			case err := <-ended:
				ok(t, err)
				over = true
			default:
			}
			if m := pgMoment(i.path("a")); len(moments) == 0 || moments[len(moments)-1] != m {
				moments = append(moments, m)
			}
		}
		took := time.Since(began)
		if dir := os.Getenv("BOOTAGENT_ENGINE_RECORD"); dir != "" {
			write(t, filepath.Join(dir, "postgres-"+set.Version+".initdb"), strings.Join(moments, "\n"))
		}
		states := make(map[host.DirectoryState]int)
		for n := range kills {
			after := took * time.Duration(n+2) / (kills + 2) // the end has the moments that count
			c := i.begin("a", set)
			time.Sleep(after)
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			finished := c.Wait() == nil
			got := i.look("a", set)
			states[got.State]++
			if finished && got.State != host.Ready {
				t.Errorf("%s: after it finished: %+v", i.bin, got)
			}
			if got.State != host.Ready {
				continue
			}
			if out, err := i.query("postgres", "select count(*) from pg_database", "-D", i.seen("a")); err != nil || !strings.Contains(out, `"3"`) {
				t.Errorf("%s: killed after %v: taken for whole, and its server says %v: %s", i.bin, after, err, out)
			}
		}
		t.Logf("%s: %d moments in %v; states after a kill: %v", i.bin, len(moments), took.Round(time.Millisecond), states)
	}
}

// pgMoment is what Examine looks at in a directory, on one line.
func pgMoment(dir string) string {
	top, _ := datadir.Names(dir)
	base, _ := datadir.Names(dir + "/base")
	global, _ := datadir.Names(dir + "/global")
	words := slices.Sorted(slices.Values(top))
	for _, name := range slices.Sorted(slices.Values(base)) {
		words = append(words, "base/"+name)
	}
	if slices.Contains(global, "pg_control") {
		words = append(words, "global/pg_control")
	}
	for n, name := range words {
		var head []byte
		switch name {
		case "PG_VERSION", "postmaster.pid":
			head = datadir.Host{}.Head(filepath.Join(dir, name), 64)
			head = head[:min(len(head), 3)]
		case "global/pg_control":
			head = datadir.Host{}.Head(filepath.Join(dir, name), 64)
			head = head[:min(len(head), 20)]
		default:
			continue
		}
		words[n] += "=" + hex.EncodeToString(head)
	}
	return strings.Join(words, " ")
}

// What it costs at a boot to ask, beside a server that starts to say the same.
func BenchmarkPostgresSettings(b *testing.B) {
	for _, i := range pgInstalls(b) {
		i.initialize("a", i.settings("-D", i.seen("a")))
		b.Run("asked"+i.bin, func(b *testing.B) {
			for b.Loop() {
				i.settings("-D", i.seen("a"))
			}
		})
		b.Run("of-a-server"+i.bin, func(b *testing.B) {
			for b.Loop() {
				if out, err := i.query("template1", "show data_directory", "-D", i.seen("a")); err != nil {
					b.Fatal(err, out)
				}
			}
		})
	}
}
