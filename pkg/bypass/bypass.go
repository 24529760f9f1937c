// Package bypass keeps the bypasses that are in force: a person's orders to start a
// held service although not all that it needs is there. Each is a file in a directory
// below /run, so it does not outlive the boot of the machine.
package bypass

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/google/renameio/v2"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/unit"
)

// Dir is the directory of the bypasses in /run/bootagent.
type Dir string

// Below returns the directory of the bypasses below /run/bootagent.
func Below(runDir string) Dir { return Dir(filepath.Join(runDir, "bypassed")) }

// Bypassed reads all bypasses. A file that cannot be read is an error, and the others
// are returned.
func (d Dir) Bypassed() (map[string]host.Bypass, error) {
	all := make(map[string]host.Bypass)
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	errs := []error{err}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // one that is being written
		}
		var b host.Bypass
		src, err := os.ReadFile(filepath.Join(string(d), e.Name()))
		if err == nil {
			err = json.Unmarshal(src, &b)
		}
		if err != nil || b.Unit != e.Name() {
			errs = append(errs, fmt.Errorf("cannot read the bypass of %s: %w", e.Name(), err))
			continue
		}
		all[b.Unit] = b
	}
	return all, errors.Join(errs...)
}

// Bypass writes a bypass.
func (d Dir) Bypass(b host.Bypass) error {
	if err := Check(b); err != nil {
		return err
	}
	src, err := json.Marshal(b)
	if err == nil {
		err = os.MkdirAll(string(d), 0o755)
	}
	if err == nil {
		err = renameio.WriteFile(filepath.Join(string(d), b.Unit), append(src, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot put the bypass of %s in force: %w", b.Unit, err)
	}
	return nil
}

// EndBypass deletes the bypass of a unit.
func (d Dir) EndBypass(name string) error {
	if err := checkUnit(name); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(string(d), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot end the bypass of %s: %w", name, err)
	}
	return nil
}

// EndAll deletes all bypasses, as the machine stops: /run outlives a soft-reboot.
func (d Dir) EndAll() error { return os.RemoveAll(string(d)) }

// ReasonMax is the longest reason of a bypass, in bytes.
const ReasonMax = 200

// Check refuses a bypass that nobody could understand later. The error is permanent.
func Check(b host.Bypass) error {
	if err := checkUnit(b.Unit); err != nil {
		return err
	}
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	switch {
	case strings.TrimSpace(b.Reason) == "":
		return fault.Permanent(fmt.Errorf("cannot bypass %s: a bypass needs a reason", b.Unit))
	case len(b.Reason) > ReasonMax:
		return fault.Permanent(fmt.Errorf("cannot bypass %s: the reason has %d bytes, and at most %d are allowed", b.Unit, len(b.Reason), ReasonMax))
	case strings.ContainsFunc(b.Reason, unprintable) || strings.ContainsFunc(b.By, unprintable) || len(b.By) > ReasonMax:
		return fault.Permanent(fmt.Errorf("cannot bypass %s: the reason is not one line of plain text", b.Unit))
	}
	return nil
}

func checkUnit(name string) error {
	if err := unit.MayGrant(name); err != nil {
		return fault.Permanent(fmt.Errorf("cannot bypass %q: %w", name, err))
	}
	return nil
}
