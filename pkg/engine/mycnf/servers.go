package mycnf

import "strings"

// MySQL is the server of MySQL. Its settings have those of Percona Server too. The files of
// innodb_directories are tables that have a DATA DIRECTORY. Without its keyring,
// encrypted tables are lost.
var MySQL = Server{
	Title: "MySQL",
	Is:    func(version string) bool { return version != "" && !strings.Contains(version, "MariaDB") },
	Settings: []Setting{
		{Variable: "innodb-log-group-home-dir"},
		{Variable: "innodb-undo-directory"},
		{Variable: "innodb-doublewrite-dir"},
		{Variable: "innodb-directories", Kind: Directories},
		{Variable: "rocksdb-datadir"},
		{Variable: "rocksdb-wal-dir"},
		{Variable: "log-bin", Kind: File},
		{Variable: "log-bin-index", Kind: File},
		{Variable: "relay-log", Kind: File},
		{Variable: "relay-log-index", Kind: File},
		{Variable: "keyring-file-data", Kind: File},
	},
}

// MariaDB is the server of MariaDB.
var MariaDB = Server{
	Title: "MariaDB",
	Is:    func(version string) bool { return strings.Contains(version, "MariaDB") },
	Settings: []Setting{
		{Variable: "innodb-log-group-home-dir"},
		{Variable: "innodb-undo-directory"},
		{Variable: "aria-log-dir-path"},
		{Variable: "rocksdb-datadir"},
		{Variable: "rocksdb-wal-dir"},
		{Variable: "log-bin", Kind: File},
		{Variable: "log-bin-index", Kind: File},
		{Variable: "log-basename", Kind: File},
		{Variable: "relay-log", Kind: File},
		{Variable: "relay-log-index", Kind: File},
	},
}
