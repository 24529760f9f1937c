package datadir

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hintRestore is for what is lost.
const hintRestore = "restore the directory from a backup; bootagent changes nothing in it"

// examineMariaDB looks for the files without which MariaDB would refuse to
// start, or would make new ones beside the data that is there: InnoDB's system
// tablespace, the system database, and Aria's log control file.
func examineMariaDB(files Files, path string, names []string, set Settings) Report {
	needed := []string{"ibdata1", "mysql", "aria_log_control"}
	if len(set.Files) > 0 {
		needed = slices.Concat(set.Files, needed[1:])
	}
	has := there(files, path, names)
	missing := slices.DeleteFunc(slices.Clone(needed), has)
	used := mariadbVersion(files, path, names)
	report := Report{State: Ready, Version: used}
	switch {
	case len(names) == 0:
		return Report{State: Foreign, Words: "it is empty", Hint: "if nothing belongs there, remove the empty directory, then: bootagent retry"}
	case isMySQL(files, path, has):
		return Report{
			State: Foreign, Words: "it is MySQL's, and MariaDB can't read it",
			Hint: "put it on an instance of MySQL, or load a dump of it into a new MariaDB, as bootagent changes nothing in it; if it is here by mistake, " + hintForeign,
		}
	case len(missing) == len(needed):
		return Report{State: Foreign, Words: fmt.Sprintf("it holds %q and nothing of MariaDB's", slices.Min(names)), Hint: hintForeign}
	case len(missing) > 0:
		report.State = Damaged
		report.Words = strings.Join(missing, " and ") + []string{" is", " are"}[min(len(missing)-1, 1)] + " missing"
		report.Hint = hintRestore
	case newer(used, set.Version):
		report.State = Unfit
		report.Words = fmt.Sprintf("MariaDB %s used it, and %s is installed here, which is older", used, versionPattern.FindString(set.Version))
		report.Hint = fmt.Sprintf("use an image with MariaDB %s or newer, since MariaDB does not go back; or load a dump that %s made into a new database", series(used), series(used))
	default:
		for _, name := range needed {
			if words := notAsNeeded(files, filepath.Join(path, name), name == "mysql"); words != "" {
				report.State, report.Words = Unfit, name+" in it "+words
				report.Hint = "have it there itself, with all that belongs to it, since bootagent looks nowhere else; or " + hintRestore
				break
			}
		}
	}
	return report
}

// there tells what is in a directory, also where not all of its names are listed.
func there(files Files, path string, names []string) func(name string) bool {
	return func(name string) bool {
		if slices.Contains(names, name) || len(names) < NamesMax {
			return slices.Contains(names, name)
		}
		_, _, err := files.Lstat(filepath.Join(path, name))
		return err == nil
	}
}

// notAsNeeded says what is wrong with a file or directory that MariaDB can't
// start without, or "".
func notAsNeeded(files Files, path string, directory bool) string {
	mode, _, err := files.Lstat(path)
	switch {
	case err != nil:
		return "can't be looked at: " + err.Error()
	case directory && !mode.IsDir():
		return "is " + kind(mode) + ", not a directory"
	case !directory && mode.IsDir():
		return "is a directory, not a file"
	case !directory && !mode.IsRegular():
		return "is " + kind(mode) + ", not a file"
	}
	return ""
}

// isMySQL tells a directory of MySQL's: since 8.0 its dictionary is in
// mysql.ibd; before, it has a number of its own in auto.cnf, and nothing of
// Aria's.
func isMySQL(files Files, path string, has func(string) bool) bool {
	if has("mysql.ibd") || has("#innodb_redo") || has("mysql_upgrade_history") {
		return true
	}
	if has("aria_log_control") {
		return false
	}
	info := files.Head(filepath.Join(path, "mysql_upgrade_info"))
	return has("auto.cnf") && has("ibdata1") || len(info) > 0 && !bytes.Contains(info, []byte("MariaDB"))
}

// mariadbVersion is that of the newest MariaDB that is known to have used a
// directory: by what mariadb-upgrade wrote last, in a file that has one name up
// to 10.x and another since 11; by who made the redo log and the system tables,
// as a server may run without mariadb-upgrade; and by Debian's flag.
func mariadbVersion(files Files, path string, names []string) (newest string) {
	take := func(version string) {
		if version != "" && (newest == "" || newer(version, newest)) {
			newest = version
		}
	}
	for _, name := range []string{"mariadb_upgrade_info", "mysql_upgrade_info"} {
		take(string(versionPattern.Find(files.Head(filepath.Join(path, name)))))
	}
	// "Phys", a version and a position, then "MariaDB 10.11.18" from byte 16 on
	// (log0log.h).
	if head := files.Head(filepath.Join(path, "ib_logfile0")); len(head) >= 48 {
		if made := creator.FindSubmatch(head[16:48]); made != nil {
			take(string(made[1]))
		}
	}
	// A table's definition begins with FE 01; its server's version is at byte
	// 51: 101118 for 10.11.18 (https://mariadb.com/kb/en/frm-files/).
	for _, table := range []string{"db.frm", "global_priv.frm", "servers.frm"} {
		if head := files.Head(filepath.Join(path, "mysql", table)); len(head) >= 55 && head[0] == 0xfe && head[1] == 1 {
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
	creator        = regexp.MustCompile(`^(?:MariaDB|Backup) ([0-9]+\.[0-9]+\.[0-9]+)`)
	debianFlag     = regexp.MustCompile(`^debian-([0-9]+\.[0-9]+)\.flag$`)
)

// series is the part of a version within which MariaDB goes back: "10.11".
func series(version string) string {
	part := strings.SplitN(versionPattern.FindString(version), ".", 3)
	return strings.Join(part[:min(len(part), 2)], ".")
}

// newer tells whether one version is of a newer series than another. One that
// is not known is none.
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

// The variables by which MariaDB keeps a part of its data elsewhere than in its
// data directory.
var elsewhere = []string{
	"innodb-data-home-dir", "innodb-log-group-home-dir", "innodb-undo-directory",
	"aria-log-dir-path", "rocksdb-datadir", "rocksdb-wal-dir",
}

// mariadbSettings reads the table of variables that mariadbd --verbose --help
// ends with: a name, spaces, and its value, which may have spaces in it.
func mariadbSettings(output []byte) (s Settings, err error) {
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
		return s, errors.New("mariadbd --verbose --help names no datadir")
	case !filepath.IsAbs(dir):
		return s, fmt.Errorf("mariadbd --verbose --help names %q as its datadir, which is no absolute path", dir)
	}
	s.Directory, s.Version = filepath.Clean(dir), values["version"]
	setting := func(name string) string { return strings.ReplaceAll(name, "-", "_") }
	if root := values["chroot"]; root != "" {
		return s, &ElsewhereError{"chroot", root, s.Directory}
	}
	for _, name := range elsewhere {
		value := values[name]
		if value == "" {
			continue
		}
		below := value
		if !filepath.IsAbs(value) {
			below = filepath.Join(s.Directory, value)
		}
		if below = filepath.Clean(below); below != s.Directory && below != filepath.Join(s.Directory, "#rocksdb") {
			return s, &ElsewhereError{setting(name), value, s.Directory}
		}
	}
	for _, file := range strings.FieldsFunc(values["innodb-data-file-path"], func(r rune) bool { return r == ';' }) {
		name, _, _ := strings.Cut(file, ":")
		name = strings.TrimPrefix(name, "./")
		if strings.Contains(name, "/") || !fs.ValidPath(name) {
			return s, &ElsewhereError{setting("innodb-data-file-path"), values["innodb-data-file-path"], s.Directory}
		}
		s.Files = append(s.Files, name)
	}
	return s, nil
}
