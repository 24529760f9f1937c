// Package mountoption knows the mount options that a role file may give a volume, and
// why it may give no other.
package mountoption

import (
	"slices"
	"strings"

	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
)

// An option is one of mount(8), or of one filesystem.
type option struct {
	name string
	only string // the filesystem that has it; "" is each
}

// options are those that make no promise of the filesystem weaker. Those for quotas are
// XFS's, which needs no files of its own for them: xfs(5). The quotas of ext4 have to be
// made by mkfs.
var options = []option{
	{name: "noatime"},
	{name: "lazytime"},
	{name: "discard"},
	{name: "usrquota", only: "xfs"},
	{name: "grpquota", only: "xfs"},
	{name: "prjquota", only: "xfs"},
}

// Kind is what a role file may write: a list of options.
var Kind = kind()

func kind() key.Kind {
	var all []string
	for _, o := range options {
		all = append(all, o.name)
	}
	entry := key.OneOf(all...)
	return key.Kind{Type: key.List, Doc: "a list of `" + strings.Join(all, "`, `") + "`; the quotas are for `xfs`", Entry: &entry, Example: "options: [noatime]"}
}

// refused are options that people write, and why a role can't have them.
var refused = []struct {
	why   string
	names []string // up to =
}{
	{"the filesystem could lose what a database has synced", []string{
		"nobarrier", "barrier", "data", "noload", "norecovery", "journal_async_commit", "commit", "async", "wsync", "abort",
	}},
	{"bootagent sets it where it applies", []string{"nosuid", "nodev", "nouuid", "errors", "rw"}},
	{"it is the default", []string{"defaults", "auto", "relatime", "exec"}},
	{"it is for fstab(5), and bootagent mounts the volume itself", []string{"nofail", "_netdev", "noauto", "user", "users", "x-systemd"}},
	{"a service has to write to its volume", []string{"ro"}},
	{"a volume has no devices, and no programs with the rights of others", []string{"suid", "dev"}},
}

// Read reads the options of a volume with a filesystem.
func Read(r key.Reader, filesystem string) (given []string) {
	list, _ := r.List()
	for _, v := range list {
		name, ok := v.TextOf("a mount option")
		if !ok {
			continue
		}
		i := slices.IndexFunc(options, func(o option) bool { return o.name == name })
		switch {
		case i < 0:
			v.Failf("%s: options can't have %s%s (allowed: %s)", r.What, strictyaml.Quote(name), because(name), strings.Join(namesFor(filesystem), ", "))
		case options[i].only != "" && options[i].only != filesystem:
			v.Failf("%s: options can't have %q with filesystem: %s, only with %s; leave it out", r.What, name, filesystem, options[i].only)
		case slices.Contains(given, name):
			v.Failf("%s: options has %q twice; leave one out", r.What, name)
		default:
			given = append(given, name)
		}
	}
	return given
}

// because says why an option is refused, or which one was meant.
func because(option string) string {
	if words := strings.Split(option, ","); len(words) > 1 {
		return "; write [" + strings.Join(words, ", ") + "]"
	}
	name, _, _ := strings.Cut(option, "=")
	for _, r := range refused {
		if slices.ContainsFunc(r.names, func(no string) bool {
			return name == no || strings.HasPrefix(name, no+".") || strings.HasPrefix(name, no+"-")
		}) {
			return ": " + r.why + "; leave it out"
		}
	}
	return strictyaml.DidYouMean(name, Kind.Entry.Words)
}

// namesFor are the options of a filesystem.
func namesFor(filesystem string) (names []string) {
	for _, o := range options {
		if o.only == "" || o.only == filesystem {
			names = append(names, o.name)
		}
	}
	return names
}
