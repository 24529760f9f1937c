package engine

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/host"
)

// A set-up is how a server is started: its option file, more arguments and
// variables of its environment.
type setUp struct {
	file, extra string // "" where it has none
	args        []string
	home        string // my.cnf of MYSQL_HOME
	clear       bool   // its files and arguments have to tell, without the server
}

var setUps = []setUp{
	{clear: true},
	{file: "[mysqld]\ndatadir=/srv/a\n", clear: true},
	{file: "[mysqld]\ndatadir = /srv/a/ # here\n[client]\ndatadir=/no\n", clear: true},
	{file: "[mysqld]\ndatadir='/srv/with space/'\nport=3307\nskip-networking\n", clear: true},
	{file: "[mysqld]\ndatadir=/srv/a\n[server]\ndatadir=/srv/b\n", clear: true},
	{file: "[server]\ndatadir=/srv/a\n[mysqld]\nuser=mysql\n", clear: true},
	{file: "[mysqld-10.11]\ndatadir=/srv/ten\n[mysqld-9.7]\ndatadir=/srv/nine\n[mysqld-11.8]\ndatadir=/srv/eleven\n", clear: true},
	{file: "[mariadb]\ndatadir=/srv/a\n[galera]\nport=1\n", clear: true},
	{file: "[mysqld]\ndatadir=/srv/a\n[mysqld.two]\ndatadir=/srv/two\n", args: []string{"--defaults-group-suffix=.two"}, clear: true},
	{file: "[mysqld]\ndatadir=/srv/a\n", extra: "[mysqld]\ndatadir=/srv/extra\n", clear: true},
	{file: "[mysqld]\ndatadir=/srv/a\ndatadir=/srv/b\n", args: []string{"--datadir=/srv/c"}, clear: true},
	{file: "[mysqld]\ninnodb_data_home_dir=/srv/i\ninnodb-undo-directory=/srv/u\n", clear: true},
	{file: "[mysqld]\ninnodb_data_home_dir=\ninnodb_data_file_path=/srv/x/ibdata1:12M;ibdata2:12M:autoextend\n", clear: true},
	{file: "[mysqld]\ninnodb_data_file_path=ib1:12M;ib2:12M:autoextend\ninnodb_temp_data_file_path=tmp1:12M:autoextend\n", clear: true},
	{file: "[mysqld]\ninnodb_log_group_home_dir=redo\ndatadir=/srv/a\n", clear: true},
	{file: "[mysqld]\ninnodb-log-group-home-dir=./\ninnodb_undo_directory=.\n", clear: true},
	{file: "[mysqld]\nlog_bin=/var/log/mysql/bin\nserver-id=1\n", clear: true},
	{file: "[mysqld]\nlog-bin\nserver-id=1\n", clear: true},
	{file: "[mysqld]\nlog_bin=/var/log/mysql/bin\nserver-id=1\nskip-log-bin\n", clear: true},
	{file: "[mysqld]\nlog_bin=/var/log/mysql/bin\nlog_bin_index=/var/log/mysql/x.index\nserver-id=1\n", clear: true},
	{file: "[mysqld]\nrelay-log=/srv/r/relay\nrelay_log_index=/srv/r/relay.index\n", clear: true},
	{file: "[mysqld]\nloose-innodb-doublewrite-dir=/srv/dw\nloose-aria-log-dir-path=/srv/aria\nloose_rocksdb_datadir=/srv/rocks\n", clear: true},
	{file: "[mysqld]\nloose-innodb_directories=/srv/one;/srv/two\n", clear: true},
	{file: "[mysqld]\nloose-nonsense=1\nmax_connections=20\nsql_mode=''\n", clear: true},
	{args: []string{"-h", "/srv/h"}, clear: true},
	{args: []string{"-h/srv/h", "--port=1"}, clear: true},
	{args: []string{"--datadir", "/srv/h", "--socket", "/run/x.sock"}, clear: true},
	{args: []string{"--loose-datadir=/srv/l", "--innodb_undo_directory=/a", "--innodb-undo-directory=/b"}, clear: true},
	{args: []string{"--user", "--datadir=/srv/x"}, clear: true},
	{args: []string{"--datadir=relative"}},
	{args: []string{"--datad=/srv/x"}},
	{args: []string{"--innodb-undo-d=/srv/x"}},
	{args: []string{"--skip-datadir"}},
	{args: []string{"--datadir="}},
	{args: []string{"--", "--datadir=/srv/x"}},
	{args: []string{"word", "--datadir=/srv/x"}},
	{file: "[mysqld]\ntmpdir\ndatadir=/srv/x\n"},
	{file: "[mysqld]\nDataDir=/srv/x\n"},
	{home: "[mysqld]\ndatadir=/srv/home\n", clear: true},
	{file: "[mysqld]\n!include WORK/extra.cnf\n", extra: "[mysqld]\ndatadir=/srv/included\n", clear: true},
	{file: "no group\n"},
}

// way writes the files of a set-up, and returns how its server is started.
func (s setUp) way(t testing.TB, i installation) Question {
	t.Helper()
	q := Question{Argv: []string{i.server}}
	put := func(name, text string) {
		if err := os.WriteFile(i.path(name), []byte(strings.ReplaceAll(text, "WORK", i.work)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if s.file != "" {
		put("my.cnf.whole", s.file)
		q.Argv = append(q.Argv, "--defaults-file="+i.seen("my.cnf.whole"))
	}
	if s.extra != "" {
		put("extra.cnf", s.extra)
		if !strings.Contains(s.file, "!include") {
			q.Argv = []string{i.server, "--defaults-extra-file=" + i.seen("extra.cnf")}
		}
	}
	if s.home != "" {
		put("my.cnf", s.home)
		q.Env = []string{"MYSQL_HOME=" + i.work}
	}
	q.Argv = append(q.Argv, s.args...)
	return q
}

// ofPlugin tells whether a setting is one of a plugin, which a server that does not
// load it does not know. It may load it by its own tables, so it counts.
func ofPlugin(p host.Place) bool { return strings.HasPrefix(p.Setting, "rocksdb_") }

// A counting asks an installation, and counts what it asks. Without files, its
// my_print_defaults fails.
type counting struct {
	installation
	withoutFiles bool
	kept         []byte // what is compiled in
	servers      int    // how often a server was asked with its settings
}

func (c *counting) Run(ctx context.Context, q Question) ([]byte, error) {
	switch {
	case q.OfProgram && c.kept != nil:
		return c.kept, nil
	case q.OfProgram:
		output, err := c.installation.Run(ctx, q)
		c.kept = output
		return output, err
	case q.Argv[0] != c.server && c.withoutFiles:
		return nil, errors.New("not asked")
	case q.Argv[0] == c.server:
		c.servers++
	}
	return c.installation.Run(ctx, q)
}

// What option files and arguments tell is what a real server itself tells. It has
// to be asked only where they are odd.
func TestFilesTellWhatTheServerTells(t *testing.T) {
	for _, name := range []string{"mariadb", "mysql"} {
		t.Run(name, func(t *testing.T) {
			for _, i := range installations(t, name) {
				byFiles := 0
				files, server := &counting{installation: i}, &counting{installation: i, withoutFiles: true}
				for _, s := range setUps {
					way := s.way(t, i)
					services := serviceOf("db.service", way.Argv...)
					services[0].Environment = way.Env
					files.servers = 0
					got, errGot := i.engine.Settings(t.Context(), files, services)
					if told := files.servers == 0; told != s.clear {
						t.Errorf("%s: %q and %q tell: %v", i.root, way.Argv, s.file, told)
					}
					if !s.clear {
						continue
					}
					byFiles++
					want, errWant := i.engine.Settings(t.Context(), server, services)
					if got.Elsewhere = slices.DeleteFunc(got.Elsewhere, ofPlugin); len(got.Elsewhere) == 0 {
						got.Elsewhere = nil
					}
					if errGot != nil || errWant != nil || !reflect.DeepEqual(got, want) {
						t.Errorf("%s: %q with %q:\nfiles  %+v, %v\nserver %+v, %v", i.root, way.Argv, s.file, got, errGot, want, errWant)
					}
				}
				t.Logf("%s: %d of %d set-ups are told by files", i.root, byFiles, len(setUps))
			}
		})
	}
}

// Both costs of an answer, beside each other: as bootagent gets it, when it has
// kept what is compiled in, and from the server itself.
func BenchmarkAsking(b *testing.B) {
	for _, name := range []string{"mariadb", "mysql"} {
		for _, i := range installations(b, name) {
			services := serviceOf("db.service", i.server)
			for _, by := range []string{"files", "server"} {
				ask := &counting{installation: i, withoutFiles: by == "server"}
				b.Run(name+strings.ReplaceAll(i.root, "/", "_")+"/"+by, func(b *testing.B) {
					for b.Loop() {
						if _, err := i.engine.Settings(b.Context(), ask, services); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
