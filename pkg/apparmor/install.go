package apparmor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/systemd/unitfile"
)

const (
	begin = "# BEGIN bootagent: what its roles give to the services of this profile.\n" +
		"# \"bootagent guard install\" reverts what is edited here.\n"
	end = "# END bootagent\n"
)

// block returns the lines for rules, or "" for none.
func block(rules []rule) string {
	if len(rules) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(begin)
	for _, r := range rules {
		b.WriteString(r.String() + ",\n")
	}
	return b.String() + end
}

// cut takes our lines out of a text. The others are exactly what was there before
// our lines.
func cut(text string) (ours, others string, err error) {
	first, _, _ := strings.Cut(begin, ":")
	from := strings.Index(text, first)
	if from < 0 || from > 0 && text[from-1] != '\n' {
		return "", text, nil
	}
	to := strings.Index(text[from:], end)
	if to < 0 {
		return "", text, fmt.Errorf("the lines that bootagent wrote begin with %q, but do not end with %q: delete what is left of them, and run bootagent guard install",
			first, strings.TrimSpace(end))
	}
	to += from + len(end)
	return text[from:to], text[:from] + text[to:], nil
}

// block returns our lines in a file, or "".
func (s set) block(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := s.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	ours, _, err := cut(string(text))
	return ours, err
}

// locals returns all files to which rules may have been added.
func (s set) locals() (files []string) {
	for _, name := range s.List(localDir) {
		files = append(files, path.Join(localDir, name))
	}
	return files
}

// wantedBlocks returns the lines for each file. Profiles can share one.
func wantedBlocks(needs []need) map[string]string {
	rules := make(map[string][]rule)
	for _, n := range needs {
		if file := n.local(); file != "" {
			rules[file] = append(rules[file], n.rules...)
		}
	}
	blocks := make(map[string]string)
	for file, all := range rules {
		slices.SortFunc(all, func(a, b rule) int { return strings.Compare(a.String(), b.String()) })
		if text := block(slices.Compact(all)); text != "" {
			blocks[file] = text
		}
	}
	return blocks
}

// Install makes the rules below a root those that the services need, and removes
// all others that it has installed before. It passes each profile that it changed,
// as a path below the root, to reload. Install can be run again after a crash at any
// point. It goes on after an error; the error joins all of them, and the changes are
// those that were made.
func Install(root string, given []Given, reload func(profile string) error) ([]guard.Change, error) {
	units, err := unitfile.Load(root)
	if err != nil {
		return nil, fmt.Errorf("cannot install rules for AppArmor: %w", err)
	}
	s := load(units.Root)
	return s.install(wantedBlocks(s.needs(units, given)), reload)
}

// Remove removes all rules that Install has installed below a root, and nothing
// else.
func Remove(root string, reload func(profile string) error) ([]guard.Change, error) {
	return load(unitfile.NewRoot(root)).install(nil, reload)
}

func (s set) install(blocks map[string]string, reload func(profile string) error) (changes []guard.Change, err error) {
	files := s.locals()
	for file := range blocks {
		files = append(files, file)
	}
	slices.Sort(files)
	var problems []error
	for _, file := range slices.Compact(files) {
		done, err := s.put(file, blocks[file])
		if err != nil {
			problems = append(problems, fmt.Errorf("cannot change the rules of AppArmor in %s: %w", s.Join(file), err))
		}
		if done == "" {
			continue
		}
		changes = append(changes, guard.Change{Done: done, Path: file})
		for _, profile := range s.including(file) {
			problems = append(problems, reload(profile))
		}
	}
	return changes, errors.Join(problems...)
}

// including returns the files of the profiles that include a file.
func (s set) including(file string) (all []string) {
	for _, p := range s.profiles {
		if slices.ContainsFunc(p.includes, func(i include) bool { return path.Join(localDir, i.name) == file }) {
			all = append(all, p.file)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// mustStay reports whether AppArmor can't load a profile without a file.
func (s set) mustStay(file string) bool {
	return slices.ContainsFunc(s.profiles, func(p profile) bool {
		return slices.ContainsFunc(p.includes, func(i include) bool { return path.Join(localDir, i.name) == file && !i.optional })
	})
}

// put makes a block our only lines in a file, and returns what it did, or "" if
// there was nothing to do.
func (s set) put(file, block string) (guard.Done, error) {
	real, err := s.Resolve(file)
	if err != nil {
		return "", err
	}
	name := s.Join(real)
	text, err := s.Read(real)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		if block == "" {
			return "", nil // it can't have lines of ours
		}
		return "", err
	}
	ours, others, err := cut(string(text))
	switch {
	case err != nil:
		return "", err
	case ours == block:
		return "", nil
	case block == "" && others == "" && !s.mustStay(file):
		return guard.Removed, os.Remove(name)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return "", err
	}
	// Ours are first, so that the others need not end with a newline.
	if err := renameio.WriteFile(name, []byte(block+others), 0o644, renameio.IgnoreUmask(), renameio.WithExistingPermissions()); err != nil {
		return "", err
	}
	switch {
	case ours == "":
		return guard.Added, nil
	case block == "":
		return guard.Removed, nil
	default:
		return guard.Changed, nil
	}
}

// option returns the option that names the root to a command, unless that is "/".
func option(root string) string {
	if filepath.Clean(root) == "/" {
		return ""
	}
	return " --root " + shell.Quote(root)
}
