// Package innodb knows the files of MySQL and MariaDB: whose they are, which
// version used them, and whether their initialisation finished. It reads the
// beginning of files.
package innodb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/engine/release"
	"bootagent/pkg/host"
)

// A Dir is a data directory.
type Dir interface {
	Has(name string) bool
	Head(name string) []byte // the beginning of a regular file, at most 64 bytes
	List(name string) []string
}

// Names of files and directories of a data directory.
const (
	System      = "mysql"            // the system tables
	Dictionary  = "mysql.ibd"        // of MySQL, since 8.0
	Redo        = "#innodb_redo"     // of MySQL, since 8.0.30
	OldRedo     = "ib_logfile0"      // of MariaDB, and of MySQL before
	AriaControl = "aria_log_control" // of MariaDB
)

// ElsewhereBy tells whether a setting puts a part of the data elsewhere.
func ElsewhereBy(set host.EngineSettings, variable string) bool {
	return slices.ContainsFunc(set.Elsewhere, func(p host.Place) bool { return p.Setting == variable })
}

// SystemTablespace is what of the system tablespace is in the data directory.
func SystemTablespace(set host.EngineSettings) []string {
	if len(set.Files) > 0 || ElsewhereBy(set, "innodb_data_home_dir") || ElsewhereBy(set, "innodb_data_file_path") {
		return slices.Clone(set.Files)
	}
	return []string{"ibdata1"}
}

// IsMySQL tells whether a directory is one of MySQL: since 8.0 its dictionary is
// in mysql.ibd; before, the number of its server is in auto.cnf, and it has no
// file of Aria.
func IsMySQL(dir Dir) bool {
	if dir.Has(Dictionary) || dir.Has(Redo) || dir.Has("mysql_upgrade_history") {
		return true
	}
	if dir.Has(AriaControl) {
		return false
	}
	info := dir.Head("mysql_upgrade_info")
	return dir.Has("auto.cnf") && dir.Has("ibdata1") || len(info) > 0 && !bytes.Contains(info, []byte("MariaDB"))
}

// IsMariaDB tells whether a directory is one of MariaDB: it has the log control
// file of Aria, and not the dictionary of MySQL.
func IsMariaDB(dir Dir) bool { return dir.Has(AriaControl) && !dir.Has(Dictionary) }

// MySQLRelease is the version of the newest MySQL that is known to have used a
// directory: what the dictionary says in its first page at byte 8, as the server
// itself compares it (90704 is 9.7.4), or the newest file of the redo log at byte
// 16; before 8.0, what mysql_upgrade wrote. The error is release.ErrUnknown.
func MySQLRelease(dir Dir) (newest release.Release, err error) {
	err = release.ErrUnknown
	take := func(r release.Release) {
		if err != nil || r.Compare(newest) > 0 {
			newest, err = r, nil
		}
	}
	if head := dir.Head(Dictionary); len(head) >= 12 {
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
	if err != nil && !dir.Has(Dictionary) {
		if r, bad := release.Parse(string(dir.Head("mysql_upgrade_info"))); bad == nil && r[0] == 5 {
			take(r)
		}
	}
	return newest, err
}

var mysqlCreator = regexp.MustCompile(`^MySQL ([0-9]+\.[0-9]+\.[0-9]+)`)

// newestRedo is the beginning of the newest file of MySQL's redo log, or nil.
func newestRedo(dir Dir) []byte {
	newest, name := -1, OldRedo
	for _, file := range dir.List(Redo) {
		var n int
		if _, err := fmt.Sscanf(file, "#ib_redo%d", &n); err == nil && n > newest && !strings.HasSuffix(file, "_tmp") {
			newest, name = n, filepath.Join(Redo, file)
		}
	}
	return dir.Head(name)
}

// Unlogged tells whether a server of MySQL was killed while its redo log was
// disabled: bit 1 of the flags at byte 48 of the redo log (log0constants.h).
// MySQL refuses to start then.
func Unlogged(dir Dir) bool {
	head := newestRedo(dir)
	return len(head) >= 52 && binary.BigEndian.Uint32(head) >= 4 && binary.BigEndian.Uint32(head[48:])&2 != 0
}

// MySQLInterrupted tells whether mysqld --initialize did not finish. It ends with
// the first clean stop, which writes a position into the first page of the
// system tablespace at byte 26. Without that, MySQL refuses to start.
func MySQLInterrupted(dir Dir, set host.EngineSettings) bool {
	space := SystemTablespace(set)
	if len(space) == 0 { // it is elsewhere
		return dir.Has(Dictionary) && !dir.Has("sys")
	}
	head := dir.Head(space[0])
	return len(head) >= 34 && binary.BigEndian.Uint64(head[26:]) == 0
}

// MariaDBInterrupted tells whether mariadb-install-db did not finish. Until the
// end, the first page of the system tablespace is zero. What a server leaves that
// has started or stopped, or a tool that copied the data of one, has to be there as
// well.
func MariaDBInterrupted(dir Dir, set host.EngineSettings) bool {
	zero := func(name string) bool {
		head := dir.Head(name)
		return len(head) > 0 && strings.Trim(string(head), "\x00") == ""
	}
	return slices.ContainsFunc(SystemTablespace(set), zero) || !slices.ContainsFunc(mariadbFinished, dir.Has)
}

// mariadbFinished are files that are there after a clean stop, a start, an
// upgrade, or a backup that was restored.
var mariadbFinished = []string{
	"ib_buffer_pool", "multi-master.info", "mariadb_upgrade_info", "mysql_upgrade_info",
	"xtrabackup_info", "mariadb_backup_info", "xtrabackup_checkpoints", "mariadb_backup_checkpoints",
}

// MariaDBRedoTooOld tells whether the redo log has a format that a version of
// MariaDB cannot recover. The format changed with 10.8, whose mark is "Phys".
func MariaDBRedoTooOld(dir Dir, version string) bool {
	head := dir.Head(OldRedo)
	return len(head) >= 4 && string(head[:4]) != "Phys" && version != "" && !release.Newer("10.8", version)
}

// MariaDBVersion is the version of the newest MariaDB that is known to have used a
// directory, which has these names: by what mariadb-upgrade wrote last, in a file
// that has one name up to 10.x and another since 11; by the server that made the
// redo log and the system tables, because a server may run without
// mariadb-upgrade; and by Debian's flag.
func MariaDBVersion(dir Dir, names []string) (newest string) {
	take := func(version string) {
		if version != "" && (newest == "" || release.Newer(version, newest)) {
			newest = version
		}
	}
	for _, name := range []string{"mariadb_upgrade_info", "mysql_upgrade_info"} {
		take(string(versionPattern.Find(dir.Head(name))))
	}
	// "Phys", a version and a position, then "MariaDB 10.11.18" from byte 16 on
	// (log0log.h).
	if head := dir.Head(OldRedo); len(head) >= 48 {
		if made := mariadbCreator.FindSubmatch(head[16:48]); made != nil {
			take(string(made[1]))
		}
	}
	// The definition of a table begins with FE 01; the version of its server is
	// at byte 51: 101118 for 10.11.18 (https://mariadb.com/kb/en/frm-files/).
	for _, table := range []string{"db.frm", "global_priv.frm", "servers.frm"} {
		if head := dir.Head(filepath.Join(System, table)); len(head) >= 55 && head[0] == 0xfe && head[1] == 1 {
			if id := binary.LittleEndian.Uint32(head[51:]); id >= 100000 && id < 1000000 {
				take(fmt.Sprintf("%d.%d.%d", id/10000, id/100%100, id%100))
			}
		}
	}
	for _, name := range names {
		if made := debianFlag.FindStringSubmatch(name); made != nil {
			take(made[1])
		}
	}
	return newest
}

var (
	versionPattern = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*(-[A-Za-z]+)?`)
	mariadbCreator = regexp.MustCompile(`^(?:MariaDB|Backup) ([0-9]+\.[0-9]+\.[0-9]+)`)
	debianFlag     = regexp.MustCompile(`^debian-([0-9]+\.[0-9]+)\.flag$`)
)

// ShortVersion is a version of MariaDB without what a distribution adds:
// "10.11.14-MariaDB".
func ShortVersion(version string) string { return versionPattern.FindString(version) }
