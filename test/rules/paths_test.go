package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A place is an absolute path that Go code may name, with what is below it.
type place struct {
	path string
	why  string

	// beside is where another family of distributions has the same. Every file
	// that names the path names that too.
	beside string

	// from is the package, by the name that Debian and Red Hat's family share, that
	// brings the program. The rpm requires or recommends it.
	from string
}

const (
	kernels  = "the kernel's"
	systemds = "systemd's"
	ours     = "bootagent's own"
	standard = "in the Filesystem Hierarchy Standard"
	example  = "an example in a text"
	same     = "at the same path in Debian, Red Hat's family and Amazon Linux"
)

var places = []place{
	{path: "/dev", why: kernels},
	{path: "/proc", why: kernels},
	{path: "/sys", why: kernels},

	{path: "/etc/apparmor.d", why: "AppArmor's own, the same on all distributions that have it"},
	{path: "/etc/machine-id", why: systemds},
	{path: "/etc/systemd", why: systemds},
	{path: "/etc/sysusers.d", why: systemds},
	{path: "/run/credentials", why: systemds},
	{path: "/run/systemd", why: systemds},
	{path: "/run/sysusers.d", why: systemds},
	{path: "/run/user", why: systemds},
	{path: "/usr/lib/systemd", why: systemds},
	{path: "/usr/lib/sysusers.d", why: systemds},
	{path: "/usr/local/lib/systemd", why: systemds},
	{path: "/usr/local/lib/sysusers.d", why: systemds},
	{path: "/lib/systemd", why: "systemd's, where /lib is not a link", beside: "/usr/lib/systemd"},
	{path: "/etc/init.d", why: "systemd makes units of the scripts in it"},

	{path: "/etc/bootagent", why: ours},
	{path: "/run/bootagent", why: ours},
	{path: "/srv/bootagent", why: ours},
	{path: "/usr/bin/bootagent", why: ours},
	{path: "/var/lib/bootagent", why: ours},

	{path: "/etc/fstab", why: standard},
	{path: "/etc/group", why: standard},
	{path: "/etc/passwd", why: standard},
	{path: "/var/lib", why: standard},
	{path: "/var/tmp", why: standard},

	{path: "/bin/sh", why: standard, from: "/bin/sh"},
	{path: "/bin/cp", why: standard, from: "coreutils"},
	{path: "/bin/rm", why: standard, from: "coreutils"},
	{path: "/bin/touch", why: same, from: "coreutils"},
	{path: "/bin/true", why: standard, from: "coreutils"},
	{path: "/usr/bin/test", why: same, from: "coreutils"},
	{path: "/usr/bin/true", why: "in a unit file", beside: "/bin/true"},
	{path: "/bin/umount", why: standard, from: "util-linux"},
	{path: "/sbin/mkfs.xfs", why: same, from: "xfsprogs"},
	{path: "/usr/share/xfsprogs/mkfs", why: same, from: "xfsprogs"},
	{path: "/sbin/mkfs.ext4", why: same, from: "e2fsprogs"},
	{path: "/sbin/e2fsck", why: same, from: "e2fsprogs"},

	{path: "/run/mysqld/mysqld.sock", why: example},
	{path: "/srv/data", why: example},
	{path: "/usr/share/site", why: example},
	{path: "/bin/postgres", why: "the end of a path"},

	{path: "/etc/selinux/config", why: same},
	{path: "/usr/share/selinux/packages", why: same},
	{path: "/var/lib/selinux", why: same},

	{path: "/usr/bin/mariadb-install-db", why: same},
	{path: "/usr/bin/my_print_defaults", why: same},
	{path: "/usr/sbin/mariadbd", why: "Debian's", beside: "/usr/libexec/mariadbd"},
	{path: "/usr/libexec/mariadbd", why: "Red Hat's and Amazon Linux's", beside: "/usr/sbin/mariadbd"},
	{path: "/usr/sbin/mysqld", why: "Debian's and MySQL's own", beside: "/usr/libexec"},
	{path: "/usr/libexec/mysqld", why: "Red Hat's", beside: "/usr/sbin/mysqld"},
	{path: "/etc/postgresql", why: "Debian's, read where it is; elsewhere the unit says it"},
	{path: "/usr/lib/postgresql", why: "Debian's", beside: "/usr/pgsql-"},
	{path: "/usr/pgsql-", why: "PostgreSQL's own for Red Hat's family", beside: "/usr/lib/postgresql"},
	{path: "/usr/bin/postgres", why: "Red Hat's and Amazon Linux's", beside: "/usr/lib/postgresql"},
	{path: "/usr/bin/redis-server", why: "Debian's and Red Hat's", beside: "/usr/bin/redis6-server"},
	{path: "/etc/redis/redis.conf", why: "Debian's and Red Hat's", beside: "/etc/redis6/redis6.conf"},
	{path: "/usr/bin/redis6-server", why: "Amazon Linux's", beside: "/usr/bin/redis-server"},
	{path: "/etc/redis6/redis6.conf", why: "Amazon Linux's", beside: "/etc/redis/redis.conf"},
	{path: "/usr/bin/valkey-server", why: same},
	{path: "/etc/valkey/valkey.conf", why: same},
}

// bare are directories of the system without anything below them, which stand in
// lists of directories.
var bare = regexp.MustCompile(`^/(bin|boot|efi|etc|home|lib(32|64|x32)?|opt|root|run|sbin|srv|tmp|usr|usr/(bin|lib|libexec|sbin))/?$`)

// absolute matches a path in a text: at its beginning, or after what separates
// words and values.
var absolute = regexp.MustCompile("(?:^|[\\s'\"`=:(,])(/(?:bin|boot|dev|efi|etc|home|lib|lib32|lib64|libx32|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)(?:/[\\w.@%*+-]*)*)")

// pathsOf are the absolute paths in the literals of a file of Go.
func pathsOf(t *testing.T, file string) (all []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range absolute.FindAllStringSubmatch(text, -1) {
				all = append(all, strings.TrimRight(m[1], "."))
			}
		}
		return true
	})
	return all
}

// placeOf is the entry of the list that a path falls under, the longest.
func placeOf(path string) (found place) {
	for _, p := range places {
		below := path == p.path || strings.HasPrefix(path, p.path+"/") || strings.HasSuffix(p.path, "-") && strings.HasPrefix(path, p.path)
		if below && len(p.path) > len(found.path) {
			found = p
		}
	}
	return found
}

// The agent runs on every distribution with systemd. A path that only one family
// of them has is named with the other's, or not at all: what a unit starts says
// where a program is.
func TestNoPathIsOfOneDistributionAlone(t *testing.T) {
	used := map[string]bool{}
	for _, dir := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(file string, d fs.DirEntry, err error) error {
			helper := strings.HasSuffix(filepath.Dir(file), "test") // of tests alone
			if err != nil || helper || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			paths := pathsOf(t, file)
			for _, path := range paths {
				p := placeOf(path)
				switch used[p.path] = true; {
				case p.path == "" && !bare.MatchString(path):
					t.Errorf("%s names %s: find it by the unit or in several directories, or say in places why it is the same everywhere", file, path)
				case p.beside != "" && !slices.ContainsFunc(paths, func(other string) bool { return strings.HasPrefix(other, p.beside) }):
					t.Errorf("%s names %s (%s), and not %s", file, path, p.why, p.beside)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range places {
		if !used[p.path] {
			t.Errorf("no code names %s any more", p.path)
		}
	}
}

// What the agent runs comes with a package that the rpm requires, or recommends.
func TestRPMBringsTheProgramsOfTheAgent(t *testing.T) {
	if _, err := os.Stat("/usr/bin/rpm"); err != nil {
		t.Skip("rpm is not installed: run test/prerequisites")
	}
	brings := strings.Split(string(run(t, "rpm", "-qp", "--requires", "--recommends", packageFile(t, "bootagent-*.x86_64.rpm"))), "\n")
	for _, p := range places {
		if p.from != "" && !slices.Contains(brings, p.from) {
			t.Errorf("the agent runs %s, and the rpm neither requires nor recommends %s; it does %q", p.path, p.from, brings)
		}
	}
}
