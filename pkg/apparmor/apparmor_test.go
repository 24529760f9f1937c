package apparmor

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/systemd/unitfile"
)

// mysqld and mariadbd are the beginning and the end of what Debian has, with one
// thing of each kind between.
const (
	mysqld = `# vim:syntax=apparmor
#include <tunables/global>

/usr/sbin/mysqld {
  #include <abstractions/base>
  capability sys_resource,
# Allow data dir access
  /var/lib/mysql/ r,
  /var/lib/mysql/** rwk,
  /{,var/}run/systemd/notify w,
  # Site-specific additions and overrides. See local/README for details.
  #include <local/usr.sbin.mysqld>
}
`
	mariadbd = `include <tunables/global>

profile mariadbd /usr/sbin/mariadbd flags=(attach_disconnected, audit) {
  include <abstractions/base>
  network inet stream,
  /usr/lib/{@{multiarch},mysql}/mariadb{,d}/plugin/ r,
  /var/lib/mariadb/ r,
  /var/lib/mariadb/** rwk,
  /usr/bin/dash rcx,
  profile /usr/bin/dash flags=(complain) {
    #include <abstractions/bash>
    /srv/** rwk,
    include if exists <local/dash>
  }
  audit deny mount options=(runbindable),
  include if exists <local/mariadbd>
}
`
	global = "@{PROC}=/proc/\n@{bin}=/{,usr/}{,s}bin\n@{more} += /opt # places\n@{more} += @{bin}\n"

	// shellUnit is how MariaDB's own unit starts it since version 11.8.6.
	shellUnit = "[Service]\nExecStartPre=+/usr/bin/install -d /run/mariadbd\n" +
		`ExecStart=/bin/sh -c "set -f; VAR=$(/usr/bin/galera_recovery); exec /usr/sbin/mariadbd $MYSQLD_OPTS $VAR"` + "\n"
)

type files map[string]string

// image makes a root with both databases.
func image(t *testing.T, more files) string {
	t.Helper()
	root := t.TempDir()
	all := files{
		"etc/apparmor.d/usr.sbin.mysqld":              mysqld,
		"etc/apparmor.d/local/usr.sbin.mysqld":        "# Site-specific additions\n",
		"etc/apparmor.d/mariadbd":                     mariadbd,
		"etc/apparmor.d/tunables/global":              global,
		"usr/lib/systemd/system/mysql.service":        "[Service]\nExecStart=/usr/sbin/mysqld\n",
		"usr/lib/systemd/system/mariadb.service":      shellUnit,
		"usr/lib/systemd/system/nginx.service":        "[Service]\nExecStart=/usr/sbin/nginx\n",
		"usr/lib/systemd/system/other.service":        "[Service]\nExecStart=/bin/true\nAppArmorProfile=-mariadbd\n",
		"usr/lib/systemd/system/my\\x2ddb@it.service": "[Service]\nExecStart=/usr/sbin/mysqld\n",
	}
	for name, text := range more {
		all[name] = text
	}
	for name, text := range all {
		write(t, filepath.Join(root, name), text)
	}
	return root
}

func write(t *testing.T, file, text string) {
	t.Helper()
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if target, isLink := strings.CutPrefix(text, "-> "); isLink {
		err = errors.Join(err, os.Symlink(target, file))
	} else {
		err = errors.Join(err, os.WriteFile(file, []byte(text), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// loaded are the profiles that were loaded.
type loaded []string

func (l *loaded) load(profile string) error { *l = append(*l, profile); return nil }

const (
	mysqlLocal   = "etc/apparmor.d/local/usr.sbin.mysqld"
	mariadbLocal = "etc/apparmor.d/local/mariadbd"
)

func given(service string) Given {
	return Given{Service: service, Credentials: true, Files: []string{"/run/bootagent/files/server-id.cnf"}}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAConfinedServiceMayReadWhatItsRoleGivesItAndNothingElse(t *testing.T) {
	root := image(t, nil)
	var l loaded
	changes, err := Install(root, []Given{given("mysql.service"), given("mariadb.service"), given("nginx.service")}, l.load)
	ok(t, err)
	const want = "# BEGIN bootagent: what its roles give to the services of this profile.\n" +
		"# \"bootagent guard install\" reverts what is edited here.\n" +
		"/run/bootagent/files/server-id.cnf r,\n" +
		"/run/credentials/mysql.service/* r,\n" +
		"# END bootagent\n"
	if got := read(t, root, mysqlLocal); got != want+"# Site-specific additions\n" {
		t.Errorf("mysql's file is\n%s", got)
	}
	if got := read(t, root, mariadbLocal); got != strings.ReplaceAll(want, "mysql.", "mariadb.") {
		t.Errorf("mariadb's file is\n%s", got)
	}
	if got := []string(l); !slices.Equal(got, []string{"/etc/apparmor.d/mariadbd", "/etc/apparmor.d/usr.sbin.mysqld"}) {
		t.Errorf("loaded were %q", got)
	}
	if !slices.Equal(changes, []guard.Change{{Done: guard.Added, Path: "/" + mariadbLocal}, {Done: guard.Added, Path: "/" + mysqlLocal}}) {
		t.Errorf("the changes are %q", changes)
	}
	if entries, err := os.ReadDir(filepath.Join(root, "etc/apparmor.d/local")); err != nil || len(entries) != 2 {
		t.Errorf("there is more: %v, %v", entries, err)
	}
	if changes, err := Install(root, []Given{given("mysql.service"), given("mariadb.service")}, l.load); err != nil || len(changes) > 0 || len(l) != 2 {
		t.Errorf("the second time: %v, %v, loaded %q", changes, err, l)
	}
}

// The data directory is the profile's own, and so nothing is to be added, or the
// bind of the role is elsewhere.
func TestOnlyWhatAProfileDoesNotAllowItselfIsAdded(t *testing.T) {
	rules := func(unit string, g Given) string {
		t.Helper()
		root := image(t, files{mariadbLocal: "owner /opt/** rwk,\n/srv/own/ r,\n/srv/own/** rwk,\n/run/credentials/** r,\n"})
		g.Service = unit
		units, err := unitfile.Load(root)
		ok(t, err)
		var all []string
		for _, n := range load(units.Root).needs(units, []Given{g}) {
			all = append(all, join(n.rules))
		}
		return strings.Join(all, "; ")
	}
	for _, c := range []struct {
		name, unit string
		given      Given
		want       string
	}{
		{"its own data directory", "mysql.service", Given{Data: []string{"/var/lib/mysql"}}, ""},
		{"another one", "mysql.service", Given{Data: []string{"/var/lib/shop"}}, "/var/lib/shop/ r, /var/lib/shop/** rwk"},
		{"one above its own", "mysql.service", Given{Data: []string{"/var/lib"}}, "/var/lib/ r, /var/lib/** rwk"},
		{"one that a person allowed", "mariadb.service", Given{Data: []string{"/srv/own"}}, ""},
		{"one that is allowed to its owner", "mariadb.service", Given{Data: []string{"/opt/x"}}, "/opt/x/ r, /opt/x/** rwk"},
		{"one that is allowed to a part of the profile", "mariadb.service", Given{Data: []string{"/srv/x"}}, "/srv/x/ r, /srv/x/** rwk"},
		{"credentials that a person allowed", "mariadb.service", Given{Credentials: true}, ""},
		{"a unit that names its profile", "other.service", Given{Data: []string{"/x"}}, "/x/ r, /x/** rwk"},
		{"odd names", `my\x2ddb@it.service`, Given{Credentials: true, Files: []string{"/a b/{x}"}}, `"/a b/\{x\}" r, /run/credentials/my\\x2ddb@it.service/* r`},
		{"a program without a profile", "nginx.service", given(""), ""},
	} {
		if got := rules(c.unit, c.given); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestWhatOthersWroteIntoALocalFileStaysByteForByte(t *testing.T) {
	for _, theirs := range []string{"", "# no newline at the end", "/srv/x r,\n\n", "\n\n# END of the story\n"} {
		root := image(t, files{mysqlLocal: theirs})
		install := func(g ...Given) {
			t.Helper()
			_, err := Install(root, g, new(loaded).load)
			ok(t, err)
		}
		install(given("mysql.service"))
		first := read(t, root, mysqlLocal)
		if !strings.HasSuffix(first, "# END bootagent\n"+theirs) {
			t.Errorf("after %q: %q", theirs, first)
		}
		install(Given{Service: "mysql.service", Credentials: true})
		if got := read(t, root, mysqlLocal); strings.Contains(got, "server-id") || !strings.HasSuffix(got, "# END bootagent\n"+theirs) {
			t.Errorf("after a change of the role: %q", got)
		}
		edited := "# mine\n" + strings.Replace(first, "server-id", "forged", 1)
		write(t, filepath.Join(root, mysqlLocal), edited)
		install(given("mysql.service"))
		if got := read(t, root, mysqlLocal); !strings.HasSuffix(got, "# END bootagent\n# mine\n"+theirs) || strings.Contains(got, "forged") {
			t.Errorf("after an edit: %q", got)
		}
		write(t, filepath.Join(root, mysqlLocal), first)

		var l loaded
		changes, err := Remove(root, l.load)
		ok(t, err)
		if got := read(t, root, mysqlLocal); got != theirs {
			t.Errorf("after removal of ours: %q, want %q", got, theirs)
		}
		if len(changes) != 1 || changes[0].Done != guard.Removed || len(l) != 1 {
			t.Errorf("removed: %v, loaded %q", changes, l)
		}
		if _, err := os.Stat(filepath.Join(root, mysqlLocal)); err != nil {
			t.Errorf("the profile can't be loaded without it: %v", err)
		}
	}
}

func TestAFileOfOursAloneIsRemoved(t *testing.T) {
	root := image(t, nil)
	_, err := Install(root, []Given{given("mariadb.service")}, new(loaded).load)
	ok(t, err)
	_, err = Install(root, nil, new(loaded).load) // no role gives anything any more
	ok(t, err)
	if _, err := os.Stat(filepath.Join(root, mariadbLocal)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(root, "etc/apparmor.d")); err != nil {
		t.Fatal(err)
	}
	changes, err := Remove(root, new(loaded).load)
	if err != nil || len(changes) > 0 {
		t.Errorf("without AppArmor: %v, %v", changes, err)
	}
}

// Check is silent exactly where Install has nothing to do or can't do it.
func TestCheckTellsWhatAProfileKeepsFromAService(t *testing.T) {
	all := []Given{given("mysql.service")}
	bare := strings.Replace(mysqld, "#include <local/usr.sbin.mysqld>", "", 1)
	for _, c := range []struct {
		name     string
		more     files
		given    []Given
		want     string
		unhelped bool // by installing
	}{
		{"nothing is installed", nil, all, "/etc/apparmor.d/usr.sbin.mysqld: the profile /usr/sbin/mysqld of AppArmor, which confines mysql.service, does not allow what the roles give it " +
			"(/run/bootagent/files/server-id.cnf r, /run/credentials/mysql.service/* r): run bootagent guard install --root ", false},
		{"another role's", files{mysqlLocal: begin + "/x r,\n" + end}, all, "allows something else than what the roles give it", false},
		{"no role needs it", files{mariadbLocal: begin + "/x r,\n" + end}, nil, "/etc/apparmor.d/local/mariadbd: has rules of bootagent, but no role needs them: run bootagent guard install --root ", false},
		{"no local file", files{"etc/apparmor.d/usr.sbin.mysqld": bare}, all, "add the line include if exists <local/usr.sbin.mysqld>, and then run bootagent guard install", true},
		{"half of ours", files{mysqlLocal: begin + "/x r,\n"}, all, `but do not end with "# END bootagent"`, true},
		{"disabled", files{"etc/apparmor.d/disable/usr.sbin.mysqld": "-> ../usr.sbin.mysqld"}, all, "", false},
	} {
		root := image(t, c.more)
		problems, _, err := Check(root, c.given)
		ok(t, err)
		switch {
		case c.want == "" && len(problems) > 0 || c.want != "" && len(problems) != 1:
			t.Errorf("%s: got %q", c.name, problems)
			continue
		case c.want != "" && (!strings.Contains(problems[0].String(), c.want) || problems[0].Install == c.unhelped):
			t.Errorf("%s: got %q, want %q", c.name, problems, c.want)
		}
		if _, err := Install(root, c.given, new(loaded).load); (err != nil) != (c.name == "half of ours") {
			t.Errorf("%s: %v", c.name, err)
		}
		if problems, _, err := Check(root, c.given); err != nil || (len(problems) > 0) != c.unhelped {
			t.Errorf("%s: after installing: %q, %v", c.name, problems, err)
		}
	}
}

func TestAnErrorOfLoadingIsTold(t *testing.T) {
	root := image(t, nil)
	failed := errors.New("the parser says no")
	changes, err := Install(root, []Given{given("mysql.service")}, func(string) error { return failed })
	if !errors.Is(err, failed) || len(changes) != 1 {
		t.Errorf("got %v, %v", changes, err)
	}
}

func TestAProgramHasTheProfileThatAttachesToIt(t *testing.T) {
	const profiles = `
abi <abi/4.0>,
include <tunables/global>
@{exec_path} = @{bin}/one /opt/one
profile one @{exec_path} flags=(complain) { include if exists <local/one> }
profile two "/opt/my two" xattrs=(security.x="a b") {
}
/usr/{bin,lib}/three* {
}
profile four /usr/lib/four/** flags=(unconfined) {
  userns,
}
profile five {
  profile inner /usr/bin/inner { /x r, }
  ^hat { /usr/bin/hat r, }
}
/opt/[a-c]x? (complain){ }
profile all /usr/bin/** { }
profile special /usr/bin/special { }
profile more @{more}/seven { }
profile unknown @{nowhere}/x { }
`
	root := image(t, files{"etc/apparmor.d/many": profiles, "etc/apparmor.d/many.dpkg-old": profiles})
	s := load(unitfile.NewRoot(root))
	for program, want := range map[string]string{
		"/usr/sbin/mysqld": "/usr/sbin/mysqld", "/usr/sbin/mariadbd": "mariadbd",
		"/usr/sbin/one": "one", "/bin/one": "one", "/opt/one": "one", "/opt/my two": "two",
		"/usr/lib/three-x": "/usr/{bin,lib}/three*", "/usr/lib/three/x": "", "/usr/lib/four/x": "", "/opt/inner": "",
		"/opt/bx1": "/opt/[a-c]x?", "/opt/dx1": "", "/usr/bin/any": "all", "/usr/bin/special": "special",
		"/opt/seven": "more", "/sbin/seven": "more", "/x": "",
	} {
		var got []string
		for _, p := range s.confining(program) {
			got = append(got, p.name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %q", program, got, want)
		}
	}
}

// The command that is told adds the flag, and does nothing when it is run again.
func TestTheFlagThatIsMissingIsAddedByTheCommandThatIsTold(t *testing.T) {
	const inside = "\n  /x r, # {\n}\n"
	for _, c := range []struct{ head, want string }{
		{"/usr/sbin/mysqld {", "/usr/sbin/mysqld flags=(attach_disconnected) {"},
		{"/usr/sbin/mysqld{", ""}, // no parser takes it
		{"profile my.sql /usr/{bin,sbin}/my*[sd]ql{,d} {", "profile my.sql /usr/{bin,sbin}/my*[sd]ql{,d} flags=(attach_disconnected) {"},
		{"  profile db /usr/sbin/mysqld flags=(complain) { # mine", "  profile db /usr/sbin/mysqld flags=(attach_disconnected, complain) { # mine"},
		{`profile "d'b&$x" /usr/sbin/mysqld {`, `profile "d'b&$x" /usr/sbin/mysqld flags=(attach_disconnected) {`},
		{"/usr/sbin/mysqld flags=(complain)\n{", "add the flag"},
		{"profile db /usr/sbin/mysqld\n{", "add the flag"},
		{"profile db /usr/sbin/mysqld xattrs=(security.x=a) {", "add the flag"},
		{"/usr/sbin/mysqld (complain) {", "add the flag"},
	} {
		root := image(t, files{
			"etc/apparmor.d/usr.sbin.mysqld":       "include <tunables/global>\n" + c.head + inside,
			"usr/lib/systemd/system/mysql.service": "[Service]\nType=notify\nExecStart=/usr/sbin/mysqld\n",
		})
		problems, err := Unheard(root, []string{"mysql.service"})
		ok(t, err)
		if c.want == "" {
			if len(problems) > 0 {
				t.Errorf("%s: told %q", c.head, problems)
			}
			continue
		}
		if len(problems) != 1 || problems[0].Install {
			t.Errorf("%s: told %q", c.head, problems)
			continue
		}
		_, command, is := strings.Cut(problems[0].Detail, ": run ")
		if c.want == "add the flag" {
			if !strings.HasSuffix(problems[0].Detail, ": add the flag attach_disconnected to its head") {
				t.Errorf("%s: told %q", c.head, problems)
			}
			continue
		}
		for range 2 {
			if out, err := exec.Command("sh", "-c", command).CombinedOutput(); !is || err != nil {
				t.Errorf("%s: %s: %v: %s", c.head, command, err, out)
			}
			if got := read(t, root, "etc/apparmor.d/usr.sbin.mysqld"); got != "include <tunables/global>\n"+c.want+inside {
				t.Errorf("%s: after %s it is\n%s", c.head, command, got)
			}
		}
		if problems, err := Unheard(root, []string{"mysql.service"}); err != nil || len(problems) > 0 {
			t.Errorf("%s: after %s: %q, %v", c.head, command, problems, err)
		}
	}
}

// Whatever a file has, it is read to its end.
func FuzzParse(f *testing.F) {
	for _, text := range []string{mysqld, mariadbd, global, "{{}", "include", "#include <local/", "@{x}=\n/x\"", "profile,{", "/x{ @{y} r,}"} {
		f.Add(text, "/usr/{sbin,bin}/@{x}[a]?*\\")
	}
	f.Fuzz(func(t *testing.T, text, pattern string) {
		vars := make(variables)
		for _, p := range parse(text, vars) {
			s := set{vars: vars}
			s.matches(p.attach, "/usr/sbin/mysqld")
			s.allowed(p.rules, rule{"/x/**", "rwk"})
		}
		vars.compile(pattern)
		if ours, others, err := cut(text); err == nil && len(ours)+len(others) != len(text) {
			t.Errorf("%q is cut into %q and %q", text, ours, others)
		}
		if re := vars.compile(literal(pattern)); utf8.ValidString(pattern) && !strings.Contains(pattern, "//") && re != nil && !re.MatchString(pattern) {
			t.Errorf("%q does not match itself", pattern)
		}
	})
}
