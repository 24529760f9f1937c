package engine

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"bootagent/pkg/engine/innodb"
	"bootagent/pkg/engine/mycnf"
	"bootagent/pkg/engine/release"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// mysql is MySQL 8.0 and later, and Percona Server, which keeps the same files.
type mysql struct{}

func (mysql) Name() string { return "mysql" }

var mysqlProgram = execstart.Program{Names: []string{"mysqld", "mariadbd"}, Wrappers: []string{"-safe", "_safe", "-multi", "_multi"}}

func (mysql) Tools() []Tool {
	return []Tool{
		{Paths: []string{"/usr/sbin/mysqld", "/usr/libexec/mysqld"}},
		{Paths: []string{"/bin/sh"}, Makes: true},
	}
}

func (m mysql) Settings(ctx context.Context, ask Asker, services []execstart.Service) (host.EngineSettings, error) {
	return askFamily(ctx, ask, m, services, mysqlProgram, mycnf.MySQL)
}

// Initialize reads the same option files as the service, because some settings
// are for ever: lower_case_table_names, innodb_page_size.
func (mysql) Initialize(dir, _ string, set host.EngineSettings) []string {
	return mycnf.Initialize(set.Program, dir, set.Options)
}

var mysqlFiles = regexp.MustCompile(`^(ibdata|ib_logfile|ibtmp|ib_buffer_pool|undo_|#ib_|binlog|auto\.cnf|mysqld-auto\.cnf|relay-log)` +
	`|\.(ibd|ibu|sdi|pem|MY[ID]|CS[VM]|ARZ|index|[0-9]{6})$`)

func (mysql) Owns() Owned {
	return Owned{Dirs: []string{innodb.System, innodb.Redo}, Files: mysqlFiles}
}

// Examine looks for the files without which MySQL does not start: InnoDB's system
// tablespace, the dictionary, the redo log, and the directory of the system
// tables.
func (mysql) Examine(dir Dir, set host.EngineSettings) host.DirectoryReport {
	installed, errInstalled := release.Parse(set.Version)
	used, errUsed := innodb.MySQLRelease(dir)
	needed := append(innodb.SystemTablespace(set), innodb.System)
	if errUsed != nil || used[0] > 5 {
		needed = append(needed, innodb.Dictionary)
	}
	if !innodb.ElsewhereBy(set, "innodb_log_group_home_dir") && !dir.Has(innodb.OldRedo) {
		needed = append(needed, innodb.Redo)
	}
	report := host.DirectoryReport{State: host.Ready}
	if errUsed == nil {
		report.Version = used.String()
	}
	switch lacking, lacks := dir.lacking(mycnf.MySQL.Title, needed); {
	case innodb.IsMariaDB(dir):
		return host.DirectoryReport{
			State: host.Foreign, Reason: "it has data of MariaDB, which MySQL cannot read",
			Hint: "use it on an instance with MariaDB (engine: mariadb), or load a dump of it into a new database of MySQL; bootagent changes nothing in it; if it is here by mistake, " + hintForeign,
		}
	case innodb.MySQLInterrupted(dir, set):
		report.State, report.Hint = host.Damaged, hintInterrupted
		report.Reason = "its initialisation did not finish: no server of MySQL has stopped cleanly on it yet"
	case lacks:
		lacking.Version = report.Version
		return lacking
	case errUsed == nil && errInstalled == nil && !release.MySQLOpens(used, installed):
		mysqlUnfit(&report, used, installed)
	case innodb.Unlogged(dir):
		report.State, report.Hint = host.Damaged, hintRestore
		report.Reason = "the server was killed while its redo log was disabled (ALTER INSTANCE DISABLE INNODB REDO_LOG), so its files may not fit together"
	case dir.Has(".rocksdb") && !strings.Contains(set.Version, "Percona"):
		report.State = host.Unfit
		report.Reason = "it has tables of MyRocks, which only Percona Server can read"
		report.Hint = "use it on an image with Percona Server, or turn those tables into tables of InnoDB there first"
	case dir.Has(innodb.OldRedo) && !dir.Has(innodb.Redo) && dir.cutOff(set) && errInstalled == nil &&
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
