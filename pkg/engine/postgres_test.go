package engine

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/datadir"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// pgControl is the beginning of a control file with a state.
func pgControl(state uint32) string {
	b := make([]byte, 64)
	binary.LittleEndian.PutUint32(b[8:], 1300)
	binary.LittleEndian.PutUint32(b[16:], state)
	return string(b)
}

// pgDir makes a directory that holds what PostgreSQL 15 makes.
func pgDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "postgres")
	for _, name := range []string{"base/1", "base/4", "base/5", "global", "pg_wal", "pg_xact", "pg_tblspc"} {
		ok(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	for name, text := range map[string]string{"PG_VERSION": "15\n", "global/pg_control": pgControl(1), "postgresql.conf": "", "base/1/1259": "data"} {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

var pgSet = host.EngineSettings{DataDirectory: "/var/lib/postgresql/15/main", Version: "15.18", Program: "/usr/lib/postgresql/15/bin/postgres"}

func examinePostgres(t *testing.T, dir, owner string, set host.EngineSettings) host.DirectoryReport {
	t.Helper()
	r, err := Examine(datadir.Host{}, host.Data{Engine: "postgres", Owner: owner, Dir: dir}, set)
	ok(t, err)
	return r
}

func TestExamineTellsTheStateOfADirectoryOfPostgreSQL(t *testing.T) {
	const (
		restore = "restore the directory from a backup, then: bootagent retry; bootagent changes nothing in it"
		again   = "if it is a new database, remove the directory, or initialise another one; or " + restore
		away    = "move it away, or set another dir: for the data in the role file; then: bootagent retry"
	)
	remove := func(names ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				ok(t, os.RemoveAll(filepath.Join(dir, name)))
			}
		}
	}
	put := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), text) }
	}
	all := []string{"PG_VERSION", "base", "global", "pg_wal", "pg_xact", "pg_tblspc", "postgresql.conf"}
	for name, c := range map[string]struct {
		change func(t *testing.T, dir string)
		state  host.DirectoryState
		reason string
		hint   string
	}{
		"whole":                 {func(*testing.T, string) {}, host.Ready, "", ""},
		"without its settings":  {remove("postgresql.conf"), host.Ready, "", ""},
		"a server ran":          {put("postmaster.pid", "4711\n/x\n"), host.Ready, "", ""},
		"empty":                 {remove(all...), host.Foreign, "it is empty", "if no data belongs there, remove the empty directory, then: bootagent retry"},
		"of something else":     {func(t *testing.T, dir string) { remove(all...)(t, dir); write(t, dir+"/ibdata1", "") }, host.Foreign, `it has "ibdata1" and no file of PostgreSQL`, away},
		"no version":            {remove("PG_VERSION"), host.Damaged, "PG_VERSION is missing", again},
		"no version in it":      {put("PG_VERSION", "<script>"), host.Damaged, "PG_VERSION has no version of PostgreSQL", again},
		"no control file":       {remove("global/pg_control"), host.Damaged, "global/pg_control is missing, as after an initdb that did not finish", again},
		"no log":                {remove("pg_wal"), host.Damaged, "pg_wal is missing", again},
		"two missing":           {remove("pg_wal", "pg_xact"), host.Damaged, "pg_wal and pg_xact are missing", again},
		"an empty control file": {put("global/pg_control", ""), host.Damaged, "global/pg_control has no state of a database", restore},
		"a control file of zeros": {
			put("global/pg_control", strings.Repeat("\x00", 8192)),
			host.Damaged, "global/pg_control has no state of a database", restore,
		},
		"upgraded by links": {
			func(t *testing.T, dir string) {
				ok(t, os.Rename(dir+"/global/pg_control", dir+"/global/pg_control.old"))
			},
			host.Damaged, "pg_upgrade --link has moved its data into a directory of a newer version: it has global/pg_control.old",
			"use the new directory that pg_upgrade made; or " + restore,
		},
		"one database":  {remove("base/4", "base/5"), host.Damaged, "initdb did not finish: of the 3 databases that it makes (template1, template0, postgres), it has 1", again},
		"two databases": {remove("base/5"), host.Damaged, "initdb did not finish: of the 3 databases that it makes (template1, template0, postgres), it has 2", again},
		"one dropped, one made": {func(t *testing.T, dir string) {
			ok(t, os.Rename(dir+"/base/5", dir+"/base/16384"))
		}, host.Ready, "", ""},
		"a server of one user was cut off": {
			put("postmaster.pid", "-4711\n"), host.Damaged,
			"initdb, or postgres --single, was cut off: postmaster.pid is of a server that takes no connections, and there are no other databases than those of initdb", again,
		},
		"one with a database of a user was cut off": {func(t *testing.T, dir string) {
			write(t, dir+"/postmaster.pid", "-4711\n")
			ok(t, os.Mkdir(dir+"/base/16384", 0o700))
		}, host.Ready, "", ""},
		"too old": {
			put("PG_VERSION", "13\n"), host.Unfit, "it is of PostgreSQL 13, and the version installed here is newer: 15.18",
			"use an image with PostgreSQL 13; or upgrade it with pg_upgrade where the programs of both versions are; or load a dump of it, made by pg_dumpall, into a new database; then: bootagent retry",
		},
		"much too old": {
			put("PG_VERSION", "9.6\n"), host.Unfit, "it is of PostgreSQL 9.6, and the version installed here is newer: 15.18",
			"use an image with PostgreSQL 9.6; or upgrade it with pg_upgrade where the programs of both versions are; or load a dump of it, made by pg_dumpall, into a new database; then: bootagent retry",
		},
		"too new": {
			put("PG_VERSION", "17\n"), host.Unfit, "it is of PostgreSQL 17, and the version installed here is older: 15.18",
			"use an image with PostgreSQL 17; or load a dump of it into a new database; then: bootagent retry",
		},
		"readable by its group":     {func(t *testing.T, dir string) { ok(t, os.Chmod(dir, 0o750)) }, host.Ready, "", ""},
		"writable by its group":     {func(t *testing.T, dir string) { ok(t, os.Chmod(dir, 0o770)) }, host.Unfit, "it has mode 0770, and PostgreSQL starts only on a directory of mode 0700 or 0750", "chmod 0700 -- DIR; then: bootagent retry"},
		"readable by all":           {func(t *testing.T, dir string) { ok(t, os.Chmod(dir, 0o755)) }, host.Unfit, "it has mode 0755, and PostgreSQL starts only on a directory of mode 0700 or 0750", "chmod 0700 -- DIR; then: bootagent retry"},
		"a version that is no file": {func(t *testing.T, dir string) { remove("pg_xact")(t, dir); write(t, dir+"/pg_xact", "") }, host.Unfit, "pg_xact in it is a file, not a directory", "put it there itself, or " + restore},
	} {
		dir := pgDir(t)
		c.change(t, dir)
		got := examinePostgres(t, dir, me(t), pgSet)
		if hint := strings.ReplaceAll(c.hint, "DIR", dir); got.State != c.state || got.Reason != c.reason || got.Hint != hint {
			t.Errorf("%s:\ngot  %s: %s (%s)\nwant %s: %s (%s)", name, got.State, got.Reason, got.Hint, c.state, c.reason, hint)
		}
	}
}

func TestAServerWithItsSettingsInItsDirectoryNeedsThemThere(t *testing.T) {
	set := pgSet
	set.Inside = true
	dir := pgDir(t)
	if got := examinePostgres(t, dir, me(t), set); got.State != host.Ready {
		t.Errorf("got %+v", got)
	}
	ok(t, os.Remove(dir+"/postgresql.conf"))
	if got := examinePostgres(t, dir, me(t), set); got.State != host.Unfit || got.Reason != "postgresql.conf is missing, and the server is started with its settings in its data directory" || got.Hint == "" {
		t.Errorf("got %+v", got)
	}
}

// The settings may be root's; a relation may not.
func TestWhatBelongsToAnotherUserIsFoundInADirectoryOfPostgreSQL(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("giving a file to another user needs root")
	}
	for name, refused := range map[string]bool{
		"PG_VERSION": true, "global/pg_control": true, "base/1/1259": true, "pg_wal/000000010000000000000001": true,
		"postgresql.conf": false, "pg_hba.conf": false, "pg_wal/README": false,
	} {
		dir := pgDir(t)
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			write(t, filepath.Join(dir, name), "data")
		}
		ok(t, os.Chown(filepath.Join(dir, name), 65534, 65534))
		got := examinePostgres(t, dir, "root", pgSet)
		if refused != (got.State == host.Unfit) || refused && !strings.HasPrefix(got.Reason, name+" in it belongs to user number 65534") {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestLastStopOfPostgreSQL(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  host.LastStop
		says  string
	}{
		"stopped":             {nil, host.StopClean, "pg_control: shut down"},
		"a standby's stop":    {map[string]string{"global/pg_control": pgControl(2)}, host.StopClean, "pg_control: shut down in recovery"},
		"cut off as it began": {map[string]string{"global/pg_control": pgControl(0)}, host.StopUnclean, "pg_control: starting up"},
		"cut off":             {map[string]string{"global/pg_control": pgControl(6)}, host.StopUnclean, "pg_control: in production"},
		"a standby's cut":     {map[string]string{"global/pg_control": pgControl(5), "standby.signal": ""}, host.StopUnclean, "pg_control: in archive recovery"},
		"a state to come":     {map[string]string{"global/pg_control": pgControl(99)}, host.StopUnknown, "pg_control: unknown state"},
		"a base backup":       {map[string]string{"global/pg_control": pgControl(6), "backup_label": "START WAL LOCATION"}, host.StopUnknown, "backup_label: a base backup, which PostgreSQL recovers when it starts"},
		"a restore":           {map[string]string{"global/pg_control": pgControl(6), "recovery.signal": ""}, host.StopUnknown, "recovery.signal: PostgreSQL recovers from its archive when it starts; pg_control: in production"},
	} {
		dir := pgDir(t)
		for file, text := range c.files {
			write(t, filepath.Join(dir, file), text)
		}
		if got := examinePostgres(t, dir, me(t), pgSet); got.State != host.Ready || got.LastStop != c.want || got.LastStopSays != c.says {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestLinksOutOfADirectoryOfPostgreSQLAreTold(t *testing.T) {
	dir := pgDir(t)
	for name, target := range map[string]string{
		"pg_wal": "/srv/wal/15", "pg_stat": "../stat", "pg_tblspc/16400": "/srv/fast/", "pg_tblspc/16401": "/var/lib/postgresql/15/main/inside",
		"postgresql.conf": "/etc/postgresql.conf", "pg_hba.conf": "/etc/pg_hba.conf", "pg_subtrans": "pg_xact",
	} {
		ok(t, os.RemoveAll(filepath.Join(dir, name)))
		ok(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	got := examinePostgres(t, dir, me(t), pgSet)
	want := []host.Place{
		{Setting: "the link pg_stat", Value: "../stat", Path: "/var/lib/postgresql/15/stat"},
		{Setting: "the link pg_wal", Value: "/srv/wal/15", Path: "/srv/wal/15"},
		{Setting: "the tablespace pg_tblspc/16400", Value: "/srv/fast/", Path: "/srv/fast"},
	}
	if got.State != host.Ready || !reflect.DeepEqual(got.Elsewhere, want) {
		t.Errorf("got %+v", got)
	}
}

// The moments of a real initdb, as postgres_live_test.go records them.
func TestNoRecordedMomentOfInitdbIsTakenForWhole(t *testing.T) {
	files, err := filepath.Glob("testdata/postgres-*.initdb")
	ok(t, err)
	if len(files) < 3 {
		t.Errorf("moments of %q only", files)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		ok(t, err)
		version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "postgres-"), ".initdb")
		moments := strings.Split(string(text), "\n")
		states := make(map[host.DirectoryState]int)
		for n, moment := range moments {
			dir := t.TempDir()
			ok(t, os.Chmod(dir, 0o700))
			served := strings.Contains(moment, "base/5") && !strings.Contains(moment, "postmaster.pid=2d")
			for word := range strings.FieldsSeq(moment) {
				name, head, has := strings.Cut(word, "=")
				path := filepath.Join(dir, name)
				ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
				if data, err := hex.DecodeString(head); has || strings.HasSuffix(name, ".conf") {
					ok(t, err)
					ok(t, os.WriteFile(path, data, 0o600))
				} else {
					ok(t, os.MkdirAll(path, 0o700))
				}
			}
			got := examinePostgres(t, dir, me(t), host.EngineSettings{Version: version, Inside: true})
			states[got.State]++
			if got.State == host.Ready && !served || n == len(moments)-1 && got.State != host.Ready {
				t.Errorf("%s: moment %d, %s: got %+v", file, n, moment, got)
			}
		}
		if states[host.Damaged] < 5 {
			t.Errorf("%s has few moments: %v", file, states)
		}
	}
}

func TestPostgresIsInitializedByTheServersOwnProgram(t *testing.T) {
	got := strings.Join(postgres{}.Initialize("/srv/data/x", "postgres", pgSet), " ")
	want := "/usr/lib/postgresql/15/bin/initdb --pgdata=/srv/data/x --username=postgres --encoding=UTF8 --locale=C.UTF-8 --auth-local=peer --auth-host=scram-sha-256 --data-checksums"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A pgMachine answers as a machine with these files, and says what it was asked.
type pgMachine struct {
	files  []string
	answer string
	asked  []string
}

func (m *pgMachine) Run(_ context.Context, q Question) ([]byte, error) {
	m.asked = append(m.asked, strings.Join(slices.Concat(q.Env, q.Argv), " "))
	if slices.Contains(q.Argv, "--version") {
		return []byte("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), nil
	}
	return []byte(m.answer), nil
}

func (m *pgMachine) Read(path string) ([]byte, error) {
	if slices.Contains(m.files, path) {
		return nil, nil
	}
	return nil, fmt.Errorf("cannot read: %w", fs.ErrNotExist)
}

func (m *pgMachine) Glob(pattern string) (found []string, err error) {
	for _, file := range m.files {
		if is, err := filepath.Match(pattern, file); err != nil {
			return nil, err
		} else if is {
			found = append(found, file)
		}
	}
	return found, nil
}

func TestPostgresIsAskedAsItsServicesStartIt(t *testing.T) {
	service := func(path string, args ...string) execstart.Service {
		return execstart.Service{Unit: "db.service", Commands: []execstart.Exec{{Path: path, Argv: append([]string{path}, args...)}}}
	}
	const (
		debian  = "/usr/lib/postgresql/15/bin/postgres"
		main    = "/etc/postgresql/15/main/postgresql.conf"
		cluster = debian + " -D /etc/postgresql/15/main -c config_file=" + main + " -C data_directory"
	)
	for name, c := range map[string]struct {
		files    []string
		services []execstart.Service
		answer   string
		asked    string // after its version
		want     string // the data directory, or the error
		inside   bool
	}{
		"Debian's cluster":       {[]string{debian, main}, []execstart.Service{service("/usr/bin/pg_ctlcluster", "15-main", "start")}, "/var/lib/postgresql/15/main\n", cluster, "/var/lib/postgresql/15/main", false},
		"no service":             {[]string{debian, main}, nil, "/var/lib/postgresql/15/main\n", cluster, "/var/lib/postgresql/15/main", false},
		"no service, two":        {[]string{debian, main, "/etc/postgresql/15/b/postgresql.conf"}, nil, "", "", "no service of the role needs the data, and 2 files match /etc/postgresql/*/*/postgresql.conf", false},
		"Red Hat's, empty":       {[]string{"/usr/bin/postmaster"}, []execstart.Service{service("/usr/bin/postmaster", "-D", "/var/lib/pgsql/data")}, "", "", "/var/lib/pgsql/data", true},
		"Red Hat's, bound":       {[]string{"/usr/bin/postmaster", "/var/lib/pgsql/data/postgresql.conf"}, []execstart.Service{service("/usr/bin/postmaster", "-D", "/var/lib/pgsql/data")}, "/var/lib/pgsql/data\n", "/usr/bin/postmaster -D /var/lib/pgsql/data -C data_directory", "/var/lib/pgsql/data", true},
		"Red Hat's, led away":    {[]string{"/usr/bin/postmaster", "/var/lib/pgsql/data/postgresql.conf"}, []execstart.Service{service("/usr/bin/postmaster", "-D", "/var/lib/pgsql/data")}, "/srv/x\n", "/usr/bin/postmaster -D /var/lib/pgsql/data -C data_directory", "/srv/x", false},
		"a relative directory":   {[]string{debian, "/e/postgresql.conf"}, []execstart.Service{service(debian, "-D", "/e")}, "data\n", debian + " -D /e -C data_directory", `prints "data\n", which is not an absolute path`, false},
		"not installed":          {nil, []execstart.Service{service("/usr/bin/pg_ctlcluster", "15-main", "start")}, "", "", "/usr/lib/postgresql/15/bin/postgres or /usr/pgsql-15/bin/postgres is not installed", false},
		"two, in one directory":  {[]string{debian, "/e/postgresql.conf"}, []execstart.Service{service(debian, "-D", "/e"), service(debian, "-D", "/e", "-i")}, "/x\n", debian + " -D /e -i -C data_directory", "/x", false},
		"two, in two":            {[]string{debian}, []execstart.Service{service(debian, "-D", "/a"), service(debian, "-D", "/b")}, "", "", "the services of the role start postgres with two data directories, /a and /b", true},
		"Debian's umbrella only": {[]string{debian, main}, []execstart.Service{service("/bin/true")}, "", "", "neither it nor another service", false},
	} {
		m := &pgMachine{files: c.files, answer: c.answer}
		set, err := postgres{}.Settings(t.Context(), m, c.services)
		if err != nil {
			if !strings.Contains(err.Error(), c.want) || strings.Contains(name, "two, in two") && !fault.IsPermanent(err) {
				t.Errorf("%s: got %v; want %s", name, err, c.want)
			}
			continue
		}
		last := m.asked[len(m.asked)-1]
		if c.asked == "" {
			c.asked = set.Program + " --version"
		}
		if set.DataDirectory != c.want || set.Inside != c.inside || set.Version != "15.18" || set.Program != c.files[0] || last != c.asked {
			t.Errorf("%s: got %+v, asked %q", name, set, m.asked)
		}
	}
	unclear := (*execstart.UnclearError)(nil)
	if _, err := (postgres{}).Settings(t.Context(), &pgMachine{}, []execstart.Service{service("/usr/bin/patroni")}); !errors.As(err, &unclear) {
		t.Errorf("a wrapper: got %v", err)
	}
}
