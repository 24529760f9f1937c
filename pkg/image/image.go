// Package image checks whether an image, or a machine, has what its roles need,
// and has nothing that an image must not have. It reads files below a root and asks
// systemd-analyze about the units. It changes nothing.
package image

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/role"
	"bootagent/pkg/secret"
	"bootagent/pkg/settings"
	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/systemd/unitfile"
	"bootagent/pkg/unit"
)

// A Report is the result of a check, in lines for a person.
type Report struct {
	Problems  []string // where it is, what is wrong, and what to do
	Checked   []string // what was checked without a problem; each continues "checked "
	Unchecked []string // what was not checked, and why; each continues "not checked: "
	Suggested []string // what would be better, and how; each continues "suggestion: "
	Install   bool     // bootagent guard install repairs some of the problems
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// check adds a line about what was checked, if there are no more problems than
// before the check.
func (r *Report) check(before int, words string) {
	if len(r.Problems) == before {
		r.Checked = append(r.Checked, words)
	}
}

// Print writes the report, a line for each thing.
func (r Report) Print(out io.Writer) {
	for _, problem := range r.Problems {
		fmt.Fprintln(out, problem)
	}
	for _, words := range r.Checked {
		fmt.Fprintf(out, "checked %s\n", words)
	}
	for _, words := range r.Suggested {
		fmt.Fprintf(out, "suggestion: %s\n", words)
	}
	for _, words := range r.Unchecked {
		fmt.Fprintf(out, "not checked: %s\n", words)
	}
}

// Count returns a number with a noun: "1 unit", "2 units".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// An Image is the root directory of an image or of a machine, with its roles.
type Image struct {
	Root  string
	Roles []*role.Role

	// Kept says that many machines will get a copy of the image, so it must contain
	// neither keys nor the state of an agent.
	Kept bool

	// Bind returns a plan with a path for all data that is bound to auto. It asks the
	// engines, so it is nil for an image that does not run.
	Bind func(ctx context.Context, plan role.Plan) (role.Plan, error)

	held, granted []string // units that guards hold, and services that the agent grants; Check finds them
	hidden        []string // services from which guards hide systemd-imdsd's socket; Check finds them
}

// Check checks everything. The error is one of reading the directories of units;
// then the report has what was found before.
func (i Image) Check(ctx context.Context) (Report, error) {
	units, err := unitfile.Load(i.Root)
	if err != nil {
		return Report{}, err
	}
	var r Report
	if err := i.checkGuards(&r); err != nil {
		return r, err
	}
	i.bind(ctx, &r)
	if err := i.checkConfined(&r); err != nil {
		return r, err
	}
	set, err := settings.Load(units.Path(agentFile))
	if err != nil {
		r.problem("%v", err)
	}
	i.checkReady(units, &r)
	i.checkOwners(units, &r)
	i.checkFiles(units, &r)
	i.checkPrograms(units, set, &r)
	i.checkStops(units, &r)
	i.checkMounts(units, &r)
	i.checkSELinux(units, &r)
	i.checkPass(units, &r)
	i.checkCopies(units, &r)
	if i.Kept {
		i.checkLeft(units, &r)
		i.checkLeftovers(units, set, &r)
	} else {
		r.Unchecked = append(r.Unchecked, "keys and kept state: an agent has run on this machine, so it may have both")
	}
	i.checkOrder(ctx, units, &r)
	return r, nil
}

// Units checks only the units that a role starts in addition to its services, and
// where bind: auto binds.
func (i Image) Units(ctx context.Context) (Report, error) {
	units, err := unitfile.Load(i.Root)
	if err != nil {
		return Report{}, err
	}
	var r Report
	i.bind(ctx, &r)
	i.checkReady(units, &r)
	return r, nil
}

func (i Image) checkReady(units *unitfile.Tree, r *Report) {
	before, checked := len(r.Problems), []string{}
	for _, ro := range i.Roles {
		for _, s := range ro.Services {
			if s.Ready == nil || s.Ready.Unit == "" || slices.Contains(checked, s.Ready.Unit) {
				continue
			}
			checked = append(checked, s.Ready.Unit)
			for _, p := range guard.CheckStart(units, s.Ready.Unit) {
				r.problem("%s: the ready unit of %s: %s", ro.File, s.Unit, p)
			}
		}
	}
	if len(checked) > 0 {
		r.check(before, Count(len(checked), "ready unit")+": found ("+strings.Join(checked, ", ")+")")
	}
}

// checkOwners looks for the users that own data directories among the users of the
// image, and among those that systemd-sysusers creates at boot.
func (i Image) checkOwners(units *unitfile.Tree, r *Report) {
	before, owners := len(r.Problems), []string{}
	known := accounts(units, "passwd", "u", "u!")
	for _, ro := range i.Roles {
		for _, d := range ro.Data {
			if slices.Contains(owners, d.Owner) {
				continue
			}
			owners = append(owners, d.Owner)
			if !known[d.Owner] {
				r.problem("%s: data %q has the owner %s, but that user is neither in %s nor in a file of sysusers.d: install the engine's package in the image, which creates the user",
					ro.File, d.Name, d.Owner, units.Path("/etc/passwd"))
			}
		}
	}
	for _, ro := range i.Roles {
		for _, s := range ro.Services {
			if s.Ready != nil && s.Ready.User != "" && !known[s.Ready.User] {
				r.problem("%s: the probe of %s runs as %s, but that user is neither in %s nor in a file of sysusers.d: install the package that creates the user, or set another user",
					ro.File, s.Unit, s.Ready.User, units.Path("/etc/passwd"))
			}
		}
	}
	if len(owners) > 0 {
		r.check(before, Count(len(owners), "owner")+" of data: found ("+strings.Join(owners, ", ")+")")
	}
}

func (i Image) checkPrograms(units *unitfile.Tree, set settings.Settings, r *Report) {
	before := len(r.Problems)
	var there, asked []string
	for _, key := range set.Keys {
		switch program := key.Program(); {
		case program == "":
		case executable(units, program):
			there = append(there, program)
		default:
			r.problem("%s: the key command %s is missing or not executable: install it in the image", units.Path(agentFile), program)
		}
	}
	for _, ro := range i.Roles {
		for _, p := range programsOf(ro) {
			if slices.Contains(asked, p.paths[0]) {
				continue
			}
			asked = append(asked, p.paths[0])
			found := firstExecutable(units, p.paths)
			if found == "" {
				r.problem("%s: there is no executable %s, %s: %s in the image", ro.File, p.name(), p.does, p.get)
				continue
			}
			there = append(there, found)
		}
	}
	if len(there) > 0 {
		r.check(before, Count(len(there), "program")+": found ("+strings.Join(there, ", ")+")")
	}
}

// firstExecutable returns the first program of a list of patterns, or "".
func firstExecutable(units *unitfile.Tree, patterns []string) string {
	for _, pattern := range patterns {
		names := []string{pattern}
		if strings.Contains(pattern, "*") {
			names, _ = filepath.Glob(units.Path(pattern))
			for i, name := range names {
				names[i] = filepath.Join("/", strings.TrimPrefix(name, units.Path("/")))
			}
		}
		if i := slices.IndexFunc(names, func(name string) bool { return executable(units, name) }); i >= 0 {
			return names[i]
		}
	}
	return ""
}

func executable(units *unitfile.Tree, name string) bool {
	real, err := units.Resolve(name)
	if err != nil {
		return false
	}
	info, err := os.Stat(units.Path(real))
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// A place is a path on which a role mounts something.
type place struct{ path, what, file string }

func (i Image) places() (all []place) {
	for _, ro := range i.Roles {
		for _, v := range ro.Volumes {
			all = append(all, place{v.Mount, fmt.Sprintf("the mount point of volume %q", v.Name), ro.File})
		}
		for _, d := range ro.Data {
			if d.Bind == "" {
				continue // the engine was not asked
			}
			all = append(all, place{d.Bind, fmt.Sprintf("the bind mount of data %q", d.Name), ro.File})
		}
	}
	return all
}

// disks returns, for each disk that a role names, a part of its name in /dev/disk,
// and the volume that has it.
func (i Image) disks() map[string]string {
	disks := make(map[string]string)
	for _, ro := range i.Roles {
		for _, v := range ro.Volumes {
			what := fmt.Sprintf("volume %q of %s", v.Name, ro.File)
			if id, err := name.ParseVolumeID(v.Find.ID); err == nil {
				disks[id.Serial()] = what
			}
			if serial := v.Find.Serial; len(serial) >= 8 && !strings.Contains(serial, "${") {
				disks[serial] = what
			}
		}
	}
	return disks
}

// checkMounts looks for lines of /etc/fstab and for units that mount what bootagent
// mounts. They would mount a disk before it is checked, or mount over it.
func (i Image) checkMounts(units *unitfile.Tree, r *Report) {
	places, disks := i.places(), i.disks()
	if len(places) == 0 {
		return
	}
	before := len(r.Problems)
	fstab := units.Path("/etc/fstab")
	text, err := units.Read("/etc/fstab")
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
				r.problem("%s:%d: the line mounts %s, but bootagent mounts %s, %s in %s: remove the line",
					fstab, number, target, p.path, p.what, p.file)
			}
		}
		for disk, what := range disks {
			if strings.Contains(source, disk) {
				r.problem("%s:%d: the line mounts %s, but bootagent mounts this disk, %s: remove the line", fstab, number, source, what)
			}
		}
	}
	var paths []string
	for _, p := range places {
		if slices.Contains(paths, p.path) {
			continue
		}
		paths = append(paths, p.path)
		mount := unit.MountAt(p.path)
		for _, name := range []string{mount, unit.Stem(mount) + ".automount"} {
			if file := units.File(name); file != "" && !strings.HasPrefix(file, "/run/systemd/") {
				r.problem("%s: the unit mounts %s, but bootagent mounts that, %s in %s: %s",
					units.Path(file), p.path, p.what, p.file, "rm "+shell.Quote(units.Path(file)))
			}
		}
	}
	for _, name := range i.held {
		for _, p := range places {
			if file := units.File(name); file != "" && mounts(units, file, p.path) {
				r.problem("%s: its unit file %s is below %s, %s in %s, which is not mounted when systemd reads unit files: move the file to /etc/systemd/system",
					name, resolved(units, file), p.path, p.what, p.file)
			}
		}
	}
	r.check(before, Count(len(paths), "mount point")+": neither /etc/fstab nor a unit mounts them ("+strings.Join(paths, ", ")+")")
}

// mounts reports whether target is the path p or is below it.
func mounts(units *unitfile.Tree, target, p string) bool {
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

func resolved(units *unitfile.Tree, p string) string {
	if real, err := units.Resolve(p); err == nil {
		return real
	}
	return path.Clean(p)
}

// unescape reads a field of fstab(5), in which a space is written as \040.
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

// checkLeftovers looks for files that every machine would get with the image: keys,
// secrets, and the state of an agent.
func (i Image) checkLeftovers(units *unitfile.Tree, set settings.Settings, r *Report) {
	before := len(r.Problems)
	for _, dir := range []string{stateDir, runDir} {
		entries, err := units.ReadDir(dir)
		if err != nil && !isAbsent(err) {
			r.problem("cannot read %s: %v", units.Path(dir), err)
		}
		for _, entry := range entries {
			file := units.Path(path.Join(dir, entry.Name()))
			r.problem("%s: an agent left this state of one machine, and every machine would get it with the image: rm -r %s", file, shell.Quote(file))
		}
	}
	var keys []string
	for _, key := range set.Keys {
		named := key.KeyFile()
		if named == "" {
			continue
		}
		if real, err := units.Resolve(named); err == nil {
			if _, err := os.Lstat(units.Path(real)); err == nil {
				keys = append(keys, units.Path(real))
				r.problem("%s: %s names this key, and everybody who has a copy of the image could decrypt every secret with it: get the key at boot, and rm %s",
					units.Path(named), agentFile, shell.Quote(units.Path(named)))
			}
		}
	}
	for _, file := range keyFiles(units) {
		if !slices.Contains(keys, file) {
			r.problem("%s: the file contains a secret key of age, and everybody who has a copy of the image could read it: rm %s", file, shell.Quote(file))
		}
	}
	for _, ro := range i.Roles {
		for _, s := range ro.Secrets {
			path, inImage := ro.FileOf(s)
			if !inImage {
				continue
			}
			text, err := units.Read(path)
			if err == nil && !secret.IsEncrypted(text) {
				file := units.Path(path)
				r.problem("%s: secret %q of %s comes from it, and it is not encrypted: seal it for the machine's key and for one that is kept elsewhere, and put that in its place: "+
					"bootagent secret encrypt --recipient KEY --recovery KEY --output %s <%s", file, s.Name, ro.File, shell.Quote(file+".age"), shell.Quote(file))
			}
		}
	}
	r.check(before, strings.Join([]string{etcDir, stateDir, runDir}, ", ")+": no keys, no unencrypted secrets, no state of an agent")
}

// keyFiles returns the files below /etc/bootagent that contain a secret key of age.
func keyFiles(units *unitfile.Tree) (files []string) {
	real, err := units.Resolve(etcDir)
	if err != nil {
		return nil
	}
	top := units.Path(real)
	_ = filepath.WalkDir(top, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // ignore what can't be read
		}
		name, err := filepath.Rel(top, file)
		if err != nil {
			return nil
		}
		if text, err := units.Read(path.Join(real, name)); err == nil && strings.Contains(string(text), "AGE-SECRET-KEY-") {
			files = append(files, file)
		}
		return nil
	})
	return files
}
