package rules

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// contributing is the page whose walks the tests do.
const contributing = root + "/docs/contributing.md"

// A walk is how somebody adds one thing: a section of the page. Its blocks say what
// they are in the words after the language: "new FILE" is a whole file, "add FILE"
// is lines that go below the first of the block, which is in the file already, and
// "run" is commands.
type walk struct {
	name   string
	blocks []block
}

type block struct{ does, file, text string }

var fence = regexp.MustCompile("(?ms)^```\\w+ (new|add|run)(?: (\\S+))?\n(.*?)^```$")

func walks(t *testing.T) (all []walk) {
	t.Helper()
	page, err := os.ReadFile(contributing)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range strings.Split("\n"+string(page), "\n## ")[1:] {
		w := walk{}
		w.name, _, _ = strings.Cut(section, "\n")
		for _, m := range fence.FindAllStringSubmatch(section, -1) {
			w.blocks = append(w.blocks, block{m[1], m[2], m[3]})
		}
		if len(w.blocks) > 0 {
			all = append(all, w)
		}
	}
	return all
}

// of returns the blocks that do something, to a file of a kind.
func (w walk) of(does string, kind func(file string) bool) (blocks []block) {
	for _, b := range w.blocks {
		if b.does == does && kind(b.file) {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// What is added is one file with its test, one line in one list, and its docs.
func TestEachThingIsAddedByOneFileAndOneLine(t *testing.T) {
	all := walks(t)
	if len(all) != 5 {
		t.Errorf("docs/contributing.md has %d walks, want 5: an engine, a source of secrets, a key provider, a layer of storage, a key of the role file", len(all))
	}
	isTest := func(file string) bool { return strings.HasSuffix(file, "_test.go") }
	isCode := func(file string) bool { return strings.HasSuffix(file, ".go") && !isTest(file) }
	isDocs := func(file string) bool { return strings.HasPrefix(file, "docs/") }
	for _, w := range all {
		t.Run(w.name, func(t *testing.T) {
			if files := w.of("new", isCode); len(files) != 1 {
				t.Errorf("it has %d new files of code, want 1", len(files))
			}
			if files := w.of("new", isTest); len(files) != 1 {
				t.Errorf("it has %d new tests, want 1", len(files))
			}
			lists := w.of("add", isCode)
			if len(lists) != 1 || strings.Count(lists[0].text, "\n") != 2 {
				t.Errorf("it has %d lists to add to, want one line in one list: %+v", len(lists), lists)
			}
			if len(w.of("add", isDocs)) == 0 {
				t.Error("it adds nothing to docs/")
			}
			if len(w.of("run", func(string) bool { return true })) == 0 {
				t.Error("it runs nothing that shows that it works")
			}
		})
	}
}

// Each walk is done in a copy of the tree, as the page says it.
func TestTheWalksOfThePageWork(t *testing.T) {
	for _, w := range walks(t) {
		t.Run(w.name, func(t *testing.T) {
			tree := copyOfTree(t)
			for _, b := range w.blocks {
				if err := b.do(tree); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// do does what a block says, in a copy of the tree.
func (b block) do(tree string) error {
	path := filepath.Join(tree, b.file)
	switch b.does {
	case "new":
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s exists already", b.file)
		}
		return os.WriteFile(path, []byte(b.text), 0o644)
	case "add":
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		below, added, _ := strings.Cut(b.text, "\n")
		if n := strings.Count(string(src), below+"\n"); n != 1 {
			return fmt.Errorf("%s has the line %q %d times, want 1", b.file, below, n)
		}
		return os.WriteFile(path, []byte(strings.Replace(string(src), below+"\n", below+"\n"+added, 1)), 0o644)
	}
	for command := range strings.Lines(b.text) {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir = tree
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.TrimSpace(command), err, out)
		}
	}
	return nil
}

// copyOfTree copies the files that git knows, and those that it does not ignore.
func copyOfTree(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(strings.Split(string(out), "\x00"), func(f string) bool { return f == "" })
	for _, file := range files {
		src, err := os.ReadFile(filepath.Join(root, file))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, src, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
