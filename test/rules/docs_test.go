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
		"kafka":     "#bootagent\nversion: 1\nrole: kafka\nparams: {disk: vol0123456789abcdef0}\n",
		"mysql":     "#bootagent\nversion: 1\nrole: mysql\nparams: {disk: vol0123456789abcdef0}\n",
		"mysql-ec2": "#bootagent\nversion: 1\nrole: mysql-ec2\nparams: {cluster: orders}\n",
		"postgres":  "#bootagent\nversion: 1\nrole: postgres\nparams: {disk: vol0123456789abcdef0}\n",
		"redis":     "#bootagent\nversion: 1\nrole: redis\nparams: {disk: vol0123456789abcdef0}\n",
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

// A helpPage is what bootagent help COMMAND prints.
type helpPage struct {
	usage string   // the usage line, without the name of the program
	flags []string // with their dashes: "-r", "--recipient"
}

// bootagentHelp returns the help of every command that bootagent help lists, and
// of those that units run, by name.
func bootagentHelp(t *testing.T) (pages map[string]helpPage, listed []string) {
	t.Helper()
	program := filepath.Join(build, runtime.GOARCH, "bootagent")
	for _, m := range regexp.MustCompile(`(?m)^  (\w+) +\S`).FindAllStringSubmatch(string(run(t, program, "help")), -1) {
		listed = append(listed, m[1])
	}
	if len(listed) < 10 {
		t.Fatalf("bootagent help lists only %q", listed)
	}
	pages = make(map[string]helpPage)
	for _, name := range slices.Concat(listed, []string{"mkfs", "introduce", "growfs", "daemon", "release"}) {
		text := string(run(t, program, "help", name))
		usage, rest, _ := strings.Cut(strings.TrimPrefix(text, "usage: bootagent "), "\n")
		page := helpPage{usage: usage}
		for _, m := range regexp.MustCompile(`(?m)^  (-.*)$`).FindAllStringSubmatch(rest, -1) {
			page.flags = append(page.flags, regexp.MustCompile(`--?[a-z][a-z-]*`).FindAllString(m[1], -1)...)
		}
		if len(page.flags) == 0 { // its usage line is all that it prints
			page.flags = regexp.MustCompile(`--[a-z-]+`).FindAllString(usage, -1)
		}
		pages[name] = page
	}
	return pages, listed
}

// The manual page names the commands and flags that the program has, and no
// others.
func TestManualPageNamesEveryCommandAndFlag(t *testing.T) {
	page, err := os.ReadFile(root + "/packaging/man/bootagent.8")
	if err != nil {
		t.Fatal(err)
	}
	help, listed := bootagentHelp(t)
	before, rest, _ := strings.Cut(string(page), ".Sh DESCRIPTION")
	_, rest, _ = strings.Cut(rest, "\n.Ss Commands")
	described, _, _ := strings.Cut(rest, "\n.Ss ")
	synopsis := manParts(before, `(?m)^\.Nm\n\.Cm (\w+)`)
	commands := manParts(described, `(?m)^\.It (?:Xo\n\.)?Cm (\w+)`)
	for _, name := range listed {
		if synopsis[name] == "" || commands[name] == "" {
			t.Errorf("bootagent(8) lacks the command %q in its synopsis or its list of commands", name)
		}
		for _, flag := range help[name].flags {
			fl := regexp.MustCompile(`\bFl ` + regexp.QuoteMeta(flag[1:]) + `(\s|$)`)
			if strings.HasPrefix(flag, "--") && !fl.MatchString(synopsis[name]) {
				t.Errorf("the synopsis of bootagent(8) lacks %s of %s", flag, name)
			}
			if !regexp.MustCompile(`(?m)^\.It .*\bFl ` + regexp.QuoteMeta(flag[1:]) + `(\s|$)`).MatchString(commands[name]) {
				t.Errorf("bootagent(8) does not describe %s of %s", flag, name)
			}
		}
	}
	for name, text := range synopsis {
		for _, m := range regexp.MustCompile(`\bFl (\S+)`).FindAllStringSubmatch(text+commands[name], -1) {
			if !slices.Contains(help[name].flags, "-"+m[1]) {
				t.Errorf("bootagent(8) has -%s of %s, and the program does not", m[1], name)
			}
		}
	}
	if len(synopsis) < 10 {
		t.Errorf("the synopsis of bootagent(8) has only %d commands", len(synopsis))
	}
}

// manParts splits a text of a manual page where a command begins, by the name of
// the command. A command that begins several times has all of its parts.
func manParts(text, begins string) map[string]string {
	parts := make(map[string]string)
	found := regexp.MustCompile(begins).FindAllStringSubmatchIndex(text, -1)
	for i, at := range found {
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		parts[text[at[2]:at[3]]] += text[at[0]:end]
	}
	return parts
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
	help, _ := bootagentHelp(t)
	help["help"] = helpPage{}
	code := regexp.MustCompile("(?s)```.*?```|`[^`]+`")
	call := regexp.MustCompile(`(?m)(?:^|^[$#] |sudo |@\S+ |^\s*"|in )bootagent ([a-z]+)([^|<>;&"\n]*)`)
	flag := regexp.MustCompile(`(?:^| )(--?[a-z][a-z-]*)`)
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
				known, is := help[m[1]]
				if !is {
					t.Errorf("%s names the command %q, and the program does not know it", page, m[1])
				}
				for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
					if !slices.Contains(known.flags, f[1]) {
						t.Errorf("%s gives %s to bootagent %s, whose usage is: bootagent %s", page, f[1], m[1], known.usage)
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
		if page == "docs/contributing.md" {
			continue // the tests in its examples are run by TestTheWalksOfThePageWork
		}
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
