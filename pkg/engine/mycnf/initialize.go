package mycnf

import "slices"

// rootSQL gives the account of root to the user root of the machine, as
// MariaDB's packages do. Without it, whoever can reach the socket is root of the
// database. The server runs it as the last part of --initialize, where it knows no
// ALTER USER; a statement that fails lets the whole fail.
const rootSQL = "INSERT INTO mysql.plugin VALUES ('auth_socket', 'auth_socket.so');\n" +
	"UPDATE mysql.user SET plugin = 'auth_socket', authentication_string = '', password_expired = 'N' WHERE user = 'root' AND host = 'localhost';\n"

// makeMySQL makes a new database: $0 is the server, $1 the directory, $2 the SQL;
// what follows are options. The file with the SQL is in the directory, because
// AppArmor lets the server read nothing else; --initialize accepts names that
// begin with a dot.
const makeMySQL = `set -e
server=$0 dir=$1 sql=$2
shift 2
printf %s "$sql" >"$dir/.bootagent-root.sql"
"$server" "$@" --initialize-insecure --datadir="$dir" --init-file="$dir/.bootagent-root.sql" --skip-log-error
rm "$dir/.bootagent-root.sql"`

// Initialize is the command by which a server of MySQL makes a new database in an
// empty directory, with these options at the beginning of its command line.
func Initialize(server, dir string, options []string) []string {
	return slices.Concat([]string{"/bin/sh", "-c", makeMySQL, server, dir, rootSQL}, options)
}
