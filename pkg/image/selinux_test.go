package image

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// packed is "(module)\n" as semodule keeps it.
const packed = "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x91\x11\xc0\x16\x00\x00\x00\xd1\x80\x00\x10\x00\x60\x06\x06\x82\x00\x20\x00\x22\x01\x93\xd4\x20\xc9\x88\xba\xde\x63\x0f\x17\x72\x45\x38\x50\x90\x91\x11\xc0\x16"

func TestAPolicyThatWillBeEnforcedHasTheModule(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // the order of units is not what this is about
	const (
		config  = "etc/selinux/config"
		shipped = "usr/share/selinux/packages/bootagent.cil"
		store   = "var/lib/selinux/default/active/modules/"
		install = ": semodule --install=/usr/share/selinux/packages/bootagent.cil"
	)
	enforcing := "# a comment\nSELINUX=enforcing\nSELINUXTYPE=default\n"
	for name, c := range map[string]struct {
		files     map[string]string
		checked   string
		problem   string
		suggested string
	}{
		"no SELinux": {},
		"disabled":   {files: map[string]string{config: "SELINUX=disabled\nSELINUXTYPE=default\n"}},
		"it has it": {
			files:   map[string]string{config: enforcing, shipped: "(module)\n", store + "100/base/cil": "x", store + "400/bootagent/cil": packed},
			checked: "the SELinux policy default: it has the module bootagent",
		},
		"it has it, not compressed": {
			files:   map[string]string{config: enforcing, shipped: "(module)\n", store + "400/bootagent/cil": "(module)\n"},
			checked: "the SELinux policy default: it has the module bootagent",
		},
		"it lacks it": {
			files:   map[string]string{config: enforcing, shipped: "(module)\n", store + "100/base/cil": "x"},
			problem: "the SELinux policy default (enforcing) lacks the module bootagent, so that services can be denied what bootagent mounts and writes for them" + install,
		},
		"it lacks it, and denies nothing": {
			files:     map[string]string{config: strings.Replace(enforcing, "enforcing", "permissive", 1), shipped: "(module)\n", store + "100/base/cil": "x"},
			suggested: "the SELinux policy default (permissive) lacks the module bootagent, so that services can be denied what bootagent mounts and writes for them" + install,
		},
		"it has an older one": {
			files:   map[string]string{config: enforcing, shipped: "(newer)\n", store + "400/bootagent/cil": packed},
			problem: "the SELinux policy default (enforcing) has another version of the module bootagent" + install,
		},
		"there is no store": {files: map[string]string{config: enforcing, shipped: "(module)\n"}},
	} {
		files := whole()
		maps.Copy(files, c.files)
		img := load(t, build(t, files), true)
		r := check(t, img)
		about := func(lines []string) string {
			return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.Contains(line, "SELinux") }), "; ")
		}
		if got := about(r.Checked); got != c.checked {
			t.Errorf("%s: checked %q", name, got)
		}
		if got := about(r.Problems); got != c.problem {
			t.Errorf("%s: problems %q", name, got)
		}
		if got := about(r.Suggested); got != c.suggested {
			t.Errorf("%s: suggested %q", name, got)
		}
		wants := name == "there is no store"
		if got := about(r.Unchecked); (got != "") != wants {
			t.Errorf("%s: not checked %q", name, got)
		}
	}
}
