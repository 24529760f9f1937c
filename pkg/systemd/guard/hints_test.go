package guard

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// command matches the command at the end of a problem.
var command = regexp.MustCompile(`(?:: |run |and )((?:systemctl|rm|mv|bootagent) .*)$`)

// A problem ends in a command. When a person has pasted that, the problem is gone.
func TestCommandsOfProblemsWorkWhenPasted(t *testing.T) {
	const odd = `srv-my\x2ddata@it.service`
	guardOf := func(dir string) string { return dir + "/" + odd + ".d/" + fileName }
	for _, test := range []struct {
		name    string
		machine machine
		says    string // what is wrong
		needs   string // a program beside those of a shell
	}{
		{"no guard", nil, "has no guard", "bootagent"},
		{"an old one", machine{guardOf("etc/systemd/system"): mark + "\n"}, "has a guard that differs", "bootagent"},
		{"one of no role any more", machine{`etc/systemd/system/other\x2da.service.d/` + fileName: mark + "\n"}, "no role needs it", "bootagent"},
		{"another's file", machine{guardOf("etc/systemd/system"): "[Unit]\n"}, "bootagent did not make it", "bootagent"},
		{"one that wins over it", machine{guardOf("etc/systemd/system.control"): "[Unit]\n"}, "replaces its guard", ""},
		{"masked", machine{"etc/systemd/system/" + odd: "-> /dev/null"}, "is masked", "systemctl"},
		{"masked by an empty file", machine{"etc/systemd/system/" + odd: ""}, "is masked", "systemctl"},
		{"masked until the next boot", machine{"run/systemd/system/" + odd: "-> /dev/null"}, "is masked", "systemctl"},
		{"masked by its package", machine{"usr/local/lib/systemd/system/" + odd: "-> /dev/null"}, "is masked", ""},
		{"a link that is none", machine{"etc/systemd/system/" + odd: "-> other.service"}, "so systemd ignores the link", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			bin := t.TempDir()
			if test.needs == "systemctl" {
				if _, err := exec.LookPath(test.needs); err != nil {
					t.Skip("systemctl is not installed (package systemd): its hints are not tried")
				}
			}
			m := machine{`usr/lib/systemd/system/srv-my\x2ddata@.service`: service, "usr/lib/systemd/system/other.service": service}
			for name, text := range test.machine {
				m[name] = text
			}
			root := filepath.Join(t.TempDir(), "a root")
			if err := os.Rename(m.root(t), root); err != nil {
				t.Fatal(err)
			}
			if test.needs != "bootagent" {
				_, _ = Install(root, []Hold{hold(odd)}) // which tells of a link that is none
			}
			program := "#!/bin/sh\n[ \"$*\" = 'guard install --root " + root + "' ] && touch '" + bin + "/ran'\n"
			if err := os.WriteFile(bin+"/bootagent", []byte(program), 0o755); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			told := find(t, root, odd, test.says)
			if told == "" {
				t.Fatalf("no problem says %q", test.says)
			}
			match := command.FindStringSubmatch(told)
			if match == nil {
				t.Fatalf("no command is in %q", told)
			}
			paste := match[1]
			if out, err := exec.Command("sh", "-ec", paste).CombinedOutput(); err != nil {
				t.Fatalf("%q of %q: %v\n%s", paste, told, err, out)
			}
			if _, err := os.Stat(bin + "/ran"); err == nil {
				if _, err := Install(root, []Hold{hold(odd)}); err != nil {
					t.Fatal(err)
				}
			} else if test.needs == "bootagent" {
				t.Errorf("%q does not install the guards of that root", paste)
			}
			if told := find(t, root, odd, test.says); told != "" {
				t.Errorf("after %q, the problem is still there: %s", paste, told)
			}
		})
	}
}

// find returns the detail of the problem that says something, or "".
func find(t *testing.T, root, name, says string) string {
	t.Helper()
	problems, err := Check(root, []Hold{hold(name)})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(problems, func(p Problem) bool { return strings.Contains(p.Detail, says) })
	if i < 0 {
		return ""
	}
	return strings.TrimSpace(problems[i].Detail)
}
