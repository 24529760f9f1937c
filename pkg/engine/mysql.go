package engine

import (
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

// mysql is MySQL 8.0 and later, and Percona Server, which keeps the same files.
type mysql struct{}

func (mysql) Name() string { return "mysql" }

var mysqlFamily = family{
	name: "mysql", title: "MySQL", server: "/usr/sbin/mysqld",
	program: execstart.Program{Names: []string{"mysqld", "mariadbd"}, Wrappers: []string{"-safe", "_safe", "-multi", "_multi"}},
	isIts:   func(version string) bool { return version != "" && !strings.Contains(version, "MariaDB") },
	settings: []setting{
		{"innodb-log-group-home-dir", inDirectory},
		{"innodb-undo-directory", inDirectory},
		{"innodb-doublewrite-dir", inDirectory},
		{"innodb-directories", inDirectories}, // where tables with a DATA DIRECTORY are
		{"log-bin", inFile},
		{"log-bin-index", inFile},
		{"relay-log", inFile},
		{"relay-log-index", inFile},
		{"keyring-file-data", inFile},    // without it, encrypted tables are lost
		{"rocksdb-datadir", inDirectory}, // of Percona Server
		{"rocksdb-wal-dir", inDirectory},
	},
}

func (mysql) Tools() []Tool {
	return []Tool{
		{Paths: []string{"/usr/sbin/mysqld", "/usr/libexec/mysqld"}},
		{Paths: []string{"/bin/sh"}, Makes: true},
	}
}

func (mysql) Settings(ctx context.Context, ask Asker, services []execstart.Service) (host.EngineSettings, error) {
	return mysqlFamily.ask(ctx, ask, services)
}

// mysqlRoot gives the account of root to the user root of the machine, as
// MariaDB's packages do. Without it, whoever can reach the socket is root of the
// database. The server runs it as the last part of --initialize, where it knows no
// ALTER USER; a statement that fails lets the whole fail.
const mysqlRoot = "INSERT INTO mysql.plugin VALUES ('auth_socket', 'auth_socket.so');\n" +
	"UPDATE mysql.user SET plugin = 'auth_socket', authentication_string = '', password_expired = 'N' WHERE user = 'root' AND host = 'localhost';\n"

// mysqlMake makes a new database: $0 is the server, $1 the directory, $2 the SQL;
// what follows are options. The file with the SQL is in the directory, because
// AppArmor lets the server read nothing else; --initialize accepts names that
// begin with a dot.
const mysqlMake = `set -e
server=$0 dir=$1 sql=$2
shift 2
printf %s "$sql" >"$dir/.bootagent-root.sql"
"$server" "$@" --initialize-insecure --datadir="$dir" --init-file="$dir/.bootagent-root.sql" --skip-log-error
rm "$dir/.bootagent-root.sql"`

// Initialize reads the same option files as the service, because some settings
// are for ever: lower_case_table_names, innodb_page_size.
func (mysql) Initialize(dir, _ string, set host.EngineSettings) []string {
	server := set.Program
	if server == "" {
		server = mysqlFamily.server
	}
	return slices.Concat([]string{"/bin/sh", "-c", mysqlMake, server, dir, mysqlRoot}, set.Options)
}

var mysqlFiles = regexp.MustCompile(`^(ibdata|ib_logfile|ibtmp|ib_buffer_pool|undo_|#ib_|binlog|auto\.cnf|mysqld-auto\.cnf|relay-log)` +
	`|\.(ibd|ibu|sdi|pem|MY[ID]|CS[VM]|ARZ|index|[0-9]{6})$`)

func (mysql) Owns() Owned {
	return Owned{Dirs: []string{mysqlSystem, mysqlRedo}, Files: mysqlFiles}
}

const (
	mysqlDictionary = "mysql.ibd"    // since 8.0
	mysqlRedo       = "#innodb_redo" // since 8.0.30
	mysqlOldRedo    = "ib_logfile0"  // before
)

// Examine looks for the files without which MySQL does not start: InnoDB's system
// tablespace, the dictionary, the redo log, and the directory of the system
// tables.
func (mysql) Examine(dir Dir, set host.EngineSettings) host.DirectoryReport {
	installed, errInstalled := release.Parse(set.Version)
	used, errUsed := mysqlRelease(dir)
	needed := append(systemTablespace(set), mysqlSystem)
	if errUsed != nil || used[0] > 5 {
		needed = append(needed, mysqlDictionary)
	}
	if !elsewhereBy(set, "innodb_log_group_home_dir") && !dir.Has(mysqlOldRedo) {
		needed = append(needed, mysqlRedo)
	}
	report := host.DirectoryReport{State: host.Ready}
	if errUsed == nil {
		report.Version = used.String()
	}
	switch lacking, lacks := mysqlFamily.lacking(dir, needed); {
	case isMariaDB(dir):
		return host.DirectoryReport{
			State: host.Foreign, Reason: "it has data of MariaDB, which MySQL cannot read",
			Hint: "use it on an instance with MariaDB (engine: mariadb), or load a dump of it into a new database of MySQL; bootagent changes nothing in it; if it is here by mistake, " + hintForeign,
		}
	case mysqlInterrupted(dir, set):
		report.State, report.Hint = host.Damaged, hintInterrupted
		report.Reason = "its initialisation did not finish: no server of MySQL has stopped cleanly on it yet"
	case lacks:
		lacking.Version = report.Version
		return lacking
	case errUsed == nil && errInstalled == nil && !release.MySQLOpens(used, installed):
		mysqlUnfit(&report, used, installed)
	case mysqlUnlogged(dir):
		report.State, report.Hint = host.Damaged, hintRestore
		report.Reason = "the server was killed while its redo log was disabled (ALTER INSTANCE DISABLE INNODB REDO_LOG), so its files may not fit together"
	case dir.Has(".rocksdb") && !strings.Contains(set.Version, "Percona"):
		report.State = host.Unfit
		report.Reason = "it has tables of MyRocks, which only Percona Server can read"
		report.Hint = "use it on an image with Percona Server, or turn those tables into tables of InnoDB there first"
	case dir.Has(mysqlOldRedo) && !dir.Has(mysqlRedo) && dir.Has("ibtmp1") && errInstalled == nil &&
		(installed.Compare(release.Release{8, 0, 30}) >= 0 || used[0] == 5):
		report.State = host.Unfit
		report.Reason = fmt.Sprintf("a MySQL before 8.0.30 used it and did not stop cleanly, and MySQL %s cannot recover its redo log", installed)
		report.Hint = "start it once with the MySQL that used it last, and stop that cleanly; then use it here"
	default:
		report.Elsewhere = linked(dir)
		stopped(&report, dir, set)
	}
	return report
}

// mysqlUnfit says that the installed server must not start on the directory, and
// what a person can do.
func mysqlUnfit(report *host.DirectoryReport, used, installed release.Release) {
	report.State = host.Unfit
	report.Reason = fmt.Sprintf("MySQL %s used it, and the version installed here, %s, cannot open it", used.String(), installed.String())
	switch {
	case used.Compare(installed) > 0:
		report.Hint = fmt.Sprintf("use an image with MySQL %s or newer of that series, because MySQL cannot be downgraded; or load a dump that %s made into a new database", used.String(), used.Series())
	default:
		report.Hint = fmt.Sprintf("upgrade it step by step: start it once with each of MySQL %s, and stop that cleanly; or load a dump that %s made into a new database",
			strings.Join(release.MySQLSteps(used, installed), ", then "), used.Series())
	}
}

// mysqlRelease is the version of the newest MySQL that is known to have used a
// directory: what the dictionary says in its first page at byte 8, as the server
// itself compares it (90704 is 9.7.4), or the newest file of the redo log at byte
// 16; before 8.0, what mysql_upgrade wrote.
func mysqlRelease(dir Dir) (newest release.Release, err error) {
	err = release.ErrUnknown
	take := func(r release.Release) {
		if err != nil || r.Compare(newest) > 0 {
			newest, err = r, nil
		}
	}
	if head := dir.Head(mysqlDictionary); len(head) >= 12 {
		if id := int(binary.BigEndian.Uint32(head[8:])); id >= 80000 && id < 1000000 {
			take(release.Release{id / 10000, id / 100 % 100, id % 100})
		}
	}
	if head := newestRedo(dir); len(head) >= 48 {
		if made := mysqlCreator.FindSubmatch(head[16:48]); made != nil {
			if r, bad := release.Parse(string(made[1])); bad == nil {
				take(r)
			}
		}
	}
	if err != nil && !dir.Has(mysqlDictionary) {
		if r, bad := release.Parse(string(dir.Head("mysql_upgrade_info"))); bad == nil && r[0] == 5 {
			take(r)
		}
	}
	return newest, err
}

var mysqlCreator = regexp.MustCompile(`^MySQL ([0-9]+\.[0-9]+\.[0-9]+)`)

// newestRedo is the beginning of the newest file of the redo log, or nil.
func newestRedo(dir Dir) []byte {
	newest, name := -1, mysqlOldRedo
	for _, file := range dir.List(mysqlRedo) {
		var n int
		if _, err := fmt.Sscanf(file, "#ib_redo%d", &n); err == nil && n > newest && !strings.HasSuffix(file, "_tmp") {
			newest, name = n, filepath.Join(mysqlRedo, file)
		}
	}
	return dir.Head(name)
}

// mysqlUnlogged tells whether a server was killed while its redo log was
// disabled: bit 1 of the flags at byte 48 of the redo log (log0constants.h).
// MySQL refuses to start then.
func mysqlUnlogged(dir Dir) bool {
	head := newestRedo(dir)
	return len(head) >= 52 && binary.BigEndian.Uint32(head) >= 4 && binary.BigEndian.Uint32(head[48:])&2 != 0
}

// mysqlInterrupted tells whether an initialisation did not finish. It ends with
// the first clean stop, which writes a position into the first page of the
// system tablespace at byte 26. Without that, MySQL refuses to start.
func mysqlInterrupted(dir Dir, set host.EngineSettings) bool {
	space := systemTablespace(set)
	if len(space) == 0 { // it is elsewhere
		return dir.Has(mysqlDictionary) && !dir.Has("sys")
	}
	head := dir.Head(space[0])
	return len(head) >= 34 && binary.BigEndian.Uint64(head[26:]) == 0
}
