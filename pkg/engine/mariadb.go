package engine

import (
	"context"
	"fmt"
	"regexp"
	"slices"

	"bootagent/pkg/engine/innodb"
	"bootagent/pkg/engine/mycnf"
	"bootagent/pkg/engine/release"
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
	return []Tool{
		{Paths: []string{"/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/sbin/mysqld"}},
		{Paths: []string{mariadbInstall}, Makes: true},
	}
}

func (m mariadb) Settings(ctx context.Context, ask Asker, services []execstart.Service) (host.EngineSettings, error) {
	return askFamily(ctx, ask, m, services, mariadbProgram, mycnf.MariaDB)
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

func (mariadb) Owns() Owned { return Owned{Dirs: []string{innodb.System}, Files: mariadbFiles} }

// Examine looks for the files without which MariaDB does not start, or makes
// new ones beside the data: InnoDB's system tablespace, the system tables, and
// Aria's log control file.
func (mariadb) Examine(dir Dir, set host.EngineSettings) host.DirectoryReport {
	needed := slices.Concat(innodb.SystemTablespace(set), []string{innodb.System})
	if !innodb.ElsewhereBy(set, "aria_log_dir_path") {
		needed = append(needed, innodb.AriaControl)
	}
	used := innodb.MariaDBVersion(dir, dir.Names)
	report := host.DirectoryReport{State: host.Ready, Version: used}
	switch lacking, lacks := dir.lacking(mycnf.MariaDB.Title, needed); {
	case innodb.IsMySQL(dir):
		return host.DirectoryReport{
			State: host.Foreign, Reason: "it has data of MySQL, which MariaDB cannot read",
			Hint: "use it on an instance with MySQL (engine: mysql), or load a dump of it into a new database of MariaDB; bootagent changes nothing in it; if it is here by mistake, " + hintForeign,
		}
	case lacks:
		lacking.Version = used
		return lacking
	case innodb.MariaDBInterrupted(dir, set):
		report.State, report.Hint = host.Damaged, hintInterrupted
		report.Reason = "its initialisation did not finish: no server of MariaDB has stopped on it yet"
	case release.Newer(used, set.Version):
		report.State = host.Unfit
		report.Reason = fmt.Sprintf("MariaDB %s used it, and the version installed here is older: %s", used, innodb.ShortVersion(set.Version))
		report.Hint = fmt.Sprintf("use an image with MariaDB %s or newer, because MariaDB cannot be downgraded; or load a dump that %s made into a new database", release.SeriesOf(used), release.SeriesOf(used))
	case innodb.MariaDBRedoTooOld(dir, set.Version) && dir.cutOff(set):
		report.State = host.Unfit
		report.Reason = fmt.Sprintf("an older series of MariaDB used it and did not stop cleanly, and MariaDB %s cannot recover its redo log", release.SeriesOf(set.Version))
		report.Hint = "start it once with the MariaDB that used it last, and stop that cleanly; then use it here"
	default:
		report.Elsewhere = linked(dir)
		stopped(&report, dir, set)
	}
	return report
}
