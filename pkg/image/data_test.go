package image

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestADirectoryThatIsCopiedHasToBeInTheImage(t *testing.T) {
	copied := strings.Replace(dbRole, "if-absent: initialize}", "if-absent: copy, copy-from: /usr/share/orders}", 1)
	for name, c := range map[string]struct{ put, problem, checked string }{
		"there":   {"usr/share/orders/ibdata1", "", "what is copied to new volumes: found (/usr/share/orders)"},
		"a link":  {"srv/orders/ibdata1", "", "what is copied to new volumes: found (/usr/share/orders)"},
		"absent":  {"", "is copied from ROOT/usr/share/orders, which cannot be read: put it in the image", ""},
		"a file":  {"usr/share/orders", "is copied from ROOT/usr/share/orders, which cannot be read", ""},
		"no copy": {"none", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := whole()
			if name != "no copy" {
				files["etc/bootagent/roles.d/db.yaml"] = copied
			}
			if c.put != "" {
				files[c.put] = "x"
			}
			if name == "a link" {
				files["usr/share/orders"] = "-> /srv/orders"
			}
			i := load(t, build(t, files), true)
			r := check(t, i)
			problems := strings.ReplaceAll(strings.Join(r.Problems, "\n"), i.Root, "ROOT")
			if (problems != "") != (c.problem != "") || !strings.Contains(problems, c.problem) {
				t.Errorf("problems: %s, want %s", problems, c.problem)
			}
			if checked := strings.Join(r.Checked, "\n"); !strings.Contains(checked, c.checked) || c.checked == "" && strings.Contains(checked, "copied") {
				t.Errorf("checked: %s, want %s", checked, c.checked)
			}
		})
	}
}

// The database that a package made as it was installed is told, with what empties its
// directory; a machine on which an agent has run shows its volume there.
func TestADatabaseThatIsLeftInTheImageIsTold(t *testing.T) {
	auto := strings.Replace(dbRole, "bind: /var/lib/mysql", "bind: auto", 1)
	for name, c := range map[string]struct {
		role string
		put  string
		kept bool
		left string
	}{
		"a database":                 {dbRole, "var/lib/mysql/ibdata1", true, "/var/lib/mysql"},
		"nothing":                    {dbRole, "var/lib/mysql/", true, ""},
		"another's":                  {dbRole, "var/lib/postgresql/15/main/base", true, ""},
		"auto":                       {auto, "var/lib/mysql/ibdata1", true, "/var/lib/mysql"},
		"auto, deep":                 {strings.Replace(auto, "engine: mariadb", "engine: postgres", 1), "var/lib/mysql/15/main/PG_VERSION", true, "/var/lib/mysql/15/main"},
		"auto, and another engine's": {auto, "var/lib/mysql/dump.rdb", true, ""},
		"auto, and another user's":   {strings.Replace(auto, "owner: mysql", "owner: other", 1), "var/lib/mysql/ibdata1", true, ""},
		"a machine":                  {dbRole, "var/lib/mysql/ibdata1", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := whole()
			files["etc/bootagent/roles.d/db.yaml"], files[c.put] = c.role, "x"
			files["etc/passwd"] = fmt.Sprintf("mysql:x:%d:100::/:/bin/false\nother:x:4711:100::/:/bin/false\n", os.Getuid())
			if strings.HasSuffix(c.put, "/") {
				files[c.put] = ""
			}
			i := load(t, build(t, files), c.kept)
			var told []string
			for _, s := range check(t, i).Suggested {
				if strings.Contains(s, " is bound, has ") {
					told = append(told, s)
				}
			}
			if (len(told) == 1) != (c.left != "") || len(told) > 1 {
				t.Fatalf("told: %q", told)
			}
			if c.left == "" {
				return
			}
			dir := filepath.Join(i.Root, c.left)
			if !strings.Contains(told[0], dir+`, to which data "mysql" is bound`) {
				t.Errorf("it tells %s", told[0])
			}
			_, command, _ := strings.Cut(told[0], "is needed: ")
			if out, err := exec.Command("/bin/sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
			if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
				t.Errorf("it is not empty: %v, %v", names, err)
			}
		})
	}
}
