package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// hinted are the programs of systemd, of disks and of files that hints name. Those of
// AWS are tried by test/cloud, which pastes each command.
const hinted = "systemctl|journalctl|findmnt|umount|mount|wipefs|blkdiscard|xfs_repair|e2fsck|chown|chmod|fsfreeze|runuser|ls|rm|mv|ip|bootagent"

// verbs are the programs whose first word is a command of theirs, and how they
// tell them where that is not by --help.
var verbs = map[string]string{"systemctl": "", "ip": "ip help 2>&1", "bootagent": ""}

// usage is how a program tells its options, where that is not by --help.
var usage = map[string]string{"e2fsck": "e2fsck 2>&1", "xfs_repair": "xfs_repair 2>&1", "mount": "mount --help", "ip": "ip route help 2>&1"}

// forPeople are the commands of bootagent that a hint may name. Other words
// behind its name are prose.
var forPeople = []string{"retry", "adopt", "unlock", "wait", "status", "validate", "guard", "inspect", "holders", "iam", "secret"}

// runs is where the commands of a program are run as a whole, beside.
var runs = map[string]string{
	"wipefs":    "TestToMountOneAnswerDecidesAndWhatIsLeftOverIsNamed in pkg/blankproof",
	"rm":        "TestCommandsOfProblemsWorkWhenPasted in pkg/systemd/guard, TestWhatAnImageLacksIsTold in pkg/image",
	"mv":        "TestCommandsOfProblemsWorkWhenPasted in pkg/systemd/guard",
	"bootagent": "test/cli and test/e2e",
}

// A hint says a command that the program knows, with options that it has.
func TestCommandsInHintsAreWhatTheirProgramsKnow(t *testing.T) {
	found := commandsInHints(t)
	for _, words := range found {
		program := words[0]
		help := helpOf(t, words)
		rest := words[1:]
		if _, has := verbs[program]; has && len(rest) > 0 {
			if !regexp.MustCompile(`(?m)(^|[ |{])` + regexp.QuoteMeta(rest[0]) + `($|[ ,|}\n])`).MatchString(help) {
				t.Errorf("%q: %s knows no %q", strings.Join(words, " "), program, rest[0])
			}
			rest = rest[1:]
		}
		for _, word := range rest {
			for _, option := range options(word) {
				if !regexp.MustCompile(`(^|[\s,\[|])` + regexp.QuoteMeta(option) + `($|[\s,=\[\]|<])`).MatchString(help) {
					t.Errorf("%q: %s knows no %s:\n%s", strings.Join(words, " "), program, option, help)
				}
			}
		}
	}
	for program, where := range runs {
		if !slices.ContainsFunc(found, func(words []string) bool { return words[0] == program }) {
			t.Errorf("no hint names %s, of which is said that %s runs it", program, where)
		}
	}
	if len(found) < 30 {
		t.Errorf("only %d commands were found: %q", len(found), found)
	}
}

// helpOf is what the program of a command says of its commands and options.
func helpOf(t *testing.T, words []string) string {
	t.Helper()
	program := words[0]
	if program == "bootagent" {
		return string(run(t, filepath.Join(build, runtime.GOARCH, "bootagent"), "help", words[1]))
	}
	ask := program + " --help 2>&1"
	if usage[program] != "" {
		ask = usage[program]
	}
	if verbs[program] != "" {
		ask += "; " + verbs[program]
	}
	cmd := exec.Command("sh", "-c", ask)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	out, _ := cmd.CombinedOutput() // some exit with an error when they are only asked
	if len(out) < 100 || strings.Contains(string(out), "not found") {
		t.Fatalf("%s does not tell its options: %s", program, out)
	}
	return string(out)
}

// options are those in a word: -lA is two, --from=%d is --from.
func options(word string) (all []string) {
	switch {
	case word == "--" || !strings.HasPrefix(word, "-"):
	case strings.HasPrefix(word, "--"):
		option, _, _ := strings.Cut(word, "=")
		all = []string{option}
	default:
		for _, letter := range word[1:] {
			all = append(all, "-"+string(letter))
		}
	}
	return all
}

// commandsInHints are the commands in the texts of the code, by their words, up
// to the first that is prose. What the code puts in is "%s".
func commandsInHints(t *testing.T) (found [][]string) {
	t.Helper()
	command := regexp.MustCompile(`(?:^|[ (])(` + hinted + `)( [^;"()&]*)`)
	seen := make(map[string]bool)
	for _, dir := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range command.FindAllStringSubmatch(text, -1) {
					if words := beforeProse(m[1], strings.Fields(m[2])); words != nil {
						seen[strings.Join(words, " ")] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(seen)) {
		found = append(found, strings.Fields(line))
	}
	return found
}

// beforeProse are the words of a command, or nil where its program is only
// spoken of: "mount point" is none.
func beforeProse(program string, rest []string) []string {
	words := []string{program}
	if _, has := verbs[program]; has && len(rest) > 0 && regexp.MustCompile(`^[a-z-]+$`).MatchString(rest[0]) {
		words, rest = append(words, rest[0]), rest[1:]
	}
	if program == "bootagent" && (len(words) == 1 || !slices.Contains(forPeople, words[1])) {
		return nil
	}
	for _, word := range rest {
		if !regexp.MustCompile(`^(-|%|/|[A-Z]+$|[a-z]+=)`).MatchString(word) {
			break
		}
		words = append(words, strings.TrimRight(word, ",:"))
	}
	if len(words) == 1 {
		return nil
	}
	return words
}
