package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bootagent/pkg/engine"
	"bootagent/pkg/grammar"
)

// A kind of thing has one list, in one package. A file elsewhere that names as many
// members as alone is a second list, which somebody forgets when a member is added.
type kind struct {
	name    string
	members []string // as string literals contain or are them
	whole   bool     // a literal is a member, and does not only contain one
	alone   int      // how many members in one file make a list
	home    string   // the package that may name them
}

func kinds() []kind {
	var schemes []string
	for _, s := range grammar.All().Sources {
		schemes = append(schemes, s.Scheme+"://")
	}
	return []kind{
		{"database engines", databases(), true, 1, "pkg/engine"},
		{"sources of secrets", schemes, false, 2, "pkg/secret/sources"},
		{"units that must not be held", []string{"systemd-*", "dbus-org.*", "initrd-*", "plymouth-*"}, true, 1, "pkg/unit"},
		{"filesystems", []string{"xfs", "ext4"}, true, 2, "pkg/filesystem"},
	}
}

// databases are the engines but for those that are no database: their name is a
// word of everybody's.
func databases() []string {
	return slices.DeleteFunc(engine.Names(), func(name string) bool { return slices.Contains(engine.Plain(), name) })
}

// second are files that name members for a reason of their own.
var second = map[string]string{
	"pkg/blankproof/signature/table.go": "what a disk may hold is more than what a volume may",
	"pkg/role/volume.go":                "the words of the role file, which pkg/storage and pkg/filesystem take from it",
}

func TestEachKindOfThingHasOneList(t *testing.T) {
	found := make(map[string]bool)
	for _, dir := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			literals, err := stringsOf(path)
			if err != nil {
				return err
			}
			for _, k := range kinds() {
				named := k.namedBy(literals)
				if len(named) < k.alone || strings.HasPrefix(file, k.home+"/") {
					continue
				}
				found[file] = true
				if second[file] == "" {
					t.Errorf("%s names %q: the list of %s is in %s; ask that for what depends on it", file, named, k.name, k.home)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for file := range second {
		if !found[file] {
			t.Errorf("%s names no members any more: remove it from second in test/rules/lists_test.go", file)
		}
	}
}

// namedBy returns the members that string literals name.
func (k kind) namedBy(literals []string) (named []string) {
	for _, m := range k.members {
		for _, text := range literals {
			if text == m || !k.whole && strings.Contains(text, m) {
				named = append(named, m)
				break
			}
		}
	}
	return named
}

// stringsOf returns the string literals of a Go file, but those of its imports.
func stringsOf(path string) (literals []string, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if _, is := n.(*ast.ImportSpec); is {
			return false
		}
		if lit, is := n.(*ast.BasicLit); is && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				literals = append(literals, text)
			}
		}
		return true
	})
	return literals, nil
}
