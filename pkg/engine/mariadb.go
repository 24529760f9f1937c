package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// mariadb is MariaDB 10.4 and later.
type mariadb struct{}

func (mariadb) Name() string { return "mariadb" }

// mariadbProgram is the server. What Galera's tool prints, and the variables
// that it sets, say from where to replicate, not where the data is.
var mariadbProgram = execstart.Program{
	Names:        []string{"mariadbd", "mysqld"},
	Wrappers:     []string{"-safe", "_safe", "-multi", "_multi"},
	Neutral:      []string{"_WSREP_NEW_CLUSTER", "_WSREP_START_POSITION"},
	NeutralTools: []string{"galera_recovery"},
}

func (mariadb) Tools() []Tool {
	return []Tool{{Paths: []string{"/usr/sbin/mariadbd"}}, {Paths: []string{"/usr/bin/mariadb-install-db"}, Makes: true}}
}

func (m mariadb) Settings(ctx context.Context, ask Asker, services []execstart.Service) (set host.EngineSettings, err error) {
	questions, err := m.questions(services)
	if err != nil {
		return set, err
	}
	return agreed(m.Name(), questions, func(q Question) (host.EngineSettings, error) {
		output, err := ask.Run(ctx, q)
		if err != nil {
			return host.EngineSettings{}, err
		}
		return m.answer(output)
	})
}

func (mariadb) questions(services []execstart.Service) ([]Question, error) {
	return asStarted(services, mariadbProgram, []string{"/usr/sbin/mariadbd", "--verbose", "--help"})
}

// Initialize does as Debian's package does. --rpm and --cross-bootstrap leave
// out the lookup of the host's own name, which needs a network and is only for
// the grants of a test database.
func (mariadb) Initialize(dir, owner string, _ host.EngineSettings) []string {
	return []string{
		"/usr/bin/mariadb-install-db", "--user=" + owner, "--datadir=" + dir,
		"--rpm", "--cross-bootstrap", "--skip-test-db", "--disable-log-bin",
		"--auth-root-authentication-method=socket",
	}
}

// mariadbSystem is the directory of the system tables.
const mariadbSystem = "mysql"

var mariadbFiles = regexp.MustCompile(`^(ibdata|ib_logfile|ibtmp|ib_buffer_pool|undo|aria_log|ddl_recovery|tc\.log|multi-master|master\.info|relay-log)` +
	`|\.(ibd|frm|opt|par|TRG|TRN|MA[ID]|MY[ID]|CS[VM]|ARZ|index|[0-9]{6})$`)

func (mariadb) Owns() Owned { return Owned{Dirs: []string{mariadbSystem}, Files: mariadbFiles} }

// Examine looks for the files without which MariaDB does not start, or makes
// new ones beside the data: InnoDB's system tablespace, the system tables, and
// Aria's log control file.
func (mariadb) Examine(dir Dir, set host.EngineSettings) host.DirectoryReport {
	needed := []string{"ibdata1", mariadbSystem, "aria_log_control"}
	if len(set.Files) > 0 {
		needed = slices.Concat(set.Files, needed[1:])
	}
	missing := slices.DeleteFunc(slices.Clone(needed), dir.Has)
	used := mariadbVersion(dir)
	report := host.DirectoryReport{State: host.Ready, Version: used}
	switch {
	case len(dir.Names) == 0:
		return host.DirectoryReport{State: host.Foreign, Reason: "it is empty", Hint: "if no data belongs there, remove the empty directory, then: bootagent retry"}
	case isMySQL(dir):
		return host.DirectoryReport{
			State: host.Foreign, Reason: "it has data of MySQL, which MariaDB cannot read",
			Hint: "use it on an instance with MySQL, or load a dump of it into a new database of MariaDB; bootagent changes nothing in it; if it is here by mistake, " + hintForeign,
		}
	case len(missing) == len(needed):
		return host.DirectoryReport{State: host.Foreign, Reason: fmt.Sprintf("it has %q and no file of MariaDB", slices.Min(dir.Names)), Hint: hintForeign}
	case len(missing) > 0:
		report.State = host.Damaged
		report.Reason = strings.Join(missing, " and ") + []string{" is", " are"}[min(len(missing)-1, 1)] + " missing"
		report.Hint = hintRestore
	case newer(used, set.Version):
		report.State = host.Unfit
		report.Reason = fmt.Sprintf("MariaDB %s used it, and the version installed here is older: %s", used, versionPattern.FindString(set.Version))
		report.Hint = fmt.Sprintf("use an image with MariaDB %s or newer, because MariaDB cannot be downgraded; or load a dump that %s made into a new database", series(used), series(used))
	default:
		for _, name := range needed {
			if wrong := dir.Misplaced(name, name == mariadbSystem); wrong != "" {
				report.State, report.Reason = host.Unfit, name+" in it "+wrong
				report.Hint = "put it there itself, with everything that belongs to it, because bootagent follows no links; or " + hintRestore
				break
			}
		}
	}
	return report
}

// isMySQL tells whether a directory is one of MySQL: since 8.0 its dictionary is
// in mysql.ibd; before, the number of its server is in auto.cnf, and it has no
// file of Aria.
func isMySQL(dir Dir) bool {
	if dir.Has("mysql.ibd") || dir.Has("#innodb_redo") || dir.Has("mysql_upgrade_history") {
		return true
	}
	if dir.Has("aria_log_control") {
		return false
	}
	info := dir.Head("mysql_upgrade_info")
	return dir.Has("auto.cnf") && dir.Has("ibdata1") || len(info) > 0 && !bytes.Contains(info, []byte("MariaDB"))
}

// mariadbVersion is the version of the newest MariaDB that is known to have used
// a directory: by what mariadb-upgrade wrote last, in a file that has one name
// up to 10.x and another since 11; by the server that made the redo log and the
// system tables, because a server may run without mariadb-upgrade; and by
// Debian's flag.
func mariadbVersion(dir Dir) (newest string) {
	take := func(version string) {
		if version != "" && (newest == "" || newer(version, newest)) {
			newest = version
		}
	}
	for _, name := range []string{"mariadb_upgrade_info", "mysql_upgrade_info"} {
		take(string(versionPattern.Find(dir.Head(name))))
	}
	// "Phys", a version and a position, then "MariaDB 10.11.18" from byte 16 on
	// (log0log.h).
	if head := dir.Head("ib_logfile0"); len(head) >= 48 {
		if made := creator.FindSubmatch(head[16:48]); made != nil {
			take(string(made[1]))
		}
	}
	// The definition of a table begins with FE 01; the version of its server is
	// at byte 51: 101118 for 10.11.18 (https://mariadb.com/kb/en/frm-files/).
	for _, table := range []string{"db.frm", "global_priv.frm", "servers.frm"} {
		if head := dir.Head(filepath.Join(mariadbSystem, table)); len(head) >= 55 && head[0] == 0xfe && head[1] == 1 {
			if id := binary.LittleEndian.Uint32(head[51:]); id >= 100000 && id < 1000000 {
				take(fmt.Sprintf("%d.%d.%d", id/10000, id/100%100, id%100))
			}
		}
	}
	for _, name := range dir.Names {
		if made := debianFlag.FindStringSubmatch(name); made != nil {
			take(made[1])
		}
	}
	return newest
}

var (
	versionPattern = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*(-[A-Za-z]+)?`)
	creator        = regexp.MustCompile(`^(?:MariaDB|Backup) ([0-9]+\.[0-9]+\.[0-9]+)`)
	debianFlag     = regexp.MustCompile(`^debian-([0-9]+\.[0-9]+)\.flag$`)
)

// series is the part of a version within which MariaDB can be downgraded: "10.11".
func series(version string) string {
	part := strings.SplitN(versionPattern.FindString(version), ".", 3)
	return strings.Join(part[:min(len(part), 2)], ".")
}

// newer tells whether one version is of a newer series than another. It is false
// if either is not known.
func newer(one, other string) bool {
	a, b := strings.Split(series(one), "."), strings.Split(series(other), ".")
	if len(a) < 2 || len(b) < 2 {
		return false
	}
	for i := range a {
		x, errX := strconv.Atoi(a[i])
		y, errY := strconv.Atoi(b[i])
		if errX != nil || errY != nil {
			return false
		}
		if x != y {
			return x > y
		}
	}
	return false
}

// elsewhere are the variables that can put a part of MariaDB's data outside of
// its data directory.
var elsewhere = []string{
	"innodb-data-home-dir", "innodb-log-group-home-dir", "innodb-undo-directory",
	"aria-log-dir-path", "rocksdb-datadir", "rocksdb-wal-dir",
}

// answer reads the table of variables at the end of mariadbd --verbose --help: a
// name, spaces, and its value, which may have spaces in it.
func (mariadb) answer(output []byte) (set host.EngineSettings, err error) {
	const none = "(No default value)"
	values := make(map[string]string)
	wanted := append([]string{"datadir", "version", "chroot", "innodb-data-file-path"}, elsewhere...)
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if value = strings.TrimSpace(value); slices.Contains(wanted, name) && value != none {
			values[name] = value
		}
	}
	dir := values["datadir"]
	switch {
	case dir == "":
		return set, errors.New("mariadbd --verbose --help prints no datadir")
	case !filepath.IsAbs(dir):
		return set, fmt.Errorf("mariadbd --verbose --help prints the datadir %q, which is not an absolute path", dir)
	}
	set.DataDirectory, set.Version = filepath.Clean(dir), values["version"]
	variable := func(name string) string { return strings.ReplaceAll(name, "-", "_") }
	if root := values["chroot"]; root != "" {
		return set, &ElsewhereError{"chroot", root, set.DataDirectory}
	}
	for _, name := range elsewhere {
		value := values[name]
		if value == "" {
			continue
		}
		below := value
		if !filepath.IsAbs(value) {
			below = filepath.Join(set.DataDirectory, value)
		}
		if below = filepath.Clean(below); below != set.DataDirectory && below != filepath.Join(set.DataDirectory, "#rocksdb") {
			return set, &ElsewhereError{variable(name), value, set.DataDirectory}
		}
	}
	for _, file := range strings.FieldsFunc(values["innodb-data-file-path"], func(r rune) bool { return r == ';' }) {
		name, _, _ := strings.Cut(file, ":")
		name = strings.TrimPrefix(name, "./")
		if strings.Contains(name, "/") || !fs.ValidPath(name) {
			return set, &ElsewhereError{variable("innodb-data-file-path"), values["innodb-data-file-path"], set.DataDirectory}
		}
		set.Files = append(set.Files, name)
	}
	return set, nil
}
