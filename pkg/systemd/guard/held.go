package guard

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/unit"
)

// Credentials returns the names of the credentials that the guard of a service gives
// it, from where the agent stages them.
func Credentials(root, service string) (names []string) {
	guards, _ := Show(root) // guard check says what is wrong with them
	for _, g := range guards {
		if g.Unit != service {
			continue
		}
		for line := range strings.Lines(g.Text) {
			setting, isLoad := strings.CutPrefix(strings.TrimSpace(line), "LoadCredential=")
			if name, file, _ := strings.Cut(setting, ":"); isLoad && file == Staged(service, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Held returns the services below a root directory that have a guard and no
// grant.
func Held(root string) (units []string) {
	guards, _ := Show(root) // guard check says what is wrong with them
	for _, g := range guards {
		_, rest, asserts := strings.Cut(g.Text, assertGranted)
		file, _, _ := strings.Cut(rest, "\n")
		if !asserts || !unit.IsService(g.Unit) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(root, file)); err != nil {
			units = append(units, g.Unit)
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}
