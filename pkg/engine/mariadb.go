package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/engine/release"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// mariadb is MariaDB 10.4 and later.
type mariadb struct{}

func (mariadb) Name() string { return "mariadb" }

// mariadbFamily asks the server. What Galera's tool prints, and the variables
// that it sets, say from where to replicate, not where the data is.
var mariadbFamily = family{
	name: "mariadb", title: "MariaDB", server: "/usr/sbin/mariadbd",
	program: execstart.Program{
		Names:        []string{"mariadbd", "mysqld"},
		Wrappers:     []string{"-safe", "_safe", "-multi", "_multi"},
		Neutral:      []string{"_WSREP_NEW_CLUSTER", "_WSREP_START_POSITION"},
		NeutralTools: []string{"galera_recovery"},
	},
	isIts: func(version string) bool { return strings.Contains(version, "MariaDB") },
	settings: []setting{
		{"innodb-log-group-home-dir", inDirectory},
		{"innodb-undo-directory", inDirectory},
		{"aria-log-dir-path", inDirectory},
		{"rocksdb-datadir", inDirectory},
		{"rocksdb-wal-dir", inDirectory},
		{"log-bin", inFile},
		{"log-bin-index", inFile},
		{"log-basename", inFile},
		{"relay-log", inFile},
		{"relay-log-index", inFile},
	},
}

func (mariadb) Tools() []Tool {
	return []Tool{
		{Paths: []string{"/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/sbin/mysqld"}},
		{Paths: []string{mariadbInstall}, Makes: true},
	}
}

func (mariadb) Settings(ctx context.Context, ask Asker, services []execstart.Service) (host.EngineSettings, error) {
	return mariadbFamily.ask(ctx, ask, services)
}

const mariadbInstall = "/usr/bin/mariadb-install-db"

// Initialize does as Debian's package does. --rpm and --cross-bootstrap leave
// out the lookup of the host's own name, which needs a network and is only for
// the grants of a test database. It reads the same option files as the service,
// because some settings are for ever: innodb_page_size.
func (mariadb) Initialize(dir, owner string, set host.EngineSettings) []string {
	return slices.Concat([]string{mariadbInstall}, set.Options, []string{
		"--user=" + owner, "--datadir=" + dir,
		"--rpm", "--cross-bootstrap", "--skip-test-db", "--disable-log-bin",
		"--auth-root-authentication-method=socket",
	})
}

var mariadbFiles = regexp.MustCompile(`^(ibdata|ib_logfile|ibtmp|ib_buffer_pool|undo|aria_log|ddl_recovery|tc\.log|multi-master|master\.info|relay-log)` +
	`|\.(ibd|frm|opt|par|TRG|TRN|MA[ID]|MY[ID]|CS[VM]|ARZ|index|[0-9]{6})$`)

func (mariadb) Owns() Owned { return Owned{Dirs: []string{mysqlSystem}, Files: mariadbFiles} }

// Examine looks for the files without which MariaDB does not start, or makes
// new ones beside the data: InnoDB's system tablespace, the system tables, and
// Aria's log control file.
func (mariadb) Examine(dir Dir, set host.EngineSettings) host.DirectoryReport {
	needed := slices.Concat(systemTablespace(set), []string{mysqlSystem})
	if !elsewhereBy(set, "aria_log_dir_path") {
		needed = append(needed, ariaControl)
	}
	used := mariadbVersion(dir)
	report := host.DirectoryReport{State: host.Ready, Version: used}
	switch lacking, lacks := mariadbFamily.lacking(dir, needed); {
	case isMySQL(dir):
		return host.DirectoryReport{
			State: host.Foreign, Reason: "it has data of MySQL, which MariaDB cannot read",
			Hint: "use it on an instance with MySQL (engine: mysql), or load a dump of it into a new database of MariaDB; bootagent changes nothing in it; if it is here by mistake, " + hintForeign,
		}
	case lacks:
		lacking.Version = used
		return lacking
	case mariadbInterrupted(dir, set):
		report.State, report.Hint = host.Damaged, hintInterrupted
		report.Reason = "its initialisation did not finish: no server of MariaDB has stopped on it yet"
	case newer(used, set.Version):
		report.State = host.Unfit
		report.Reason = fmt.Sprintf("MariaDB %s used it, and the version installed here is older: %s", used, versionPattern.FindString(set.Version))
		report.Hint = fmt.Sprintf("use an image with MariaDB %s or newer, because MariaDB cannot be downgraded; or load a dump that %s made into a new database", series(used), series(used))
	case mariadbRedoTooOld(dir, set):
		report.State = host.Unfit
		report.Reason = fmt.Sprintf("an older series of MariaDB used it and did not stop cleanly, and MariaDB %s cannot recover its redo log", series(set.Version))
		report.Hint = "start it once with the MariaDB that used it last, and stop that cleanly; then use it here"
	default:
		report.Elsewhere = linked(dir)
		stopped(&report, dir, set)
	}
	return report
}

const ariaControl = "aria_log_control"

// mariadbInterrupted tells whether mariadb-install-db did not finish. Until the
// end, the first page of the system tablespace is not written. What a server
// leaves that has started or stopped, or a tool that copied the data of one, has
// to be there as well.
func mariadbInterrupted(dir Dir, set host.EngineSettings) bool {
	if slices.ContainsFunc(systemTablespace(set), dir.zero) {
		return true
	}
	return !slices.ContainsFunc(mariadbFinished, dir.Has)
}

// mariadbFinished are files that are there after a clean stop, a start, an
// upgrade, or a backup that was restored.
var mariadbFinished = []string{
	"ib_buffer_pool", "multi-master.info", "mariadb_upgrade_info", "mysql_upgrade_info",
	"xtrabackup_info", "mariadb_backup_info", "xtrabackup_checkpoints", "mariadb_backup_checkpoints",
}

// mariadbRedoTooOld tells whether the redo log has a format of before, and is
// needed to recover. The format changed with 10.8, whose mark is "Phys".
func mariadbRedoTooOld(dir Dir, set host.EngineSettings) bool {
	head := dir.Head("ib_logfile0")
	return len(head) >= 4 && string(head[:4]) != "Phys" && !newer("10.8", set.Version) && set.Version != "" &&
		set.Scratch != "" && dir.Has(set.Scratch)
}

// isMySQL tells whether a directory is one of MySQL: since 8.0 its dictionary is
// in mysql.ibd; before, the number of its server is in auto.cnf, and it has no
// file of Aria.
func isMySQL(dir Dir) bool {
	if dir.Has("mysql.ibd") || dir.Has("#innodb_redo") || dir.Has("mysql_upgrade_history") {
		return true
	}
	if dir.Has(ariaControl) {
		return false
	}
	info := dir.Head("mysql_upgrade_info")
	return dir.Has("auto.cnf") && dir.Has("ibdata1") || len(info) > 0 && !bytes.Contains(info, []byte("MariaDB"))
}

// isMariaDB tells whether a directory is one of MariaDB: it has the log control
// file of Aria, and not the dictionary of MySQL.
func isMariaDB(dir Dir) bool { return dir.Has(ariaControl) && !dir.Has(mysqlDictionary) }

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
		if head := dir.Head(filepath.Join(mysqlSystem, table)); len(head) >= 55 && head[0] == 0xfe && head[1] == 1 {
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
	r, err := release.Parse(version)
	if err != nil {
		return ""
	}
	return r.Series()
}

// newer tells whether one version is of a newer series than another. It is false
// if either is not known.
func newer(one, other string) bool {
	a, errA := release.Parse(one)
	b, errB := release.Parse(other)
	return errA == nil && errB == nil && a.CompareSeries(b) > 0
}
