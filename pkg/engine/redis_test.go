package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/datadir"
	"bootagent/pkg/engine/redisdump"
	"bootagent/pkg/engine/redistest"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// configured are configuration files and the output of a program.
type configured struct {
	files  map[string]string
	output string
	asked  []string
}

func (c *configured) Run(_ context.Context, q Question) ([]byte, error) {
	c.asked = append(c.asked, strings.Join(q.Argv, " "))
	return []byte(c.output), nil
}

func (c *configured) Read(path string) ([]byte, error) {
	text, there := c.files[path]
	if !there {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func (c *configured) Glob(string) ([]string, error) { return nil, nil }

// redisUnit is Debian's.
func redisUnit(args ...string) execstart.Service {
	return execstart.Service{
		Unit:     "redis-server.service",
		Commands: []execstart.Exec{{Path: "/usr/bin/redis-server", Argv: append([]string{"/usr/bin/redis-server"}, args...)}},
		Sandbox: execstart.Sandbox{
			ProtectSystem: "strict", ProtectHome: "yes", PrivateTmp: true,
			ReadWrite: []string{"-/var/lib/redis", "-/var/log/redis", "-/var/run/redis", "-/etc/redis"},
		},
	}
}

func TestRedisIsSetAsItsServicesStartIt(t *testing.T) {
	const debian, output = "/etc/redis/redis.conf", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d7c971a948f0\n"
	options := func(changed ...string) map[string]string {
		all := map[string]string{"dbfilename": "dump.rdb", "appendonly": "no", "appendfilename": "appendonly.aof", "appenddirname": "appendonlydir", "save": "yes"}
		for i := 0; i < len(changed); i += 2 {
			all[changed[i]] = changed[i+1]
		}
		return all
	}
	relaxed := redisUnit(debian)
	relaxed.Sandbox = execstart.Sandbox{}
	atHome := redisUnit(debian)
	atHome.WorkingDirectory = "~"
	inSrv := redisUnit(debian)
	inSrv.WorkingDirectory, inSrv.Sandbox = "!/srv", execstart.Sandbox{}
	for name, c := range map[string]struct {
		services []execstart.Service
		files    map[string]string
		output   string
		want     host.EngineSettings
		err      string // of a permanent error, and its hint is set
	}{
		"Debian's": {
			services: []execstart.Service{redisUnit(debian, "--supervised", "systemd", "--daemonize", "no")}, files: map[string]string{debian: "dir /var/lib/redis\n"},
			want: host.EngineSettings{DataDirectory: "/var/lib/redis", Version: "Redis 7.0.15", Program: "/usr/bin/redis-server", Values: options()},
		},
		"append-only files": {
			services: []execstart.Service{redisUnit(debian)}, files: map[string]string{debian: "dir /var/lib/redis\nappendonly yes\nsave \"\"\nappenddirname aof\ndbfilename d.rdb\nappendfilename a.aof\n"},
			want: host.EngineSettings{DataDirectory: "/var/lib/redis", Version: "Redis 7.0.15", Program: "/usr/bin/redis-server", Values: options("appendonly", "yes", "save", "no", "appenddirname", "aof", "dbfilename", "d.rdb", "appendfilename", "a.aof")},
		},
		"Valkey, relaxed": {
			services: []execstart.Service{redisUnit(debian)}, files: map[string]string{debian: "dir /var/lib/redis\nrdb-version-check relaxed\n"}, output: "Valkey server v=9.1.2 sha=0\n",
			want: host.EngineSettings{DataDirectory: "/var/lib/redis", Version: "Valkey 9.1.2", Program: "/usr/bin/redis-server", Values: options("rdb-version-check", "relaxed")},
		},
		"no service": {
			files: map[string]string{"/etc/valkey/valkey.conf": "dir /var/lib/valkey\n"}, output: "Valkey server v=8.1.1 sha=0\n",
			want: host.EngineSettings{DataDirectory: "/var/lib/valkey", Version: "Valkey 8.1.1", Program: "/usr/bin/valkey-server", Values: options()},
		},
		"relative to the service's directory": {
			services: []execstart.Service{inSrv}, files: map[string]string{debian: "dir redis\n"},
			want: host.EngineSettings{DataDirectory: "/srv/redis", Version: "Redis 7.0.15", Program: "/usr/bin/redis-server", Values: options()},
		},
		"a cluster's file in the directory": {
			services: []execstart.Service{redisUnit(debian)}, files: map[string]string{debian: "dir /var/lib/redis\ncluster-enabled yes\ncluster-config-file /var/lib/redis/n.conf\n"},
			want: host.EngineSettings{DataDirectory: "/var/lib/redis", Version: "Redis 7.0.15", Program: "/usr/bin/redis-server", Values: options()},
		},
		"a cluster's file elsewhere": {
			services: []execstart.Service{redisUnit(debian)}, files: map[string]string{debian: "dir /var/lib/redis\ncluster-enabled yes\ncluster-config-file /etc/redis/n.conf\n"},
			want: host.EngineSettings{
				DataDirectory: "/var/lib/redis", Version: "Redis 7.0.15", Program: "/usr/bin/redis-server", Values: options(),
				Elsewhere: []host.Place{{Setting: "cluster-config-file", Value: "/etc/redis/n.conf", Path: "/etc/redis/n.conf"}},
			},
		},
		"a version that is not told": {
			services: []execstart.Service{redisUnit(debian)}, files: map[string]string{debian: "dir /var/lib/redis\n"}, output: "hello\n",
			want: host.EngineSettings{DataDirectory: "/var/lib/redis", Program: "/usr/bin/redis-server", Values: options()},
		},
		"a directory that it cannot write": {
			services: []execstart.Service{redisUnit(debian)}, files: map[string]string{debian: "dir /srv/data/redis\n"},
			err: "redis-server.service cannot write its data directory /srv/data/redis, because of ProtectSystem=strict: it would start, and could neither save nor stop",
		},
		"a sentinel":       {services: []execstart.Service{redisUnit("/etc/redis/sentinel.conf", "--sentinel")}, err: "cannot tell with which arguments redis-server.service starts redis-server: it starts a sentinel"},
		"a wrong line":     {services: []execstart.Service{redisUnit(debian)}, files: map[string]string{debian: "\ndir \"/x\n"}, err: "cannot read the settings of redis-server: line 2 of /etc/redis/redis.conf: a quote is not closed"},
		"a home directory": {services: []execstart.Service{atHome}, files: map[string]string{debian: ""}, err: "no absolute dir is set, and the directory in which it is started is not known"},
		"two directories": {
			services: []execstart.Service{redisUnit(debian), {Unit: "b.service", Commands: redisUnit("--dir", "/srv/b").Commands}}, files: map[string]string{debian: "dir /var/lib/redis\n"},
			err: "the services of the role start redis with two data directories, /var/lib/redis and /srv/b",
		},
		"another program": {services: []execstart.Service{{Unit: "web.service", Commands: []execstart.Exec{{Path: "/usr/bin/web"}}}}, err: "neither it nor another service of the role that needs the data runs redis-server or valkey-server"},
	} {
		if c.output == "" {
			c.output = output
		}
		ask := &configured{files: c.files, output: c.output}
		got, err := redis{}.Settings(t.Context(), ask, c.services)
		switch {
		case c.err == "" && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", name, got, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !fault.IsPermanent(err) || fault.HintOf(err) == ""):
			t.Errorf("%s: got %+v, %v (hint %q); want %s", name, got, err, fault.HintOf(err), c.err)
		case c.err == "" && !reflect.DeepEqual(ask.asked, []string{c.want.Program + " --version"}):
			t.Errorf("%s: it ran %q", name, ask.asked)
		}
	}
}

// A configuration file may be made later, by the agent itself.
func TestAConfigurationFileThatIsNotThereIsWaitedFor(t *testing.T) {
	for _, services := range [][]execstart.Service{nil, {redisUnit("/etc/redis/redis.conf")}} {
		got, err := redis{}.Settings(t.Context(), &configured{}, services)
		if err == nil || fault.IsPermanent(err) || services != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

// saved writes keys, and stops the server.
func saved(t *testing.T, server, dir string, args ...string) {
	t.Helper()
	s := started(t, server, dir, args...)
	s.Do("SET", "k", "v")
	s.Stop()
}

func started(t *testing.T, server, dir string, args ...string) *redistest.Server {
	t.Helper()
	s, err := redistest.Start(t, server, dir, args...)
	ok(t, err)
	return s
}

// redisDirectories are directories that a server has left, and what became of
// them. Only with loads, a server finds its key there.
var redisDirectories = map[string]struct {
	make  func(t *testing.T, server, dir string)
	args  []string
	want  host.DirectoryReport // its Reason is a part, of Hint a beginning; Version is not compared
	loads bool
	runs  bool // it starts, and has lost the key
}{
	"a new directory": {make: func(*testing.T, string, string) {}, want: host.DirectoryReport{State: host.Ready, Empty: true}, runs: true},
	"a new directory, append-only": {
		make: func(*testing.T, string, string) {}, args: []string{"--appendonly", "yes"}, want: host.DirectoryReport{State: host.Ready, Empty: true}, runs: true,
	},
	"what a filesystem has by itself": {
		make: func(t *testing.T, _, dir string) { ok(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700)) }, want: host.DirectoryReport{State: host.Ready, Empty: true}, runs: true,
	},
	"another program's": {
		make: func(t *testing.T, _, dir string) { write(t, filepath.Join(dir, "ibdata1"), "x") },
		want: host.DirectoryReport{State: host.Foreign, Reason: `it has "ibdata1" and no file of Redis or Valkey`, Hint: hintForeign}, runs: true,
	},
	"a dump": {make: func(t *testing.T, server, dir string) { saved(t, server, dir) }, want: host.DirectoryReport{State: host.Ready}, loads: true},
	"append-only files": {
		make: func(t *testing.T, server, dir string) { saved(t, server, dir, "--appendonly", "yes") }, args: []string{"--appendonly", "yes"},
		want: host.DirectoryReport{State: host.Ready}, loads: true,
	},
	"the append-only file of an old server": {
		make: func(t *testing.T, _, dir string) {
			write(t, filepath.Join(dir, "appendonly.aof"), "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n")
		}, args: []string{"--appendonly", "yes"}, want: host.DirectoryReport{State: host.Ready}, loads: true,
	},
	"a dump, and appendonly yes": {
		make: func(t *testing.T, server, dir string) { saved(t, server, dir) }, args: []string{"--appendonly", "yes"},
		want: host.DirectoryReport{State: host.Unfit, Reason: "appendonly is yes, and it has dump.rdb and no append-only file", Hint: hintAppendOnly}, runs: true,
	},
	"append-only files, and appendonly no": {
		make: func(t *testing.T, server, dir string) { saved(t, server, dir, "--appendonly", "yes", "--save") },
		want: host.DirectoryReport{State: host.Unfit, Reason: "and no dump.rdb: the server would start without what is in there", Hint: "set appendonly yes"}, runs: true,
	},
	"a dump that is older than the append-only files, and appendonly no": {
		make: func(t *testing.T, server, dir string) {
			s := started(t, server, dir)
			s.Stop()
			past(t, filepath.Join(dir, "dump.rdb"))
			s = started(t, server, dir, "--save")
			s.Do("CONFIG", "SET", "appendonly", "yes")
			for !strings.Contains(s.Do("INFO", "persistence")[0], "aof_rewrite_in_progress:0") {
				time.Sleep(5 * time.Millisecond)
			}
			s.Do("SET", "k", "v")
			s.Stop()
		},
		want: host.DirectoryReport{State: host.Unfit, Reason: "incr.aof is newer than dump.rdb: the server would start without what is in there", Hint: "set appendonly yes"}, runs: true,
	},
	"append-only files that were switched off": {
		make: func(t *testing.T, server, dir string) {
			s := started(t, server, dir, "--appendonly", "yes")
			s.Do("SET", "k", "v")
			s.Do("CONFIG", "SET", "appendonly", "no")
			time.Sleep(20 * time.Millisecond) // files have the time of the kernel's last tick
			s.Stop()
		}, want: host.DirectoryReport{State: host.Ready}, loads: true,
	},
	"no manifest": {
		make: func(t *testing.T, server, dir string) {
			saved(t, server, dir, "--appendonly", "yes")
			ok(t, os.Remove(filepath.Join(dir, "appendonlydir", "appendonly.aof.manifest")))
		}, args: []string{"--appendonly", "yes"},
		want: host.DirectoryReport{State: host.Damaged, Reason: "appendonlydir/appendonly.aof.manifest is missing, and there are append-only files", Hint: hintRestore}, runs: true,
	},
	"an append-only file is missing": {
		make: func(t *testing.T, server, dir string) {
			saved(t, server, dir, "--appendonly", "yes")
			ok(t, os.Remove(filepath.Join(dir, "appendonlydir", "appendonly.aof.1.incr.aof")))
		}, args: []string{"--appendonly", "yes"},
		want: host.DirectoryReport{State: host.Damaged, Reason: "appendonly.aof.manifest: appendonly.aof.1.incr.aof, which it lists, is missing", Hint: hintRestore},
	},
	"a manifest that is cut off": {
		make: func(t *testing.T, server, dir string) {
			saved(t, server, dir, "--appendonly", "yes")
			ok(t, os.Truncate(filepath.Join(dir, "appendonlydir", "appendonly.aof.manifest"), 60))
		}, args: []string{"--appendonly", "yes"},
		want: host.DirectoryReport{State: host.Damaged, Reason: "appendonly.aof.manifest: its last line is cut off", Hint: hintRestore},
	},
	"a dump of a later server": {
		make: func(t *testing.T, server, dir string) { rewrite(t, server, dir, "dump.rdb") },
		want: host.DirectoryReport{State: host.Unfit, Reason: "dump.rdb has format", Hint: "use an image with"},
	},
	"append-only files of a later server": {
		make: func(t *testing.T, server, dir string) {
			rewrite(t, server, dir, "appendonlydir/appendonly.aof.1.base.rdb", "--appendonly", "yes")
		}, args: []string{"--appendonly", "yes"},
		want: host.DirectoryReport{State: host.Unfit, Reason: "appendonlydir/appendonly.aof.1.base.rdb has format", Hint: "use an image with"},
	},
	"what is no dump": {
		make: func(t *testing.T, _, dir string) { write(t, filepath.Join(dir, "dump.rdb"), "hello world") },
		want: host.DirectoryReport{State: host.Damaged, Reason: "dump.rdb does not begin as a dump", Hint: hintRestore},
	},
	"an empty dump": {
		make: func(t *testing.T, _, dir string) { write(t, filepath.Join(dir, "dump.rdb"), "") },
		want: host.DirectoryReport{State: host.Damaged, Reason: "dump.rdb does not begin as a dump", Hint: hintRestore},
	},
	"a link as append-only directory": {
		make: func(t *testing.T, server, dir string) {
			saved(t, server, dir, "--appendonly", "yes")
			away := t.TempDir()
			ok(t, os.Rename(filepath.Join(dir, "appendonlydir"), filepath.Join(away, "a")))
			ok(t, os.Symlink(filepath.Join(away, "a"), filepath.Join(dir, "appendonlydir")))
		}, args: []string{"--appendonly", "yes"},
		want: host.DirectoryReport{State: host.Unfit, Reason: "appendonlydir in it is a symbolic link, not a directory", Hint: "put it there itself"}, loads: true,
	},
	"the server was killed, and wrote each command": {
		make: func(t *testing.T, server, dir string) {
			saved(t, server, dir, "--appendonly", "yes")
			time.Sleep(20 * time.Millisecond)
			s := started(t, server, dir, "--appendonly", "yes", "--appendfsync", "always")
			s.Do("SET", "l", "w")
			s.Kill()
		}, args: []string{"--appendonly", "yes"},
		want: host.DirectoryReport{State: host.Ready, LastStop: host.StopUnclean, LastStopSays: "appendonlydir/appendonly.aof.1.incr.aof is newer than dump.rdb, which a clean stop writes last"}, loads: true,
	},
	"the server was killed while it saved": {
		make: func(t *testing.T, server, dir string) {
			saved(t, server, dir)
			time.Sleep(20 * time.Millisecond)
			s := started(t, server, dir, "--rdb-key-save-delay", "100000")
			for _, key := range strings.Fields("a b c d e f g h i j") {
				s.Do("SET", key, "v")
			}
			s.Do("BGSAVE")
			for {
				if left, _ := filepath.Glob(filepath.Join(dir, "temp-*.rdb")); len(left) > 0 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			s.Kill()
		}, want: host.DirectoryReport{State: host.Ready, LastStop: host.StopUnclean, LastStopSays: "a save was cut off: temp-"}, loads: true,
	},
}

func past(t *testing.T, path string) {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	ok(t, os.Chtimes(path, then, then))
}

// rewrite makes a dump one of a version that no server has yet.
func rewrite(t *testing.T, server, dir, name string, args ...string) {
	t.Helper()
	saved(t, server, dir, args...)
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	ok(t, err)
	copy(text[6:9], "079")
	if text[0] == 'V' {
		copy(text[6:9], "999")
	}
	ok(t, os.WriteFile(path, text, 0o600))
}

// The real server proves each verdict: it finds the key where the directory is
// ready, and elsewhere it does not start, or comes up without the key.
func TestADirectoryOfRedisIsReadyWhereTheServerFindsItsKeys(t *testing.T) {
	for _, server := range redistest.Servers(t) {
		output, err := exec.Command(server, "--version").Output()
		ok(t, err)
		version := redisdump.Server(string(output))
		for name, c := range redisDirectories {
			t.Run(version+", "+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				c.make(t, server, dir)
				set := host.EngineSettings{Version: version, Values: map[string]string{"save": "yes"}}
				if len(c.args) > 0 {
					set.Values["appendonly"] = c.args[1]
				}
				got, err := Examine(datadir.Host{}, host.Data{Engine: "redis", Owner: me(t), Dir: dir}, set)
				ok(t, err)
				if got.State != c.want.State || got.Empty != c.want.Empty || got.LastStop != c.want.LastStop ||
					!strings.Contains(got.Reason, c.want.Reason) || !strings.HasPrefix(got.Hint, c.want.Hint) || !strings.HasPrefix(got.LastStopSays, c.want.LastStopSays) ||
					c.want.Reason == "" && got.Reason != "" {
					t.Errorf("got  %+v\nwant %+v", got, c.want)
				}
				if c.loads && c.want.State == host.Ready && got.Version != version && !strings.Contains(name, "old") {
					t.Errorf("its version is %q, want %q", got.Version, version)
				}
				s, err := redistest.Start(t, server, dir, c.args...)
				switch {
				case err != nil && (c.loads || c.runs):
					t.Errorf("the server does not start: %v", err)
				case err == nil && !c.loads && !c.runs:
					t.Errorf("the server starts, and its key is %q", s.Do("GET", "k"))
				case err == nil && (s.Do("GET", "k")[0] == "v") != c.loads:
					t.Errorf("the server has the key %q", s.Do("GET", "k"))
				}
			})
		}
	}
}

// What Debian's configuration sets, and a person, decides which files count.
func TestADirectoryOfRedisIsExaminedUnderTheNamesInTheSettings(t *testing.T) {
	dir := t.TempDir()
	ok(t, os.Mkdir(filepath.Join(dir, "aof"), 0o700))
	write(t, filepath.Join(dir, "d.rdb"), "REDIS0010\xfa\x09redis-ver\x067.0.15\xff")
	write(t, filepath.Join(dir, "aof", "a.aof.manifest"), "file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i startoffset 0\nfile gone seq 3 type h\n")
	write(t, filepath.Join(dir, "aof", "a.aof.1.base.rdb"), "REDIS0011\xfa\x09redis-ver\x057.2.4\xff")
	write(t, filepath.Join(dir, "aof", "a.aof.1.incr.aof"), "")
	for only, want := range map[string]string{"no": "Redis 7.0.15", "yes": "Redis 7.2.4"} {
		set := host.EngineSettings{Version: "Redis 7.2.5", Values: map[string]string{"dbfilename": "d.rdb", "appendonly": only, "appendfilename": "a.aof", "appenddirname": "aof"}}
		then := time.Now()
		ok(t, os.Chtimes(filepath.Join(dir, "d.rdb"), then, then.Add(time.Second)))
		got, err := Examine(datadir.Host{}, host.Data{Engine: "redis", Owner: me(t), Dir: dir}, set)
		if err != nil || got.State != host.Ready || got.Version != want || got.Empty {
			t.Errorf("appendonly %s: got %+v, %v; want version %s", only, got, err, want)
		}
	}
	set := host.EngineSettings{Version: "Redis 6.2.14", Values: map[string]string{"appendonly": "yes", "appendfilename": "a.aof", "appenddirname": "aof"}}
	got, err := Examine(datadir.Host{}, host.Data{Engine: "redis", Owner: me(t), Dir: dir}, set)
	if err != nil || got.State != host.Unfit || !strings.Contains(got.Reason, "which Redis 7.0 and later make, and the version installed here is older: Redis 6.2.14") {
		t.Errorf("under Redis 6.2: got %+v, %v", got, err)
	}
}

// An agent that is started again looks at the directory of a server that runs,
// and may just replace its append-only files.
func TestADirectoryOfRedisIsReadyWhileTheServerRewritesItsFiles(t *testing.T) {
	for _, server := range redistest.Servers(t) {
		dir := t.TempDir()
		s := started(t, server, dir, "--appendonly", "yes")
		s.Do("SET", "k", "v")
		set := host.EngineSettings{Values: map[string]string{"appendonly": "yes"}}
		for end := time.Now().Add(800 * time.Millisecond); time.Now().Before(end); {
			if strings.Contains(s.Do("INFO", "persistence")[0], "aof_rewrite_in_progress:0") {
				s.Do("BGREWRITEAOF")
			}
			for range 50 {
				got, err := Examine(datadir.Host{}, host.Data{Engine: "redis", Owner: me(t), Dir: dir}, set)
				if err != nil || got.State != host.Ready || got.Empty {
					t.Fatalf("got %+v, %v", got, err)
				}
			}
		}
	}
}

func TestADirectoryThatItsOwnerCannotWriteIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "redis")
	ok(t, os.Mkdir(dir, 0o500))
	got, err := Examine(datadir.Host{}, host.Data{Engine: "redis", Owner: me(t), Dir: dir}, host.EngineSettings{})
	if err != nil || got.State != host.Unfit || got.Reason != "its owner cannot write in it: its mode is 0500" || got.Hint != "allow it: chmod u+rwx -- "+dir {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAnEmptyDirectoryOfAnotherUserIsRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("changing an owner needs root")
	}
	dir := t.TempDir()
	ok(t, os.Chown(dir, 12345, 12345))
	got, err := Examine(datadir.Host{}, host.Data{Engine: "redis", Owner: me(t), Dir: dir}, host.EngineSettings{})
	if err != nil || got.State != host.Unfit || !strings.Contains(got.Reason, "it belongs to user number 12345") {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A server says its version without its configuration.
func BenchmarkVersionOfRedis(b *testing.B) {
	for _, server := range redistest.Servers(b) {
		b.Run(filepath.Base(server), func(b *testing.B) {
			for b.Loop() {
				if output, err := exec.Command(server, "--version").Output(); err != nil || redisdump.Server(string(output)) == "" {
					b.Fatal(err)
				}
			}
		})
	}
}
