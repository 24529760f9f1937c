package guard

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/unit"
)

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
