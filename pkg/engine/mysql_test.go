package engine

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/datadir"
	"bootagent/pkg/engine/mycnf"
	"bootagent/pkg/host"
)

// page is the beginning of the first page of a tablespace of MySQL: the version
// that made it is at byte 8, and the position of the last clean stop at byte 26.
func mysqlPage(version uint32, stopped uint64) string {
	b := make([]byte, 64)
	b[0] = 0x3c
	binary.BigEndian.PutUint32(b[8:], version)
	binary.BigEndian.PutUint64(b[26:], stopped)
	return string(b)
}

// redo is the beginning of a file of the redo log of MySQL.
func mysqlRedoFile(creator string, flags uint32) string {
	b := make([]byte, 64)
	binary.BigEndian.PutUint32(b, 6)
	copy(b[16:], creator)
	binary.BigEndian.PutUint32(b[48:], flags)
	return string(b)
}

// mysqlDir makes a directory as MySQL 9.7 leaves it.
func mysqlDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mysql")
	for _, name := range []string{"mysql", "sys", "performance_schema", "#innodb_redo", "#innodb_temp"} {
		ok(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
	}
	for name, text := range map[string]string{
		"ibdata1": mysqlPage(0, 19049691), "mysql.ibd": mysqlPage(90704, 0), "auto.cnf": "x", "ib_buffer_pool": "", "undo_001": "", "undo_002": "",
		"#innodb_redo/#ib_redo9": mysqlRedoFile("MySQL 9.7.4", 8), "#innodb_redo/#ib_redo10": mysqlRedoFile("MySQL 9.7.4", 0), "#innodb_redo/#ib_redo11_tmp": mysqlRedoFile("MySQL 99.9.9", 2),
		"mysql_upgrade_history": "{}", "binlog.000001": "", "binlog.index": "", "debian-5.7.flag": "",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func TestExamineTellsTheStateOfMySQL(t *testing.T) {
	remove := func(names ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				ok(t, os.RemoveAll(filepath.Join(dir, name)))
			}
		}
	}
	file := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { write(t, filepath.Join(dir, name), text) }
	}
	all := func(does ...func(t *testing.T, dir string)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			for _, do := range does {
				do(t, dir)
			}
		}
	}
	v5 := all(remove("mysql.ibd", "#innodb_redo", "mysql_upgrade_history"), file("ib_logfile0", "old"), file("mysql_upgrade_info", "5.7.44"))
	v8028 := all(remove("#innodb_redo"), file("mysql.ibd", mysqlPage(80028, 0)), file("ib_logfile0", mysqlRedoFile("MySQL 8.0.28", 0)))
	for name, c := range map[string]struct {
		does      func(t *testing.T, dir string)
		installed string // "" is 9.7.4
		state     host.DirectoryState
		version   string
		reason    string
		hint      string
	}{
		"whole":                        {remove(), "", host.Ready, "9.7.4", "", ""},
		"a server that tells nothing":  {file("mysql.ibd", mysqlPage(99999, 0)), "?", host.Ready, "9.99.99", "", ""},
		"without the tablespace":       {remove("ibdata1"), "", host.Damaged, "9.7.4", "ibdata1 is missing", "restore"},
		"without the dictionary":       {remove("mysql.ibd"), "", host.Damaged, "9.7.4", "mysql.ibd is missing", "restore"},
		"without the redo log":         {remove("#innodb_redo"), "", host.Damaged, "9.7.4", "#innodb_redo is missing", "restore"},
		"without the system tables":    {remove("mysql"), "", host.Damaged, "9.7.4", "mysql is missing", "restore"},
		"never stopped":                {file("ibdata1", mysqlPage(0, 0)), "", host.Damaged, "9.7.4", "its initialisation did not finish: no server of MySQL has stopped cleanly on it yet", "move it away"},
		"nothing is written":           {file("ibdata1", strings.Repeat("\x00", 64)), "", host.Damaged, "9.7.4", "its initialisation did not finish", "move it away"},
		"killed without a redo log":    {file("#innodb_redo/#ib_redo10", mysqlRedoFile("MySQL 9.7.4", 3)), "", host.Damaged, "9.7.4", "the server was killed while its redo log was disabled", "restore"},
		"a newer series":               {file("mysql.ibd", mysqlPage(90800, 0)), "", host.Unfit, "9.8.0", "MySQL 9.8.0 used it, and the version installed here, 9.7.4, cannot open it", "use an image with MySQL 9.8.0 or newer of that series, because MySQL cannot be downgraded"},
		"a newer redo log":             {file("#innodb_redo/#ib_redo11", mysqlRedoFile("MySQL 10.1.0", 0)), "", host.Unfit, "10.1.0", "MySQL 10.1.0 used it", "downgraded"},
		"a later patch of 9.7":         {file("mysql.ibd", mysqlPage(90709, 0)), "", host.Ready, "9.7.9", "", ""},
		"a later patch of 8.0":         {file("mysql.ibd", mysqlPage(90709, 0)), "8.0.36", host.Unfit, "9.7.9", "MySQL 9.7.9 used it", "downgraded"},
		"8.4":                          {all(remove("#innodb_redo/#ib_redo9", "#innodb_redo/#ib_redo10"), file("mysql.ibd", mysqlPage(80403, 0))), "", host.Ready, "8.4.3", "", ""},
		"too old":                      {all(remove("#innodb_redo/#ib_redo9", "#innodb_redo/#ib_redo10"), file("mysql.ibd", mysqlPage(80036, 0))), "", host.Unfit, "8.0.36", "MySQL 8.0.36 used it, and the version installed here, 9.7.4, cannot open it", "upgrade it step by step: start it once with each of MySQL 8.4, and stop that cleanly; or load a dump that 8.0 made"},
		"5.7":                          {v5, "", host.Unfit, "5.7.44", "MySQL 5.7.44 used it", "each of MySQL 8.0, then 8.4, and stop"},
		"5.7, for 8.0":                 {v5, "8.0.36", host.Ready, "5.7.44", "", ""},
		"5.7, not stopped":             {all(v5, file("ibtmp1", "")), "8.0.28", host.Unfit, "5.7.44", "a MySQL before 8.0.30 used it", "stop that cleanly"},
		"an old redo log":              {v8028, "8.4.3", host.Ready, "8.0.28", "", ""},
		"an old redo log, not stopped": {all(v8028, file("ibtmp1", "")), "8.4.3", host.Unfit, "8.0.28", "a MySQL before 8.0.30 used it and did not stop cleanly, and MySQL 8.4.3 cannot recover its redo log", "start it once with the MySQL that used it last"},
		"the same for its own server":  {all(v8028, file("ibtmp1", "")), "8.0.28", host.Ready, "8.0.28", "", ""},
		"MyRocks":                      {file(".rocksdb", ""), "", host.Unfit, "9.7.4", "it has tables of MyRocks, which only Percona Server can read", "Percona"},
		"MyRocks, for Percona Server":  {file(".rocksdb", ""), "9.7.4-1 Percona", host.Ready, "9.7.4", "", ""},
		"empty":                        {remove("ibdata1", "mysql", "sys", "performance_schema", "#innodb_redo", "#innodb_temp", "mysql.ibd", "auto.cnf", "ib_buffer_pool", "undo_001", "undo_002", "mysql_upgrade_history", "binlog.000001", "binlog.index", "debian-5.7.flag"), "", host.Foreign, "", "it is empty", "remove the empty directory"},
		"MariaDB's":                    {all(remove("mysql.ibd", "#innodb_redo", "mysql_upgrade_history"), file("aria_log_control", ""), file("ib_logfile0", "Phys")), "", host.Foreign, "", "it has data of MariaDB, which MySQL cannot read", "use it on an instance with MariaDB (engine: mariadb)"},
		"the dictionary is a link": {func(t *testing.T, dir string) {
			ok(t, os.Rename(filepath.Join(dir, "mysql.ibd"), dir+".ibd"))
			ok(t, os.Symlink(dir+".ibd", filepath.Join(dir, "mysql.ibd")))
		}, "", host.Unfit, "9.7.4", "mysql.ibd in it is a symbolic link, not a file", "put it there itself"},
	} {
		dir := mysqlDir(t)
		c.does(t, dir)
		if c.installed == "" {
			c.installed = "9.7.4-2"
		}
		got, err := Examine(datadir.Host{}, host.Data{Engine: "mysql", Owner: me(t), Dir: dir}, host.EngineSettings{Version: c.installed, Values: map[string]string{mycnf.Scratch: "ibtmp1"}})
		if err != nil || got.State != c.state || got.Version != c.version || !strings.HasPrefix(got.Reason, c.reason) || (c.reason == "") != (got.Reason == "") || !strings.Contains(got.Hint, c.hint) || (c.hint == "") != (got.Hint == "") {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// A redo log or a tablespace that a setting puts elsewhere is not missing here.
func TestWhatIsElsewhereIsNotMissing(t *testing.T) {
	for setting, lacks := range map[string]string{"innodb_log_group_home_dir": "#innodb_redo", "innodb_data_home_dir": "ibdata1"} {
		dir := mysqlDir(t)
		ok(t, os.RemoveAll(filepath.Join(dir, lacks)))
		set := host.EngineSettings{Version: "9.7.4", Elsewhere: []host.Place{{Setting: setting, Path: "/srv/fast"}}}
		if got, err := Examine(datadir.Host{}, host.Data{Engine: "mysql", Owner: me(t), Dir: dir}, set); err != nil || got.State != host.Ready {
			t.Errorf("%s: got %+v, %v", setting, got, err)
		}
		ok(t, os.RemoveAll(filepath.Join(dir, "sys")))
		if got, _ := Examine(datadir.Host{}, host.Data{Engine: "mysql", Owner: me(t), Dir: dir}, set); setting == "innodb_data_home_dir" && got.State == host.Ready {
			t.Errorf("%s: an unfinished one is taken for whole", setting)
		}
	}
}

func TestLinksInADataDirectoryAreTold(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) string{"mysql": mysqlDir, "mariadb": mariadbDir} {
		dir := make(t)
		ok(t, os.Symlink("/srv/big/orders", filepath.Join(dir, "orders")))
		ok(t, os.Symlink("mysql", filepath.Join(dir, "inside")))
		ok(t, os.Mkdir(filepath.Join(dir, "shop"), 0o700))
		write(t, filepath.Join(dir, "shop", "a.isl"), "/srv/big/shop/a.ibd\n")
		write(t, filepath.Join(dir, "shop", "b.MAI"), "")
		ok(t, os.Symlink("/srv/big/b.MAD", filepath.Join(dir, "shop", "b.MAD")))
		ok(t, os.Symlink("../inside/c.MYD", filepath.Join(dir, "shop", "c.MYD")))
		got, err := Examine(datadir.Host{}, host.Data{Engine: name, Owner: me(t), Dir: dir}, host.EngineSettings{})
		want := []host.Place{
			{Setting: "the link orders", Value: "/srv/big/orders", Path: "/srv/big/orders"},
			{Setting: "the link file shop/a.isl", Value: "/srv/big/shop/a.ibd", Path: "/srv/big/shop/a.ibd"},
			{Setting: "the link shop/b.MAD", Value: "/srv/big/b.MAD", Path: "/srv/big/b.MAD"},
		}
		if err != nil || got.State != host.Ready || len(got.Elsewhere) != len(want) {
			t.Fatalf("%s: got %+v, %v", name, got, err)
		}
		found := 0
		for _, w := range want {
			for _, g := range got.Elsewhere {
				if g == w {
					found++
				}
			}
		}
		if found != len(want) {
			t.Errorf("%s: got %+v", name, got.Elsewhere)
		}
	}
}

func TestHowTheServerStoppedIsToldByItsTemporaryTablespace(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) string{"mysql": mysqlDir, "mariadb": mariadbDir} {
		for _, c := range []struct {
			scratch string
			there   bool
			want    host.LastStop
		}{{"ibtmp1", false, host.StopClean}, {"ibtmp1", true, host.StopUnclean}, {"", true, host.StopUnknown}, {"", false, host.StopUnknown}} {
			dir := make(t)
			if c.there {
				write(t, filepath.Join(dir, "ibtmp1"), "")
			}
			got, err := Examine(datadir.Host{}, host.Data{Engine: name, Owner: me(t), Dir: dir}, host.EngineSettings{Values: map[string]string{mycnf.Scratch: c.scratch}})
			if err != nil || got.State != host.Ready || got.LastStop != c.want || (got.LastStopSays == "") != (c.want == host.StopUnknown) {
				t.Errorf("%s, %+v: got %+v, %v", name, c, got, err)
			}
		}
	}
}

// MariaDB 10.11 says of the data of 10.5 after a crash: "Upgrade after a crash is
// not supported ... You must start up and shut down MariaDB 10.7 or earlier".
func TestMariaDBOfBefore108HasToStopCleanlyFirst(t *testing.T) {
	for _, c := range []struct {
		redo, installed string
		running         bool
		want            host.DirectoryState
	}{
		{"PHYS", "10.11.14-MariaDB", true, host.Unfit},
		{"PHYS", "10.11.14-MariaDB", false, host.Ready},
		{"PHYS", "10.6.20-MariaDB", true, host.Ready},
		{"Phys", "10.11.14-MariaDB", true, host.Ready},
		{"PHYS", "10.8.1-MariaDB", true, host.Unfit},
		{"PHYS", "", true, host.Ready},
	} {
		dir := mariadbDir(t)
		write(t, filepath.Join(dir, "ib_logfile0"), c.redo)
		if c.running {
			write(t, filepath.Join(dir, "ibtmp1"), "")
		}
		got, err := Examine(datadir.Host{}, host.Data{Engine: "mariadb", Owner: me(t), Dir: dir}, host.EngineSettings{Version: c.installed, Values: map[string]string{mycnf.Scratch: "ibtmp1"}})
		if err != nil || got.State != c.want || got.State == host.Unfit && (!strings.Contains(got.Reason, "did not stop cleanly") || got.Hint == "") {
			t.Errorf("%+v: got %+v, %v", c, got, err)
		}
	}
}
