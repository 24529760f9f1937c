// Package image checks whether an image, or a machine, has what its roles need,
// and has nothing that no image should have. It reads the image's files below a
// root and asks systemd's own verifier about its units; it changes nothing.
package image

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/role"
	"bootagent/pkg/settings"
	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/unit"
)

// A Report is what was found. Each line is a sentence for a person.
type Report struct {
	Problems  []string // what, where, and what would be right
	Checked   []string // what was looked at, and is right
	Unchecked []string // what was not looked at, and why
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// check adds what was looked at since there were so many problems, if there is
// no new one.
func (r *Report) check(before int, words string) {
	if len(r.Problems) == before {
		r.Checked = append(r.Checked, words)
	}
}

// name is how a program is called that may be in one of several directories.
func (p Program) name() string {
	if len(p.Paths) == 1 {
		return p.Paths[0]
	}
	return path.Base(p.Paths[0])
}

// An Image is a directory that a machine would call "/", with its roles.
type Image struct {
	Root  string
	Roles []*role.Role

	// Held are all units that guards hold, and Granted the services that have
	// a grant.
	Held, Granted []string

	// Kept says that what lies below the root is to become the disk of many
	// machines, so that neither keys nor what an agent keeps may lie there.
	Kept bool

	// Programs gives the programs that the agent runs for a role.
	Programs func(*role.Role) []Program
}

// A Program is one that the agent runs, and for what.
type Program struct {
	Paths []string // one of these has to be there
	For   string   // "which makes the filesystem of volume \"data\""
	Get   string   // "install xfsprogs"
}

// Check checks all.
func (i Image) Check(ctx context.Context) (Report, error) {
	units, err := guard.Read(i.Root)
	if err != nil {
		return Report{}, err
	}
	var r Report
	set, err := settings.Load(units.Path(agentFile))
	if err != nil {
		r.problem("%v", err)
	}
	i.checkReady(units, &r)
	i.checkOwners(units, &r)
	i.checkPrograms(units, set, &r)
	i.checkMounts(units, &r)
	if i.Kept {
		i.checkLeftovers(units, set, &r)
	} else {
		r.Unchecked = append(r.Unchecked, "keys and kept state: the agent has run on this machine, which is no image any more")
	}
	i.checkOrder(ctx, units, &r)
	return r, nil
}

// Units checks the units alone that a role starts beside its services.
func (i Image) Units() (Report, error) {
	units, err := guard.Read(i.Root)
	if err != nil {
		return Report{}, err
	}
	var r Report
	i.checkReady(units, &r)
	return r, nil
}

func (i Image) checkReady(units *guard.Units, r *Report) {
	before, checked := len(r.Problems), []string{}
	for _, ro := range i.Roles {
		for _, s := range ro.Services {
			if s.Ready == nil || slices.Contains(checked, s.Ready.Unit) {
				continue
			}
			checked = append(checked, s.Ready.Unit)
			for _, p := range units.Troubles(s.Ready.Unit) {
				r.problem("%s: the ready unit of %s: %s", ro.File, s.Unit, p)
			}
		}
	}
	if len(checked) > 0 {
		r.check(before, "ready units are there: "+strings.Join(checked, ", "))
	}
}

// checkOwners looks for the users that own data directories among those that
// the image has, and those that systemd-sysusers makes at boot.
func (i Image) checkOwners(units *guard.Units, r *Report) {
	before, owners := len(r.Problems), []string{}
	known := users(units)
	for _, ro := range i.Roles {
		for _, d := range ro.Data {
			if slices.Contains(owners, d.Owner) {
				continue
			}
			owners = append(owners, d.Owner)
			if !known[d.Owner] {
				r.problem("%s: data %q belongs to the user %s, which is neither in %s nor in a file of sysusers.d: install the engine's package in the image, which makes it",
					ro.File, d.Name, d.Owner, units.Path("/etc/passwd"))
			}
		}
	}
	if len(owners) > 0 {
		r.check(before, "owners are users: "+strings.Join(owners, ", "))
	}
}

func users(units *guard.Units) map[string]bool {
	known := make(map[string]bool)
	for _, file := range []string{"/etc/passwd", "/usr/lib/passwd"} {
		text, _ := units.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			name, _, _ := strings.Cut(line, ":")
			known[strings.TrimSpace(name)] = true
		}
	}
	for _, dir := range []string{"/etc/sysusers.d", "/run/sysusers.d", "/usr/local/lib/sysusers.d", "/usr/lib/sysusers.d"} {
		entries, _ := units.ReadDir(dir)
		for _, entry := range entries {
			if !strings.HasSuffix(entry.Name(), ".conf") {
				continue
			}
			text, _ := units.ReadFile(path.Join(dir, entry.Name()))
			for line := range strings.Lines(string(text)) {
				if words := strings.Fields(line); len(words) > 1 && (words[0] == "u" || words[0] == "u!") {
					known[words[1]] = true
				}
			}
		}
	}
	return known
}

func (i Image) checkPrograms(units *guard.Units, set settings.Settings, r *Report) {
	before := len(r.Problems)
	var there, asked []string
	for _, key := range set.Keys {
		switch {
		case len(key.Command) == 0:
		case executable(units, key.Command[0]):
			there = append(there, key.Command[0])
		default:
			r.problem("%s: there is no %s, which brings a key, or it can't be run: put the program into the image", units.Path(agentFile), key.Command[0])
		}
	}
	for _, ro := range i.Roles {
		for _, p := range i.Programs(ro) {
			if slices.Contains(asked, p.Paths[0]) {
				continue
			}
			asked = append(asked, p.Paths[0])
			found := slices.IndexFunc(p.Paths, func(name string) bool { return executable(units, name) })
			if found < 0 {
				r.problem("%s: there is no %s, %s: %s in the image", ro.File, p.name(), p.For, p.Get)
				continue
			}
			there = append(there, p.Paths[found])
		}
	}
	if len(there) > 0 {
		r.check(before, "programs are there: "+strings.Join(there, ", "))
	}
}

func executable(units *guard.Units, name string) bool {
	real, err := units.Resolve(name)
	if err != nil {
		return false
	}
	info, err := os.Stat(units.Path(real))
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// A place is a path that a role has something mounted on.
type place struct{ path, what, file string }

func (i Image) places() (all []place) {
	for _, ro := range i.Roles {
		for _, v := range ro.Volumes {
			all = append(all, place{v.Mount, fmt.Sprintf("the mount point of volume %q", v.Name), ro.File})
		}
		for _, d := range ro.Data {
			all = append(all, place{d.Bind, fmt.Sprintf("the bind of data %q", d.Name), ro.File})
		}
	}
	return all
}

// disks are what the names of the disks hold that roles name, and the volumes
// by which they do.
func (i Image) disks() map[string]string {
	disks := make(map[string]string)
	for _, ro := range i.Roles {
		for _, v := range ro.Volumes {
			what := fmt.Sprintf("volume %q of %s", v.Name, ro.File)
			if id := v.Find.ID; id != "" && !strings.Contains(id, "${") {
				disks[strings.Replace(id, "vol-", "vol", 1)] = what
			}
			if serial := v.Find.Serial; len(serial) >= 8 && !strings.Contains(serial, "${") {
				disks[serial] = what
			}
		}
	}
	return disks
}

// checkMounts looks for whoever else would mount what bootagent mounts: before
// the disk is proven, or over it.
func (i Image) checkMounts(units *guard.Units, r *Report) {
	places, disks := i.places(), i.disks()
	if len(places) == 0 {
		return
	}
	before := len(r.Problems)
	fstab := units.Path("/etc/fstab")
	text, err := units.ReadFile("/etc/fstab")
	if err != nil && !isAbsent(err) {
		r.problem("cannot read %s: %v", fstab, err)
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		words := strings.Fields(line)
		if len(words) < 2 || strings.HasPrefix(words[0], "#") {
			continue
		}
		source, target := unescape(words[0]), unescape(words[1])
		for _, p := range places {
			if mounts(units, target, p.path) {
				r.problem("%s:%d: the line mounts %s, and %s is %s in %s, which bootagent mounts when the disk is proven: remove the line",
					fstab, number, target, p.path, p.what, p.file)
			}
		}
		for disk, what := range disks {
			if strings.Contains(source, disk) {
				r.problem("%s:%d: the line mounts %s, which is %s: bootagent mounts it when it is proven; remove the line", fstab, number, source, what)
			}
		}
	}
	var paths []string
	for _, p := range places {
		if slices.Contains(paths, p.path) {
			continue
		}
		paths = append(paths, p.path)
		for _, kind := range []string{".mount", ".automount"} {
			if file := units.File(unit.EscapePath(p.path) + kind); file != "" && !strings.HasPrefix(file, "/run/systemd/") {
				r.problem("%s: it mounts %s, which is %s in %s, and bootagent mounts that when the disk is proven: %s",
					units.Path(file), p.path, p.what, p.file, "rm "+shell.Quote(units.Path(file)))
			}
		}
	}
	for _, name := range i.Held {
		for _, p := range places {
			if file := units.File(name); file != "" && mounts(units, file, p.path) {
				r.problem("%s: its unit file %s lies below %s, %s in %s, which is not there when systemd looks for units: put it into /etc/systemd/system",
					name, resolved(units, file), p.path, p.what, p.file)
			}
		}
	}
	r.check(before, "no line of /etc/fstab and no unit mounts "+strings.Join(paths, ", "))
}

// mounts tells whether what is mounted on target is mounted on p or below it.
func mounts(units *guard.Units, target, p string) bool {
	if !path.IsAbs(target) {
		return false
	}
	for _, target := range []string{path.Clean(target), resolved(units, target)} {
		for _, p := range []string{p, resolved(units, p)} {
			if target == p || strings.HasPrefix(target, p+"/") {
				return true
			}
		}
	}
	return false
}

func resolved(units *guard.Units, p string) string {
	if real, err := units.Resolve(p); err == nil {
		return real
	}
	return path.Clean(p)
}

// unescape reads a field of fstab(5), where a space is \040.
func unescape(field string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`, `"`, "").Replace(field)
}

func isAbsent(err error) bool { return os.IsNotExist(err) }

const (
	agentFile = "/etc/bootagent/agent.yaml"
	etcDir    = "/etc/bootagent"
	stateDir  = "/var/lib/bootagent"
	runDir    = "/run/bootagent"
)

// checkLeftovers looks for what every machine of the image would have from the
// machine that it was made on: keys, secrets, and what an agent keeps.
func (i Image) checkLeftovers(units *guard.Units, set settings.Settings, r *Report) {
	before := len(r.Problems)
	for _, dir := range []string{stateDir, runDir} {
		entries, err := units.ReadDir(dir)
		if err != nil && !isAbsent(err) {
			r.problem("cannot read %s: %v", units.Path(dir), err)
		}
		for _, entry := range entries {
			file := units.Path(path.Join(dir, entry.Name()))
			r.problem("%s: an agent has kept this for the machine that it ran on, and every machine of the image would have it: rm -r %s", file, shell.Quote(file))
		}
	}
	var keys []string
	for _, key := range set.Keys {
		if key.File == "" {
			continue
		}
		if real, err := units.Resolve(key.File); err == nil {
			if _, err := os.Lstat(units.Path(real)); err == nil {
				keys = append(keys, units.Path(real))
				r.problem("%s: %s names this key, and whoever has a copy of the image could open every secret with it: have it brought at boot, and rm %s",
					units.Path(key.File), agentFile, shell.Quote(units.Path(key.File)))
			}
		}
	}
	for _, file := range keyFiles(units) {
		if !slices.Contains(keys, file) {
			r.problem("%s: there is a secret key of age in it, and whoever has a copy of the image could read it: rm %s", file, shell.Quote(file))
		}
	}
	for _, ro := range i.Roles {
		for _, s := range ro.Secrets {
			path, inImage := ro.FileOf(s)
			if !inImage {
				continue
			}
			text, err := units.ReadFile(path)
			if err == nil && !isSealed(text) {
				file := units.Path(path)
				r.problem("%s: secret %q of %s comes from it, and it is not encrypted: seal it for the machine's key and for one that is kept elsewhere, and put that in its place: "+
					"bootagent secret seal --to KEY --recovery KEY --output %s <%s", file, s.Name, ro.File, shell.Quote(file+".age"), shell.Quote(file))
			}
		}
	}
	r.check(before, "no key, no secret in the clear and no kept state lies in "+strings.Join([]string{etcDir, stateDir, runDir}, ", "))
}

// keyFiles gives the files below /etc/bootagent with a secret key of age in
// them.
func keyFiles(units *guard.Units) (files []string) {
	real, err := units.Resolve(etcDir)
	if err != nil {
		return nil
	}
	top := units.Path(real)
	_ = filepath.WalkDir(top, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // what can't be read is passed over
		}
		name, err := filepath.Rel(top, file)
		if err != nil {
			return nil
		}
		if text, err := units.ReadFile(path.Join(real, name)); err == nil && strings.Contains(string(text), "AGE-SECRET-KEY-") {
			files = append(files, file)
		}
		return nil
	})
	return files
}

// isSealed tells whether a text is a ciphertext of age, binary or armored.
func isSealed(text []byte) bool {
	head := strings.TrimSpace(string(text[:min(len(text), 100)]))
	return strings.HasPrefix(head, "age-encryption.org/v1") || strings.HasPrefix(head, "-----BEGIN AGE ENCRYPTED FILE-----")
}
