package rules

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const mebibyte = 1 << 20

// programs are what the packages bring, each with the most that it may weigh
// and the place where it goes.
var programs = []struct {
	name string
	dir  string
	most int64 // bytes, stripped
}{
	{"bootagent", "/usr/bin", 16 * mebibyte},
	{"bootagent-generator", "/usr/lib/systemd/system-generators", 4 * mebibyte},
}

var arches = []string{"amd64", "arm64"}

func TestProgramsAreSmallAndStatic(t *testing.T) {
	for _, arch := range arches {
		for _, p := range programs {
			path := filepath.Join(build, arch, p.name)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatalf("%v; run 'make package' first", err)
			}
			t.Logf("%s %s: %.1f MiB of %d", arch, p.name, float64(info.Size())/mebibyte, p.most/mebibyte)
			if info.Size() >= p.most {
				t.Errorf("%s has %d bytes, and may have less than %d", path, info.Size(), p.most)
			}
			if lib := library(t, path); lib != "" {
				t.Errorf("%s is not static: it needs %s", path, lib)
			}
		}
	}
}

// library gives a library or loader that a program needs, or nothing.
func library(t *testing.T, path string) string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for _, prog := range f.Progs {
		if prog.Type == elf.PT_INTERP {
			libs = append(libs, "a loader")
		}
	}
	if len(libs) == 0 {
		return ""
	}
	return libs[0]
}

func TestCopyrightNamesEveryModuleInThePrograms(t *testing.T) {
	text, err := os.ReadFile(root + "/packaging/copyright")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		info, err := buildinfo.ReadFile(filepath.Join(build, "amd64", p.name))
		if err != nil {
			t.Fatal(err)
		}
		for _, dep := range info.Deps {
			if !slices.Contains(strings.Fields(string(text)), dep.Path) {
				t.Errorf("packaging/copyright does not name %s, which %s holds", dep.Path, p.name)
			}
		}
	}
}

// contents is what both packages hold beside the directories of the system:
// path and mode, all of it root's. The units come from units/.
func contents(t *testing.T) map[string]fs.FileMode {
	t.Helper()
	want := map[string]fs.FileMode{
		"/etc/bootagent/":         0o755,
		"/etc/bootagent/roles.d/": 0o755,
		"/var/lib/bootagent/":     0o700,
		"/usr/bin/bootagent":      0o755,
		"/usr/lib/systemd/system-generators/bootagent-generator":      0o755,
		"/usr/lib/systemd/system-preset/50-bootagent.preset":          0o644,
		"/usr/lib/udev/rules.d/70-bootagent.rules":                    0o644,
		"/usr/share/man/man5/bootagent-role.5.gz":                     0o644,
		"/usr/share/man/man8/bootagent.8.gz":                          0o644,
		"/usr/share/selinux/packages/bootagent.cil":                   0o644,
		"/usr/share/doc/bootagent/changelog.gz":                       0o644,
		"/usr/share/doc/bootagent/copyright":                          0o644,
		"/usr/share/doc/bootagent/examples/roles.d/kafka.yaml":        0o644,
		"/usr/share/doc/bootagent/examples/roles.d/mysql.yaml":        0o644,
		"/usr/share/doc/bootagent/examples/roles.d/mysql-ec2.yaml":    0o644,
		"/usr/share/doc/bootagent/examples/roles.d/mysql-server.yaml": 0o644,
		"/usr/share/doc/bootagent/examples/roles.d/postgres.yaml":     0o644,
		"/usr/share/doc/bootagent/examples/roles.d/redis.yaml":        0o644,
		"/usr/share/doc/bootagent/examples/roles.d/web.yaml":          0o644,
	}
	for _, unit := range units(t) {
		want["/usr/lib/systemd/system/"+unit] = 0o644
	}
	return want
}

// units are the names of the units in units/; there are those that the design
// names, whatever else there is.
func units(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(root + "/units")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".preset" {
			names = append(names, e.Name())
		}
	}
	for _, name := range []string{
		"bootagent.service", "bootagent-role.service", "bootagent-release.service",
		"bootagent-ready.target", "run-bootagent-secrets.mount",
	} {
		if !slices.Contains(names, name) {
			t.Errorf("units/ has no %s", name)
		}
	}
	return names
}

func TestDebHoldsWhatItShould(t *testing.T) {
	want := contents(t)
	want["/usr/share/doc/bootagent/changelog.Debian.gz"] = 0o644
	want["/usr/share/lintian/overrides/bootagent"] = 0o644
	for _, arch := range arches {
		t.Run(arch, func(t *testing.T) {
			got := map[string]fs.FileMode{}
			archive := tar.NewReader(bytes.NewReader(run(t, "dpkg-deb", "--fsys-tarfile", packageFile(t, "bootagent_*_"+arch+".deb"))))
			for {
				h, err := archive.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				path := strings.TrimPrefix(h.Name, ".")
				if h.Uname != "root" || h.Gname != "root" || h.Uid != 0 || h.Gid != 0 {
					t.Errorf("%s is %s:%s's, not root's", path, h.Uname, h.Gname)
				}
				// Directories that others made as well, dpkg leaves as they are.
				if h.Typeflag == tar.TypeDir && want[path] == 0 && h.Mode == 0o755 {
					continue
				}
				got[path] = h.FileInfo().Mode().Perm()
			}
			compare(t, got, want)
		})
	}
}

func TestRPMHoldsTheSame(t *testing.T) {
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("rpm is not installed")
	}
	want := contents(t)
	for arch, name := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		t.Run(arch, func(t *testing.T) {
			file := packageFile(t, "bootagent-*."+name+".rpm")
			got := map[string]fs.FileMode{}
			out := run(t, "rpm", "-qp", "--queryformat", `[%{FILEMODES:octal} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]`, file)
			for line := range strings.Lines(string(out)) {
				var mode uint32
				var owner, path string
				if _, err := fmt.Sscanf(line, "%o %s %s", &mode, &owner, &path); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				if owner != "root:root" {
					t.Errorf("%s is %s's, not root's", path, owner)
				}
				const directory = 0o040000 // S_IFDIR, see inode(7)
				if mode&0o170000 == directory {
					path += "/"
				}
				got[path] = fs.FileMode(mode).Perm()
			}
			compare(t, got, want)
			if out := string(run(t, "rpm", "-K", file)); !strings.Contains(out, "digests OK") {
				t.Errorf("rpm -K: %s", out)
			}
		})
	}
}

func compare(t *testing.T, got, want map[string]fs.FileMode) {
	t.Helper()
	for path, mode := range want {
		if got[path] != mode {
			t.Errorf("%s has mode %o, want %o", path, got[path], mode)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is not expected", path)
		}
	}
}

// packageFile is the one package that matches a pattern.
func packageFile(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(build, pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 1 {
		t.Fatalf("found %d packages %s, want one; run 'make package' first", len(files), pattern)
	}
	return files[0]
}

func TestDebDependsOnWhatTheAgentRuns(t *testing.T) {
	control := string(run(t, "dpkg-deb", "--field", packageFile(t, "bootagent_*_amd64.deb")))
	for _, want := range []string{
		"Depends: systemd (>= 252), udev, util-linux (>= 2.38), xfsprogs\n",
		"Recommends: e2fsprogs\n",
	} {
		if !strings.Contains(control, want) {
			t.Errorf("control lacks %q:\n%s", want, control)
		}
	}
}

// What is overridden, says why in packaging/deb/lintian-overrides.
func TestLintianFindsNothingElse(t *testing.T) {
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Skip("lintian is not installed")
	}
	args := []string{"--allow-root", "--fail-on", "error,warning"}
	for _, arch := range arches {
		args = append(args, packageFile(t, "bootagent_*_"+arch+".deb"))
	}
	run(t, "lintian", args...)
}

// A package that is made again, elsewhere and from the same tree, is the same.
func TestPackagesAreReproducible(t *testing.T) {
	deb := packageFile(t, "bootagent_*_amd64.deb")
	version, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(deb), "bootagent_"), "-1_")
	elsewhere := t.TempDir()
	run(t, "make", "-C", root, "--no-print-directory", "package-amd64", "BUILD="+elsewhere, "VERSION="+version)
	for _, first := range []string{deb, packageFile(t, "bootagent-*.x86_64.rpm")} {
		a, err := os.ReadFile(first)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(elsewhere, filepath.Base(first)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s made again has different bytes; if the tree changed since, run 'make package' first", filepath.Base(first))
		}
	}
}
