package rules

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/grammar"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/status"
	"bootagent/pkg/userdata"
)

func TestExampleRolesAreValid(t *testing.T) {
	roles, err := grammar.All().Load(root + "/packaging/roles")
	if err != nil {
		t.Fatal(err)
	}
	for name, selection := range map[string]string{
		"mysql":     "#bootagent\nversion: 1\nrole: mysql\nparams: {disk: vol0123456789abcdef0}\n",
		"mysql-ec2": "#bootagent\nversion: 1\nrole: mysql-ec2\nparams: {cluster: orders}\n",
		"web":       "#bootagent\nversion: 1\nrole: web\n",
	} {
		s, err := userdata.Parse("user-data", []byte(selection))
		if err != nil {
			t.Fatal(err)
		}
		r, err := role.ByName(roles, s.Role)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := r.Plan(s.Params, s.Volumes, role.Instance{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The examples that people copy: out of the manual pages, README.md and docs/. An example of YAML
// that is neither user-data nor a role file is of the agent's settings.
func TestExamplesInTheDocsAreValid(t *testing.T) {
	found := map[string]int{}
	check := func(page, example string, isSettings bool) {
		var kind string
		var err error
		switch {
		case strings.HasPrefix(example, "#bootagent"):
			kind = "user-data"
			_, err = userdata.Parse("user-data", []byte(example))
		case strings.HasPrefix(example, "version:"):
			kind = "role file"
			_, err = grammar.All().Decode(page, []byte(example))
		case isSettings:
			kind = "settings"
			file := filepath.Join(t.TempDir(), "agent.yaml")
			if err := os.WriteFile(file, []byte(example), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err = settings.Load(file)
		default:
			return
		}
		found[kind]++
		if err != nil {
			t.Errorf("an example in %s: %v", page, err)
		}
	}
	for _, page := range []string{"packaging/man/bootagent.8", "packaging/man/bootagent-role.5"} {
		for _, example := range displays(t, page, `(?ms)^\.Bd -literal.*?\n(.*?)^\.Ed`) {
			check(page, example, strings.HasPrefix(example, "user-data:"))
		}
	}
	for _, page := range pages(t) {
		for _, example := range displays(t, page, "(?ms)^```yaml\n(?:# .*?\n)?(.*?)^```") {
			check(page, example, true)
		}
	}
	if found["user-data"] < 4 || found["role file"] < 7 || found["settings"] < 5 {
		t.Errorf("the docs lack examples: found %v", found)
	}
}

// pages are the documents in Markdown.
func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"README.md", "CHANGELOG.md"}
	err := fs.WalkDir(os.DirFS(root), "docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			all = append(all, path)
		}
		return err
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("found only %q: %v", all, err)
	}
	return all
}

// displays are what a document shows as it stands.
func displays(t *testing.T, page, display string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(root + "/" + page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(display).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1])
	}
	return all
}

// The manual page and the program name the same commands.
func TestManualPageNamesEveryCommand(t *testing.T) {
	page, err := os.ReadFile(root + "/packaging/man/bootagent.8")
	if err != nil {
		t.Fatal(err)
	}
	synopsis, _, _ := strings.Cut(string(page), ".Sh DESCRIPTION")
	help := run(t, filepath.Join(build, runtime.GOARCH, "bootagent"), "help")
	inHelp := set(regexp.MustCompile(`(?m)^  bootagent (\w+)`).FindAllStringSubmatch(string(help), -1))
	inPage := set(regexp.MustCompile(`(?m)^\.Nm\n\.Cm (\w+)`).FindAllStringSubmatch(synopsis, -1))
	for command := range inHelp {
		if !inPage[command] {
			t.Errorf("bootagent(8) does not name the command %q", command)
		}
	}
	for command := range inPage {
		if !inHelp[command] {
			t.Errorf("bootagent(8) names the command %q, and the program does not know it", command)
		}
	}
	if len(inHelp) == 0 {
		t.Errorf("the program names no command:\n%s", help)
	}
}

func set(matches [][]string) map[string]bool {
	words := map[string]bool{}
	for _, m := range matches {
		words[m[1]] = true
	}
	return words
}

func TestLinksInTheDocsLeadSomewhere(t *testing.T) {
	count := 0
	for _, page := range pages(t) {
		for _, link := range displays(t, page, `\]\(([^)]+)\)`) {
			if strings.Contains(link, "://") {
				continue
			}
			count++
			to, _, _ := strings.Cut(link, "#")
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), to)); err != nil {
				t.Errorf("%s links to %q, and there is no such file", page, link)
			}
		}
	}
	if count < 20 {
		t.Errorf("found %d links only", count)
	}
}

// What the docs tell people to type, the program knows, flags included.
func TestCommandsInTheDocsExist(t *testing.T) {
	help := string(run(t, filepath.Join(build, runtime.GOARCH, "bootagent"), "help"))
	usage := map[string]string{"help": ""}
	for _, m := range regexp.MustCompile(`(?m)^  bootagent (\w+) ?(.*)$`).FindAllStringSubmatch(help, -1) {
		usage[m[1]] = m[2]
	}
	code := regexp.MustCompile("(?s)```.*?```|`[^`]+`")
	call := regexp.MustCompile(`(?m)(?:^|^[$#] |sudo |@\S+ |^\s*"|in )bootagent ([a-z]+)([^|<>;&"\n]*)`)
	flag := regexp.MustCompile(`--[a-z-]+`)
	count := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(root + "/" + page)
		if err != nil {
			t.Fatal(err)
		}
		for _, quoted := range code.FindAllString(string(text), -1) {
			if !strings.HasPrefix(quoted, "```") {
				quoted = strings.ReplaceAll(strings.Trim(quoted, "`"), "\n", " ")
			}
			quoted = strings.ReplaceAll(quoted, "\\\n", " ")
			for _, m := range call.FindAllStringSubmatch(quoted, -1) {
				count++
				known, is := usage[m[1]]
				if !is {
					t.Errorf("%s names the command %q, and the program does not know it", page, m[1])
				}
				for _, f := range flag.FindAllString(m[2], -1) {
					if !slices.Contains(flag.FindAllString(known, -1), f) {
						t.Errorf("%s gives %s to bootagent %s, which is called so: %s", page, f, m[1], known)
					}
				}
			}
		}
	}
	if count < 40 {
		t.Errorf("found %d commands only", count)
	}
}

// The status that docs/reference/status.md shows is one that a program writes, and that people see
// as it says.
func TestStatusInTheDocsIsOfTheProgram(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	const page = "docs/reference/status.md"
	examples := displays(t, page, "(?ms)^```json\n(.*?)^```")
	if len(examples) != 1 {
		t.Fatalf("%s has %d examples of JSON, and not one", page, len(examples))
	}
	file := filepath.Join(t.TempDir(), "status.json")
	if err := os.WriteFile(file, []byte(examples[0]), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := status.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(file); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != examples[0] {
		t.Errorf("%s: the example is written as %v\n%s", page, err, got)
	}
	var printed, timeline strings.Builder
	s.Print(&printed)
	booted := s.Agent.Started.Truncate(time.Minute)
	timeline.WriteString(s.Line() + "\nstarted     took, after the machine was started at " + booted.Format(time.DateTime) + "\n")
	s.Timeline(&timeline, booted)
	shown := displays(t, page, "(?ms)^```text\n(.*?)^```")
	want := []string{"# bootagent status\n" + printed.String(), "# bootagent timeline\n" + timeline.String()}
	if strings.Join(shown, "---\n") != strings.Join(want, "---\n") {
		t.Errorf("%s shows\n%s\nand the program prints\n%s", page, strings.Join(shown, "---\n"), strings.Join(want, "---\n"))
	}
}

// Each test that the docs name as proof is one of the tree.
func TestTestsThatTheDocsNameExist(t *testing.T) {
	var names strings.Builder
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, "_test.go") {
			src, err := os.ReadFile(path)
			names.Write(src)
			return err
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, page := range pages(t) {
		for _, name := range displays(t, page, `\b(Test[A-Z]\w+)`) {
			count++
			if !strings.Contains(names.String(), "\nfunc "+name+"(") {
				t.Errorf("%s names the test %s, and there is none", page, name)
			}
		}
	}
	if count < 30 {
		t.Errorf("found %d names only", count)
	}
}

// The tutorial, from its first key to its image, as a reader would type it.
func TestTheTutorialGoesAsItSays(t *testing.T) {
	dir := t.TempDir()
	if n := follow(t, "docs/tutorial.md", dir); n < 15 {
		t.Errorf("it has %d things to type only", n)
	}
	if _, err := os.Stat(filepath.Join(dir, "root.sql")); err == nil {
		t.Error("the secret is left lying around")
	}
}

func TestUserDataIsTriedAsTheDocsSay(t *testing.T) {
	const page = "docs/reference/user-data.md"
	dir := t.TempDir()
	packaging, err := filepath.Abs(root + "/packaging")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(packaging, filepath.Join(dir, "packaging")); err != nil {
		t.Fatal(err)
	}
	example := displays(t, page, "(?ms)^```yaml\n(.*?)^```")[0]
	if err := os.WriteFile(filepath.Join(dir, "user-data"), []byte(example), 0o644); err != nil {
		t.Fatal(err)
	}
	if follow(t, page, dir) == 0 {
		t.Errorf("%s has nothing to type", page)
	}
}

// follow types what a page has to be typed: whole blocks of sh, and of console the lines that begin
// with a $, whose output has to be what stands below them. There, ... is whatever it is. It returns
// how much it typed.
func follow(t *testing.T, page, dir string) (typed int) {
	t.Helper()
	if _, err := exec.LookPath("age-keygen"); err != nil {
		t.Skip("age-keygen is not installed: apt-get install age")
	}
	programs, err := filepath.Abs(filepath.Join(build, runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	enter := func(line string) (string, error) {
		typed++
		cmd := exec.Command("/bin/sh", "-euc", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	text, err := os.ReadFile(root + "/" + page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```(sh|console)\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		if block[1] == "sh" {
			if out, err := enter(block[2]); err != nil {
				t.Fatalf("%s: %v\n%s%s", page, err, block[2], out)
			}
			continue
		}
		for _, example := range regexp.MustCompile(`(?m)^\$ `).Split(block[2], -1)[1:] {
			line, want, _ := strings.Cut(example, "\n")
			got, _ := enter(line)
			like := strings.ReplaceAll(regexp.QuoteMeta(want), `\.\.\.`+"\n", `(?s:.*)`)
			like = strings.ReplaceAll(like, `\.\.\.`, ".*")
			if !regexp.MustCompile("^" + like + "$").MatchString(got) {
				t.Errorf("%s: %s\nprints\n%sand should print\n%s", page, line, got, want)
			}
		}
	}
	return typed
}
