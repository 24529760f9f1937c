package unitfile

import (
	"errors"
	"fmt"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/systemd/unitfile/unitfiletest"
)

func TestLinksOfAnImageStayInTheImage(t *testing.T) {
	r := NewRoot(unitfiletest.Root(t, map[string]string{
		"etc/a/b":  "-> /c",
		"c":        "-> ../../../d/./e",
		"d/e/file": "text",
		"up":       "-> c/../f",
		"loop/a":   "-> b",
		"loop/b":   "-> /loop/a",
	}))
	if got, err := r.Resolve("/etc/a/b/file"); err != nil || got != "/d/e/file" {
		t.Errorf("resolved to %q, %v", got, err)
	}
	if text, err := r.Read("/etc/a/b/file"); err != nil || string(text) != "text" {
		t.Errorf("read %q, %v", text, err)
	}
	// Up from where a link leads, not from where it stands.
	if got, err := r.Resolve("/up"); err != nil || got != "/d/f" {
		t.Errorf("resolved to %q, %v", got, err)
	}
	if got, err := r.Resolve("/loop/a/file"); err == nil {
		t.Errorf("a loop resolved to %q", got)
	}
}

func TestSystemdSearchesWhereWeDo(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "unit-paths").Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("systemd-analyze is not installed (package systemd): its search path is not checked")
	}
	if err != nil {
		t.Fatal(err)
	}
	ours := searchPath()
	last := -1
	for dir := range strings.FieldsSeq(string(out)) {
		i := slices.Index(ours, dir)
		switch {
		case i < 0:
			t.Errorf("systemd searches %s and we do not", dir)
		// One of the two is a link to the other on most systems.
		case i < last && path.Base(path.Dir(path.Dir(dir))) != "lib":
			t.Errorf("systemd searches %s after %s, we before", dir, ours[last])
		}
		last = max(last, i)
	}
	if last < 0 {
		t.Error("systemd-analyze unit-paths printed nothing")
	}
}

func TestSystemdDropsInAsWeSay(t *testing.T) {
	m := map[string]string{
		"usr/lib/systemd/system/foo-bar@.service": unitfiletest.Service,
		"usr/lib/systemd/system/a.service":        unitfiletest.Service,
		"etc/systemd/system/b.service":            "-> ../../../usr/lib/systemd/system/a.service",
	}
	dirs := []string{"etc/systemd/system.control", "etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system"}
	names := []string{"foo-bar@x.service", "foo-bar@.service", "foo-@x.service", "foo-@.service", "foo-.service", "foo.service", "service", "a.service", "b.service"}
	for i, name := range names {
		for j, other := range names[:i] { // which of two wins
			m[fmt.Sprintf("etc/systemd/system/%s.d/7%d%d.conf", name, i, j)] = "[Unit]\n"
			m[fmt.Sprintf("etc/systemd/system/%s.d/7%d%d.conf", other, i, j)] = "[Unit]\n"
			m[fmt.Sprintf("etc/systemd/system.control/%s.d/8%d%d.conf", name, i, j)] = "[Unit]\n"
			m[fmt.Sprintf("etc/systemd/system/%s.d/8%d%d.conf", other, i, j)] = "[Unit]\n"
		}
		for j, dir := range dirs {
			m[fmt.Sprintf("%s/%s.d/1%d%d.conf", dir, name, i, j)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/2%d.conf", dir, name, i)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/3%d.conf", dir, name, j)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/4.conf", dir, name)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/.5.conf", dir, name)] = "[Unit]\n"
			m[fmt.Sprintf("%s/%s.d/6.conf~", dir, name)] = "[Unit]\n"
		}
	}
	tree, err := Load(unitfiletest.Root(t, m))
	if err != nil {
		t.Fatal(err)
	}
	units, said := unitfiletest.Analyze(t, "LC_ALL=C", "--root="+tree.Dir, "foo-bar@x.service", "a.service")
	for _, name := range []string{"foo-bar@x.service", "a.service"} {
		var want []string
		for _, file := range tree.DropIns(name) {
			want = append(want, tree.Join(file))
		}
		if got := units.Values(name, "DropIn Path"); len(got) < 10 || !slices.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("of the %d drop-ins of %s, the %dth is %s to systemd and %s to us", len(got), name, i+1, got[i], want[i])
				}
			}
			t.Errorf("systemd has %d drop-ins of %s, we have %d\n%s", len(got), name, len(want), said)
		}
	}
}

// What systemd-analyze says of the slice is what the check follows.
func TestSlicesAreSystemds(t *testing.T) {
	for name, text := range map[string]string{
		"a.service":                unitfiletest.Service,
		"b.service":                unitfiletest.Service + "Slice=one.slice\nSlice=db-%p.slice\n",
		"c.service":                unitfiletest.Service + "Slice=one.slice\nSlice=\nSlice=x.service\n",
		"d.service":                unitfiletest.Service + "Slice=-.slice\n",
		"pg-db@15-main.service":    unitfiletest.Service,
		"e-f@x.service":            unitfiletest.Service + "Slice=%j-%i.slice\n",
		`srv-my\x2ddata@z.service`: unitfiletest.Service,
	} {
		t.Run(name, func(t *testing.T) {
			root := unitfiletest.Root(t, map[string]string{"usr/lib/systemd/system/" + name: text})
			tree, err := Load(root)
			if err != nil {
				t.Fatal(err)
			}
			units, told := unitfiletest.Analyze(t, "LC_ALL=C", "--root="+root, name)
			all := tree.Slices(name)
			if got := units.Values(name, "InSlice"); !slices.Equal(got, all[:1]) {
				t.Errorf("systemd runs it in %q, we say %q\n%s", got, all, told)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("[Unit]\nAfter=a \\\n# b\n c\n;d\n[Socket]\nAccept = yes"))
	f.Add([]byte("=\n[]\n[\n\\"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, s := range Parse(text) {
			if strings.ContainsAny(s.Section+s.Key+s.Value, "\n") || strings.Contains(s.Key, "=") {
				t.Errorf("%q has the setting %q", text, s)
			}
		}
	})
}
