package datadir

import (
	"bufio"
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// An engine is what this package knows of a database engine.
type engine struct {
	// examine says in which state a directory with these names in it is.
	examine func(files Files, path string, names []string) Report

	// ask is the command that tells which data directory the engine is set
	// to use, and answer finds it in what the command prints.
	ask    []string
	answer func(output []byte) (string, error)

	// initialize is the command that makes a new database in an empty directory.
	initialize func(dir, owner string) []string
}

func lookUp(name string) (engine, error) {
	switch name {
	case "mariadb":
		return mariadb, nil
	}
	return engine{}, fmt.Errorf("there is no engine %q", name)
}

// AskCommand is the command by which an engine tells which data directory its
// own settings make it use. Answer reads what it prints.
func AskCommand(name string) ([]string, error) {
	e, err := lookUp(name)
	return e.ask, err
}

// Answer finds the data directory in what AskCommand printed.
func Answer(name string, output []byte) (string, error) {
	e, err := lookUp(name)
	if err != nil {
		return "", err
	}
	return e.answer(output)
}

// InitializeCommand is the command that makes a new, empty database in an
// empty directory of the owner's.
func InitializeCommand(name, dir, owner string) ([]string, error) {
	e, err := lookUp(name)
	if err != nil {
		return nil, err
	}
	return e.initialize(dir, owner), nil
}

// mariadb is MariaDB 10.4 and later.
var mariadb = engine{
	examine: examineMariaDB,
	ask:     []string{"/usr/sbin/mariadbd", "--verbose", "--help"},
	answer:  mariadbAnswer,
	// As Debian's package does it: --rpm and --cross-bootstrap leave out that the
	// host's own name is looked up, which needs a network, and is for the grants
	// of a test database only.
	initialize: func(dir, owner string) []string {
		return []string{
			"/usr/bin/mariadb-install-db", "--user=" + owner, "--datadir=" + dir,
			"--rpm", "--cross-bootstrap", "--skip-test-db", "--disable-log-bin",
			"--auth-root-authentication-method=socket",
		}
	},
}

// examineMariaDB looks for the files without which MariaDB would refuse to
// start, or would make new ones beside the data that is there: InnoDB's system
// tablespace, the system database, and Aria's log control file.
func examineMariaDB(files Files, path string, names []string) Report {
	needed := []string{"ibdata1", "mysql", "aria_log_control"}
	missing := slices.DeleteFunc(slices.Clone(needed), func(n string) bool { return slices.Contains(names, n) })
	report := Report{State: Ready, Version: mariadbVersion(files, path)}
	switch {
	case len(missing) == len(needed) && len(names) == 0:
		return Report{State: Foreign, Words: "it is empty", Hint: "if nothing belongs there, remove the empty directory, then: bootagent retry"}
	case len(missing) == len(needed):
		return Report{State: Foreign, Words: fmt.Sprintf("it holds %q and nothing of MariaDB's", slices.Min(names)), Hint: hintForeign}
	case len(missing) > 0:
		report.State = Damaged
		report.Words = strings.Join(missing, " and ") + []string{" is", " are"}[len(missing)-1] + " missing"
		report.Hint = "restore the directory from a backup; bootagent changes nothing in it"
	}
	return report
}

// mariadbVersion is what mariadb-upgrade wrote last: "10.11.14-MariaDB". The
// file has one name up to 10.x and another since 11.
func mariadbVersion(files Files, path string) string {
	for _, name := range []string{"mariadb_upgrade_info", "mysql_upgrade_info"} {
		if found := versionPattern.Find(files.Head(filepath.Join(path, name))); found != nil {
			return string(found)
		}
	}
	return ""
}

var versionPattern = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*(-[A-Za-z]+)?`)

// mariadbAnswer finds "datadir  /var/lib/mysql/" in the table of variables
// that mariadbd --verbose --help ends with.
func mariadbAnswer(output []byte) (string, error) {
	lines := bufio.NewScanner(bytes.NewReader(output))
	for lines.Scan() {
		if !bytes.HasPrefix(lines.Bytes(), []byte("datadir")) {
			continue // of three thousand lines, all but one
		}
		if field := strings.Fields(lines.Text()); len(field) == 2 && field[0] == "datadir" {
			return filepath.Clean(field[1]), nil
		}
	}
	return "", fmt.Errorf("mariadbd --verbose --help names no datadir")
}
