package engine

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/datadir"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

func TestEveryEngineIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/role-file.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Names() {
		if !regexp.MustCompile("(?m)^\\| `" + name + "` \\|").Match(page) {
			t.Errorf("docs/reference/role-file.md has no row for %s in its table of engines; add one", name)
		}
	}
}

func TestEveryEngineHasANameOfItsOwnAndIsFoundByIt(t *testing.T) {
	names := Names()
	if distinct := slices.Compact(slices.Sorted(slices.Values(names))); len(distinct) != len(names) || len(names) == 0 {
		t.Errorf("the names are %q", names)
	}
	for _, name := range names {
		if !regexp.MustCompile(`^[a-z][a-z0-9-]*$`).MatchString(name) {
			t.Errorf("%q cannot be written in a role file", name)
		}
		if e, err := Named(name); err != nil || e.Name() != name {
			t.Errorf("%s: got %v, %v", name, e, err)
		}
	}
}

func TestAnUnknownEngineIsRefused(t *testing.T) {
	for _, do := range []func() error{
		func() error { _, err := Named("oracle"); return err },
		func() error {
			_, err := Examine(datadir.Host{}, host.Data{Engine: "oracle", Owner: me(t), Dir: t.TempDir()}, host.EngineSettings{})
			return err
		},
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), `unknown engine "oracle" (known engines: mariadb`) || !fault.IsPermanent(err) {
			t.Errorf("got %v", err)
		}
	}
}
