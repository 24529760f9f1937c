package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bootagent/pkg/systemd/guard"
)

const (
	mysqlRole = `version: 1
role: mysql
volumes:
  data: {find: {serial: vol0123456789abcdef0}, format: if-blank}
data:
  mysql: {volume: data, dir: mysql, bind: /var/lib/mysql, engine: mariadb, owner: mysql, if-absent: initialize}
services:
  # ssh.service has to stay as it is
  mariadb.service:
    ready: {unit: mysql-ready.service, timeout: 15m}
    also-guard:
      - mysql-exporter.service
      - backup.timer
`
	webRole = `version: 1
role: web
services:
  nginx.service: {imds: allow}
`
)

// A machine is a root directory with role files and units, in which the
// generator runs.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T, files ...string) machine {
	m := machine{t, t.TempDir()}
	m.write("usr/lib/systemd/system/mariadb.service", "[Service]\nExecStart=/usr/sbin/daemon\n",
		"usr/lib/systemd/system/mariadb.socket", "[Socket]\nListenStream=3306\n",
		"usr/lib/systemd/system/nginx.service", "[Service]\nExecStart=/usr/sbin/daemon\n")
	m.write(files...)
	return m
}

// write writes files: path, text, path, text, ...
func (m machine) write(pairs ...string) {
	m.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		file := filepath.Join(m.root, pairs[i])
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(pairs[i+1]), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
}

// A kernel keeps what is written to its log, one record to each write.
type kernel struct{ records []string }

func (k *kernel) Write(record []byte) (int, error) {
	k.records = append(k.records, string(record))
	return len(record), nil
}

// generate runs the generator as systemd does, with empty directories. It
// gives the guards that it wrote, by unit, and what it said.
func (m machine) generate() (guards map[string]string, said string) {
	m.t.Helper()
	out := m.t.TempDir()
	dirs := []string{out + "/generator", out + "/generator.early", out + "/generator.late"}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
	before := files(m.t, m.root)
	var log kernel
	if status := run(m.root, dirs, "system", &log); status != 0 {
		m.t.Errorf("the generator failed with %d", status)
	}
	if after := files(m.t, m.root); !slices.Equal(before, after) {
		m.t.Errorf("the generator changed the machine: %q became %q", before, after)
	}
	record := regexp.MustCompile(`^<[34]>bootagent-generator\[[0-9]+\]: [^\n]+\n$`)
	for _, line := range log.records {
		if !record.MatchString(line) || len(line) > 976 {
			m.t.Errorf("the kernel does not log this as one line: %q", line)
		}
		_, text, _ := strings.Cut(line, "]: ")
		said += text
	}
	guards = make(map[string]string)
	for _, file := range files(m.t, out) {
		path, text, _ := strings.Cut(file, "\n")
		unit, ok := strings.CutPrefix(path, "/generator.early/")
		unit, dropIn := strings.CutSuffix(unit, ".d/50-held-by-bootagent.conf")
		if !ok || !dropIn {
			m.t.Errorf("the generator wrote %s", path)
		}
		guards[unit] = text
	}
	return guards, said
}

// files gives the files below a directory, each with its path and its text.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		all = append(all, strings.TrimPrefix(path, dir)+"\n"+string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func expect(t *testing.T, got map[string]string, want ...guard.Hold) {
	t.Helper()
	for _, h := range want {
		h.NoSocket = true // these machines have no systemd-imdsd
		if got[h.Unit] != h.Text() {
			t.Errorf("the guard of %s is %q, not %q", h.Unit, got[h.Unit], h.Text())
		}
		delete(got, h.Unit)
	}
	for unit, text := range got {
		t.Errorf("guarded as well is %s: %q", unit, text)
	}
}

var (
	mariadb  = guard.Hold{Unit: "mariadb.service", Service: "mariadb.service"}
	socket   = guard.Hold{Unit: "mariadb.socket", Service: "mariadb.service"}
	exporter = guard.Hold{Unit: "mysql-exporter.service", Service: "mariadb.service"}
	backup   = guard.Hold{Unit: "backup.timer", Service: "mariadb.service"}
	nginx    = guard.Hold{Unit: "nginx.service", Service: "nginx.service", IMDS: true}
)

// installed installs guards as "bootagent guard install" does.
func (m machine) installed(holds ...guard.Hold) machine {
	m.t.Helper()
	if _, err := guard.Install(m.root, holds); err != nil {
		m.t.Fatal(err)
	}
	return m
}

func TestEveryUnitOfEveryRoleIsGuarded(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/mysql.yaml", mysqlRole, "etc/bootagent/roles.d/web.yaml", webRole)
	guards, said := m.generate()
	expect(t, guards, mariadb, socket, exporter, backup, nginx)
	want := "these units have no up-to-date guard in /etc, so the generator holds them: backup.timer, mariadb.service, mariadb.socket, " +
		"mysql-exporter.service, nginx.service; run bootagent guard install\n"
	if said != want {
		t.Errorf("said is %q, not %q", said, want)
	}
}

func TestInstalledGuardsNeedNoGenerator(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/mysql.yaml", mysqlRole, "run/bootagent/roles.d/mysql.yaml", mysqlRole).
		installed(mariadb, exporter, backup)
	guards, said := m.generate()
	expect(t, guards)
	if said != "" {
		t.Errorf("said is %q", said)
	}
}

func TestWithoutRolesNothingHappens(t *testing.T) {
	guards, said := newMachine(t).generate()
	expect(t, guards)
	if said != "" {
		t.Errorf("said is %q", said)
	}
}

func TestAGuardThatIsOutOfDateIsReplaced(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/mysql.yaml", mysqlRole).installed(mariadb, exporter, backup)
	m.write(guard.Path("mariadb.service"), strings.ReplaceAll(mariadb.Text(), "Assert", "#Assert"))
	guards, said := m.generate()
	expect(t, guards, mariadb)
	if !strings.Contains(said, "so the generator holds them: mariadb.service; run bootagent guard install") {
		t.Errorf("said is %q", said)
	}
}

func TestAForeignFileIsOutranked(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/web.yaml", webRole, guard.Path("nginx.service"), "")
	guards, said := m.generate()
	expect(t, guards, nginx)
	if !strings.Contains(said, guard.Path("nginx.service")+" is in the place of a guard") {
		t.Errorf("said is %q", said)
	}
}

func TestAChangedRoleFileHoldsAtTheNextReload(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/web.yaml", webRole).installed(nginx)
	m.write("etc/bootagent/roles.d/web.yaml", strings.Replace(webRole, "allow", "deny", 1)+"  varnish.service: {}\n")
	guards, _ := m.generate()
	expect(t, guards,
		guard.Hold{Unit: "nginx.service", Service: "nginx.service"},
		guard.Hold{Unit: "varnish.service", Service: "varnish.service"})
}

func TestADeletedRoleFileLetsNothingLoose(t *testing.T) {
	t.Run("its guards are installed", func(t *testing.T) {
		guards, said := newMachine(t).installed(mariadb, exporter, backup).generate()
		expect(t, guards) // and generate sees that those in /etc are left
		if said != "" {
			t.Errorf("said is %q", said)
		}
	})
	t.Run("they are not, but it is in force", func(t *testing.T) {
		guards, said := newMachine(t, "run/bootagent/roles.d/mysql.yaml", mysqlRole).generate()
		expect(t, guards, mariadb, socket, exporter, backup)
		want := "no readable role file in /etc names these units, but a role in force does, so they are held until the next boot: " +
			"backup.timer, mariadb.service, mariadb.socket, mysql-exporter.service\n"
		if said != want {
			t.Errorf("said is %q, not %q", said, want)
		}
	})
	t.Run("a newer one says otherwise", func(t *testing.T) {
		guards, _ := newMachine(t, "run/bootagent/roles.d/web.yaml", webRole,
			"etc/bootagent/roles.d/web.yaml", strings.Replace(webRole, "allow", "deny", 1)).generate()
		expect(t, guards, guard.Hold{Unit: "nginx.service", Service: "nginx.service"})
	})
}

func TestABrokenRoleFileHoldsWhatItNames(t *testing.T) {
	broken := mysqlRole + "    after: [ssh.service, cron.service]\n    colour: blue\n"
	m := newMachine(t, "etc/bootagent/roles.d/mysql.yaml", broken)
	guards, said := m.generate()
	expect(t, guards, mariadb, socket,
		guard.Hold{Unit: "mysql-exporter.service", Service: "mysql-exporter.service"},
		guard.Hold{Unit: "backup.timer", Service: "backup.service"})
	for _, words := range []string{
		"mysql.yaml:14:5: ", "; ", "mysql.yaml:15:5: ",
		"a role file that cannot be read seems to name these units, so the generator holds them: backup.timer, mariadb.service, mariadb.socket, " +
			"mysql-exporter.service; correct the file, then run bootagent guard install\n",
	} {
		if !strings.Contains(said, words) {
			t.Errorf("said is %q, without %q", said, words)
		}
	}
}

// A guess does not know which service a unit belongs with. If it took the place
// of the guard of a running unit, systemd would stop that unit.
func TestABrokenRoleFileChangesNoInstalledGuard(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/mysql.yaml", mysqlRole+"oops\n").installed(mariadb, exporter)
	guards, said := m.generate()
	expect(t, guards, guard.Hold{Unit: "backup.timer", Service: "backup.service"})
	if !strings.Contains(said, "mysql.yaml:14:") {
		t.Errorf("said is %q", said)
	}
}

const (
	secretRole = `version: 1
role: orders
secrets:
  sql: {from: "s3://secrets/${params.cluster}/sql.age", services: [mariadb.service]}
  tls: {from: "file:///etc/tls.age", credential: tls.key, services: [mariadb.service]}
params: {cluster: {}}
services:
  mariadb.service: {also-guard: [mysql-exporter.service]}
`
	replicaRole = `version: 1
role: replica
secrets:
  other: {from: "file:///etc/other.age", credential: tls.key, services: [mariadb.service]}
services:
  mariadb.service: {}
`
)

var withSecrets = guard.Hold{
	Unit: "mariadb.service", Service: "mariadb.service", Credentials: []string{"sql", "tls.key"}, Optional: []string{"sql"},
}

func TestCredentialsAreGuardedAsTheyAreInstalled(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/orders.yaml", secretRole, "etc/bootagent/roles.d/replica.yaml", replicaRole)
	guards, _ := m.generate()
	expect(t, guards, withSecrets, socket, exporter)
	guards, said := m.installed(withSecrets, exporter).generate()
	expect(t, guards)
	if said != "" {
		t.Errorf("said is %q", said)
	}
}

// A unit of a role whose file is broken later may start anew all the same.
func TestABrokenRoleFileTakesNoCredentialAway(t *testing.T) {
	for _, broken := range []string{"orders", "replica"} {
		t.Run(broken, func(t *testing.T) {
			m := newMachine(t)
			for _, dir := range []string{"etc", "run"} {
				m.write(dir+"/bootagent/roles.d/orders.yaml", secretRole, dir+"/bootagent/roles.d/replica.yaml", replicaRole)
			}
			m.installed(withSecrets, exporter).write("etc/bootagent/roles.d/"+broken+".yaml", "oops")
			guards, said := m.generate()
			expect(t, guards)
			if !strings.Contains(said, broken+".yaml:1:1: ") {
				t.Errorf("said is %q", said)
			}
		})
	}
	t.Run("it lets nothing reach the metadata service", func(t *testing.T) {
		m := newMachine(t, "etc/bootagent/roles.d/web.yaml", strings.Replace(webRole, "allow", "deny", 1),
			"etc/bootagent/roles.d/broken.yaml", "oops", "run/bootagent/roles.d/web.yaml", webRole)
		guards, _ := m.generate()
		expect(t, guards, guard.Hold{Unit: "nginx.service", Service: "nginx.service"})
	})
}

func TestABrokenRoleFileAndTheOneInForceHoldTogether(t *testing.T) {
	broken := strings.Replace(mysqlRole, "      - backup.timer\n", "      - other.timer\n", 1) + "oops\n"
	m := newMachine(t, "etc/bootagent/roles.d/mysql.yaml", broken, "run/bootagent/roles.d/mysql.yaml", mysqlRole)
	guards, _ := m.generate()
	expect(t, guards, mariadb, socket, exporter, backup, guard.Hold{Unit: "other.timer", Service: "other.service"})
}

// What is left may well be a role file that can be read, and names less.
func TestATruncatedRoleFileLetsNothingLoose(t *testing.T) {
	for length := 0; length < len(mysqlRole); length += 10 {
		m := newMachine(t, "etc/bootagent/roles.d/mysql.yaml", mysqlRole[:length], "run/bootagent/roles.d/mysql.yaml", mysqlRole)
		guards, _ := m.generate()
		expect(t, guards, mariadb, socket, exporter, backup)
	}
}

func TestOneBadRoleFileDoesNotHideTheOthers(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/web.yaml", webRole,
		"etc/bootagent/roles.d/old.yml", strings.ReplaceAll(webRole, "nginx", "apache2"),
		"etc/bootagent/roles.d/dir.yaml/x", "",
		"etc/bootagent/roles.d/big.yaml", "services:\n  big.service:\n"+strings.Repeat("#", maxSize),
		"etc/bootagent/roles.d/binary.yaml", "\xff\xfe\x00services:\n  odd.service: {}\n",
		"etc/bootagent/roles.d/empty.yaml", "",
		"etc/bootagent/roles.d/.hidden.yaml", "services: {hidden.service: {}}",
		"etc/bootagent/roles.d/web.yaml~", "services: {backup.service: {}}",
		"etc/bootagent/roles.d/README", "services: {readme.service: {}}")
	dir := filepath.Join(m.root, "etc/bootagent/roles.d")
	if err := syscall.Mkfifo(dir+"/pipe.yaml", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", dir+"/link.yaml"); err != nil {
		t.Fatal(err)
	}
	guards, said := m.generate()
	expect(t, guards, nginx, guard.Hold{Unit: "apache2.service", Service: "apache2.service"},
		guard.Hold{Unit: "big.service", Service: "big.service"}, guard.Hold{Unit: "odd.service", Service: "odd.service"})
	for _, words := range []string{
		"old.yml is not read: the name of a role file ends in .yaml; rename it",
		"dir.yaml: not a regular file",
		"big.yaml: larger than 1048576 bytes",
		"binary.yaml:", "empty.yaml:",
		"pipe.yaml: not a regular file",
		"link.yaml: no such file or directory",
	} {
		if !strings.Contains(said, words) {
			t.Errorf("said is %q, without %q", said, words)
		}
	}
}

func TestRolesThatContradictEachOtherHoldAllTheSame(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/a.yaml", "version: 1\nrole: a\nservices:\n  nginx.service: {also-guard: [mariadb.service]}\n",
		"etc/bootagent/roles.d/b.yaml", "version: 1\nrole: b\nservices:\n  mariadb.service: {}\n")
	guards, said := m.generate()
	if guards["mariadb.service"] == "" || guards["nginx.service"] == "" {
		t.Errorf("guarded are %v", guards)
	}
	if !strings.Contains(said, "cannot hold mariadb.service for both mariadb.service and nginx.service") {
		t.Errorf("said is %q", said)
	}
}

func TestABootNeverFails(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/web.yaml", webRole)
	var log kernel
	early := filepath.Join(m.root, "usr/lib/systemd/system/nginx.service") // a file
	if status := run(m.root, []string{early}, "system", &log); status != 0 {
		t.Errorf("the status is %d", status)
	}
	if said := strings.Join(log.records, ""); !strings.Contains(said, "cannot hold nginx.service: ") {
		t.Errorf("said is %q", said)
	}
	if err := protect(func() error { panic("oh") }); err == nil || err.Error() != "internal error: oh" {
		t.Errorf("a panic became %v", err)
	}
}

func TestArguments(t *testing.T) {
	m := newMachine(t, "etc/bootagent/roles.d/web.yaml", webRole)
	for _, test := range []struct {
		args   []string
		scope  string
		status int
		wrote  bool
		words  string
	}{
		{args: nil, status: 2, words: "1 or 3 directories expected as arguments, not 0"},
		{args: []string{"a", "b"}, status: 2, words: "1 or 3 directories expected as arguments, not 2"},
		{args: []string{"early"}, wrote: true, words: "the generator holds them"},
		{args: []string{"normal", "early", "late"}, scope: "system", wrote: true, words: "the generator holds them"},
		{args: []string{"normal", "early", "late"}, scope: "user"},
	} {
		t.Run(fmt.Sprint(test.args, test.scope), func(t *testing.T) {
			t.Chdir(t.TempDir())
			var log kernel
			if status := run(m.root, test.args, test.scope, &log); status != test.status {
				t.Errorf("the status is %d, not %d", status, test.status)
			}
			if said := strings.Join(log.records, ""); !strings.Contains(said, test.words) || test.words == "" && said != "" {
				t.Errorf("said is %q, not %q", said, test.words)
			}
			if _, err := os.Stat("early/nginx.service.d/50-held-by-bootagent.conf"); (err == nil) != test.wrote {
				t.Errorf("the guard: %v", err)
			}
			for _, dir := range []string{"normal", "late"} {
				if _, err := os.Stat(dir); err == nil {
					t.Errorf("something is in %s", dir)
				}
			}
		})
	}
}

// The program that systemd runs: small, and in need of no library, as /usr/lib
// may be broken when it is needed most.
func TestTheProgramIsStaticAndSmall(t *testing.T) {
	const limit = 4 << 20
	program := filepath.Join(t.TempDir(), "bootagent-generator")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= limit {
		t.Errorf("it has %d bytes, and %d are allowed", info.Size(), limit)
	}
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			t.Error("it is not static")
		}
	}
}

func BenchmarkRun(b *testing.B) {
	root := b.TempDir()
	for path, text := range map[string]string{"mysql.yaml": mysqlRole, "web.yaml": webRole} {
		file := filepath.Join(root, "etc/bootagent/roles.d", path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(root, "usr/lib/systemd/system"), os.DirFS("/usr/lib/systemd/system")); err != nil {
		b.Skipf("the units of this machine can't be copied: %v", err)
	}
	early := b.TempDir()
	for b.Loop() {
		run(root, []string{early}, "", &kernel{})
	}
}

// A template that a broken file names has no grant: its instances wait until the
// file is mended.
func TestATemplateOfABrokenFileIsHeld(t *testing.T) {
	m := newMachine(t)
	m.write("etc/bootagent/roles.d/db.yaml", "version: 1\nrole: db\nservices:\n  pg@main.service: {also-guard: [pg@.service]\n",
		"usr/lib/systemd/system/pg@.service", "[Service]\nExecStart=/usr/bin/pg\n")
	guards, _ := m.generate()
	expect(t, guards, guard.Hold{Unit: "pg@main.service", Service: "pg@main.service"}, guard.Hold{Unit: "pg@.service", Service: "pg@held.service"})
}
