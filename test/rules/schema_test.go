package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yamlv3 "gopkg.in/yaml.v3"

	"bootagent/pkg/grammar"
)

// The schema of role files accepts what bootagent accepts. Of what bootagent
// refuses it refuses each file here: each has a mistake that a schema can see.
func TestTheSchemaOfRoleFilesFits(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(root + "/docs/reference/role-file.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for _, dir := range []string{"packaging/roles", "pkg/role/testdata", "pkg/role/testdata/plan", "pkg/role/testdata/refused"} {
		found, err := filepath.Glob(filepath.Join(root, dir, "*.yaml"))
		if err != nil || len(found) == 0 {
			t.Fatalf("no role files in %s: %v", dir, err)
		}
		for _, file := range found {
			files[file] = !strings.HasSuffix(dir, "refused")
		}
	}
	for file, good := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := grammar.All().Decode(file, text); (err == nil) != good {
			t.Errorf("%s: %v", file, err)
		}
		var value any
		if err := yamlv3.Unmarshal(text, &value); err != nil {
			continue // not even YAML to a reader that is less strict
		}
		if err := schema.Validate(value); (err == nil) != good {
			t.Errorf("%s: the schema says %v", file, err)
		}
	}
}
