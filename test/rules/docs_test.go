package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/userdata"
)

func TestExampleRolesAreValid(t *testing.T) {
	roles, err := role.Load(root + "/packaging/roles")
	if err != nil {
		t.Fatal(err)
	}
	for name, selection := range map[string]string{
		"mysql":     "#bootagent\nversion: 1\nrole: mysql\nparams: {disk: vol0123456789abcdef0}\n",
		"mysql-ec2": "#bootagent\nversion: 1\nrole: mysql-ec2\nparams: {cluster: orders}\n",
		"web":       "#bootagent\nversion: 1\nrole: web\n",
	} {
		s, err := userdata.Parse([]byte(selection))
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

// The examples that people copy: out of the manual pages, and out of README.md.
func TestExamplesInTheDocsAreValid(t *testing.T) {
	found := map[string]int{}
	for page, display := range map[string]string{
		"packaging/man/bootagent.8":      `(?ms)^\.Bd -literal.*?\n(.*?)^\.Ed`,
		"packaging/man/bootagent-role.5": `(?ms)^\.Bd -literal.*?\n(.*?)^\.Ed`,
		"README.md":                      "(?ms)^```yaml\n(?:# /.*?\n)?(.*?)^```",
	} {
		for _, example := range displays(t, page, display) {
			var kind string
			var err error
			switch {
			case strings.HasPrefix(example, "#bootagent"):
				kind = "user-data"
				_, err = userdata.Parse([]byte(example))
			case strings.HasPrefix(example, "version:"):
				kind = "role file"
				_, err = role.Decode(page, []byte(example))
			case strings.HasPrefix(example, "user-data:"):
				kind = "settings"
				file := filepath.Join(t.TempDir(), "agent.yaml")
				if err := os.WriteFile(file, []byte(example), 0o644); err != nil {
					t.Fatal(err)
				}
				_, err = settings.Load(file)
			}
			found[kind]++
			if err != nil {
				t.Errorf("an example in %s: %v", page, err)
			}
		}
	}
	if found["user-data"] < 2 || found["role file"] < 4 || found["settings"] == 0 {
		t.Errorf("the docs lack examples: found %v", found)
	}
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
