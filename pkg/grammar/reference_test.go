package grammar

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"bootagent/pkg/golden"
	"bootagent/pkg/role/key"
)

const (
	reference = "../../docs/reference/role-file.md"
	schema    = "../../docs/reference/role-file.schema.json"
)

// The reference has a table of the keys between two markers.
const (
	begin = "<!-- keys: written by go test ./pkg/grammar -update -->\n"
	end   = "<!-- end of keys -->\n"
)

func TestTheReferenceHasEveryKey(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the keys: %s%s", reference, begin, end)
	}
	table := "| key | what it is | values | if left out |\n| --- | --- | --- | --- |\n" + rows(All().Keys(), "")
	golden.Check(t, reference, before+begin+table+end+after)
}

func TestTheSchemaHasEveryKey(t *testing.T) {
	root := jsonSchema(key.Kind{Type: key.Object, Keys: All().Keys()})
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Role file of bootagent"
	root["properties"].(map[string]any)["version"] = map[string]any{"const": 1, "description": "The version of the format."}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		t.Fatal(err)
	}
	golden.Check(t, schema, text.String())
}

// rows are the keys below a path, a line each.
func rows(keys []key.Key, path string) string {
	var b strings.Builder
	for _, k := range keys {
		unset := k.Unset
		if k.Required() {
			unset = "required"
		}
		below, at := k.Kind, path+k.Name
		if below.Type == key.Map && below.Entry.Type == key.Object {
			below, at = *below.Entry, at+".NAME"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", path+k.Name, k.Says, values(k.Kind), unset)
		if below.Type == key.Object {
			b.WriteString(rows(below.Keys, at+"."))
		}
	}
	return b.String()
}

// values says what a value may be.
func values(k key.Kind) string {
	switch {
	case k.Doc != "":
		return k.Doc
	case len(k.Words) > 0:
		return "`" + strings.Join(k.Words, "`, `") + "`"
	case k.Type == key.Boolean:
		return "`true`, `false`"
	}
	return "a map"
}

// jsonSchema says what a value may be as JSON Schema does. What depends on
// other values, such as the names of volumes, is more than a schema can say.
func jsonSchema(k key.Kind) map[string]any {
	s := map[string]any{}
	switch k.Type {
	case key.Text:
		s["type"] = "string"
		if len(k.Words) > 0 {
			s["enum"] = k.Words
		}
		if k.Pattern != "" {
			s["pattern"] = k.Pattern
		}
	case key.Integer, key.Boolean:
		s["type"] = k.Type
	case key.List:
		s["type"], s["items"] = "array", jsonSchema(*k.Entry)
		if !k.Repeats {
			s["uniqueItems"] = true
		}
		if k.Least > 0 {
			s["minItems"] = k.Least
		}
	case key.Map:
		s["type"], s["additionalProperties"] = "object", jsonSchema(*k.Entry)
		if k.Names != "" {
			s["propertyNames"] = map[string]any{"pattern": k.Names}
		}
		if k.Least > 0 {
			s["minProperties"] = k.Least
		} else {
			s["type"] = []string{"object", "null"}
		}
	case key.Object:
		object(s, k)
	}
	return s
}

func object(s map[string]any, k key.Kind) {
	properties, beside := map[string]any{}, map[string]any{}
	var required []string
	for _, below := range k.Keys {
		p := jsonSchema(below.Kind)
		p["description"] = below.Says
		properties[below.Name] = p
		if below.Required() {
			required = append(required, below.Name)
		}
		if below.With != "" {
			beside[below.Name] = []string{below.With}
		}
	}
	s["type"], s["properties"], s["additionalProperties"] = "object", properties, false
	if len(required) > 0 {
		s["required"] = required
	} else if len(k.OneOf) == 0 {
		s["type"] = []string{"object", "null"} // a key without a value is an empty map
	}
	if len(beside) > 0 {
		s["dependentRequired"] = beside
	}
	var one []any
	for _, name := range k.OneOf {
		one = append(one, map[string]any{"required": []string{name}})
	}
	if one != nil {
		s["oneOf"] = one
	}
}
