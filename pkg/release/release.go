// Package release keeps which volumes the last shutdown of this machine released, in
// the file released.json of the agent's state. It writes that file and reads it.
package release

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
)

// A Release says which volumes a shutdown found unmounted.
type Release struct {
	BootID    string    `json:"boot_id"` // of the boot that the shutdown ended
	At        time.Time `json:"at"`
	Unmounted []string  `json:"unmounted"` // volumes of the plan, by name
}

func file(stateDir string) string { return filepath.Join(stateDir, "released.json") }

// Keep writes the release in place of the one before.
func (r Release) Keep(stateDir string) error {
	src, err := json.Marshal(r)
	if err == nil {
		err = renameio.WriteFile(file(stateDir), append(src, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot note which volumes are released: %w", err)
	}
	return nil
}

// Kept is the directory of the agent's state.
type Kept string

// Released returns when a volume was found unmounted by the shutdown that ended a
// boot of this machine, or zero. A file that cannot be read is like none: it only
// tells more about a stop that nobody noted.
func (stateDir Kept) Released(bootID, volume string) (time.Time, error) {
	var last Release
	src, err := os.ReadFile(file(string(stateDir)))
	if err != nil || json.Unmarshal(src, &last) != nil || last.BootID != bootID || !slices.Contains(last.Unmounted, volume) {
		return time.Time{}, nil
	}
	return last.At, nil
}
