package rules

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// required is what the rpm requires. Of these, its scripts find only the programs
// that testdata/rpmroot.sh lists: those of coreutils, findutils, sed and systemd.
var required = []string{
	"/bin/sh", "coreutils", "findutils", "sed", "systemd >= 252", "systemd-udev", "util-linux", "xfsprogs",
}

// A system is a directory that rpm takes for the root of a system.
type system struct {
	t    *testing.T
	root string
}

func newSystem(t *testing.T) system {
	t.Helper()
	if _, err := exec.LookPath("rpm"); err != nil {
		t.Skip("rpm is not installed: run test/prerequisites")
	}
	return system{t, filepath.Join(t.TempDir(), "root")}
}

// rpm runs rpm on the system, and returns what it said and whether it succeeded.
func (s system) rpm(args ...string) (said string, ok bool) {
	s.t.Helper()
	argv := []string{"unshare", "--mount", "--"}
	if os.Geteuid() != 0 {
		argv = []string{"unshare", "--mount", "--user", "--map-root-user", "--map-auto", "--"}
	}
	argv = append(argv, "sh", "testdata/rpmroot.sh", s.root)
	out, err := exec.Command(argv[0], append(argv[1:], args...)...).CombinedOutput()
	s.t.Logf("rpm %s:\n%s", strings.Join(args, " "), out)
	return string(out), err == nil
}

// does runs rpm, which has to succeed. A script that fails is only a warning to
// rpm, or a line, so there may be neither.
func (s system) does(args ...string) string {
	s.t.Helper()
	said, ok := s.rpm(args...)
	for _, wrong := range []string{"not found", "scriptlet failed", "error:", "warning:"} {
		ok = ok && !strings.Contains(said, wrong)
	}
	if !ok {
		s.t.Fatalf("rpm %s failed", strings.Join(args, " "))
	}
	return said
}

// has tells whether a file of /etc or /var, or one below /usr that rpm wrote, is
// there.
func (s system) has(path string) bool {
	at := filepath.Join(s.root, path)
	if below, ok := strings.CutPrefix(path, "/usr/"); ok {
		at = filepath.Join(s.root+".upper", below)
	}
	info, err := os.Lstat(at)
	return err == nil && info.Mode()&fs.ModeCharDevice == 0 // a whiteout, where the overlay removes a file
}

func (s system) write(path, text string) {
	s.t.Helper()
	(&machine{t: s.t, root: s.root}).write(path, text)
}

// enabled are the links of our units in the directories of systemd.
func (s system) enabled() (links []string) {
	s.t.Helper()
	err := filepath.WalkDir(filepath.Join(s.root, "etc/systemd/system"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type() == fs.ModeSymlink && strings.HasPrefix(entry.Name(), "bootagent") {
			links = append(links, filepath.Base(filepath.Dir(path))+"/"+entry.Name())
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return links
}

// makeRPM makes an rpm by a configuration of nfpm, and returns its file.
func makeRPM(t *testing.T, config string, env ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "tool", "-modfile=test/tools.mod", "nfpm", "package", "--config", config, "--packager", "rpm", "--target", dir)
	cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.rpm"))
	if err != nil || len(files) != 1 {
		t.Fatalf("nfpm wrote %q, %v", files, err)
	}
	return files[0]
}

// distribution is a package that provides what the rpm requires, as the packages
// of a distribution do, because the database of the system has none.
func distribution(t *testing.T) string {
	t.Helper()
	var config bytes.Buffer
	fmt.Fprintln(&config, "name: distribution\narch: amd64\nversion: '1'\nmaintainer: t <t@example.com>\ndescription: t\nprovides:")
	for _, what := range required {
		fmt.Fprintln(&config, "  -", strings.ReplaceAll(what, ">=", "="))
	}
	file := filepath.Join(t.TempDir(), "distribution.yaml")
	if err := os.WriteFile(file, config.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return makeRPM(t, file)
}

var neededBy = regexp.MustCompile(`(?m)^\s+(\S.*) is needed by bootagent-`)

// Without what it requires, the package is not installed at all. It does not count
// as installed with scripts that failed.
func TestRPMIsRefusedWithoutWhatItRuns(t *testing.T) {
	s := newSystem(t)
	said, ok := s.rpm("--install", packageFile(t, "bootagent-*.x86_64.rpm"))
	var missing []string
	for _, m := range neededBy.FindAllStringSubmatch(said, -1) {
		missing = append(missing, m[1])
	}
	slices.Sort(missing)
	if ok || !slices.Equal(missing, required) {
		t.Errorf("installed: %v; missing are %q, want %q", ok, missing, required)
	}
	if _, ok := s.rpm("--query", "bootagent"); ok || s.has("/usr/bin/bootagent") {
		t.Error("it counts as installed")
	}
}

func TestRPMIsInstalledUpgradedAndErased(t *testing.T) {
	const (
		role  = "/etc/bootagent/roles.d/mysql.yaml"
		state = "/var/lib/bootagent/history"
		guard = "/etc/systemd/system/mariadb.service.d/50-held-by-bootagent.conf"
	)
	file := packageFile(t, "bootagent-*.x86_64.rpm")
	s := newSystem(t)
	s.does("--install", distribution(t))

	said := s.does("--install", file)
	installed := s.enabled()
	want := []string{"multi-user.target.wants/bootagent-release.service", "multi-user.target.wants/bootagent.service"}
	if !slices.Equal(installed, want) || !strings.Contains(said, "was not started") {
		t.Fatalf("installed: it enabled %q, want %q, and said %q", installed, want, said)
	}
	example, err := os.ReadFile(root + "/packaging/roles/mysql.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.write(role, string(example))
	s.write(state, "")

	// What a person disabled stays disabled, and the old package removes nothing of
	// the new one.
	if err := os.Remove(filepath.Join(s.root, "etc/systemd/system", installed[0])); err != nil {
		t.Fatal(err)
	}
	s.does("--upgrade", makeRPM(t, "packaging/nfpm.yaml", "ARCH=amd64", "BUILD=build", "VERSION=99.0.0"))
	if got := strings.TrimSpace(s.does("--query", "bootagent")); got != "bootagent-99.0.0-1.x86_64" {
		t.Errorf("upgraded: installed is %s", got)
	}
	if got := s.enabled(); !slices.Equal(got, installed[1:]) {
		t.Errorf("upgraded: enabled are %q, want %q", got, installed[1:])
	}
	for path := range contents(t) {
		if !s.has(path) {
			t.Errorf("upgraded: %s is gone", path)
		}
	}

	said = s.does("--erase", "bootagent")
	if got := s.enabled(); len(got) > 0 {
		t.Errorf("erased: enabled are %q", got)
	}
	for path := range contents(t) {
		if kept := strings.HasPrefix(role, path) || strings.HasPrefix(state, path); s.has(path) != kept {
			t.Errorf("erased: %s is there: %v, want %v", path, !kept, kept)
		}
	}
	for _, path := range []string{role, state, guard} {
		if !s.has(path) || !strings.Contains(said, path) {
			t.Errorf("erased: %s is there: %v; it said\n%s", path, s.has(path), said)
		}
	}
}
