package role

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/policy"
	"bootagent/pkg/role/find"
	"bootagent/pkg/role/key"
	"bootagent/pkg/role/mountoption"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/syntax"
)

// A Volume is one disk of the role and the filesystem that belongs on it.
type Volume struct {
	Name       string         `json:"name"`
	Find       find.Find      `json:"find"`
	Filesystem FilesystemType `json:"filesystem"`
	Format     Format         `json:"format"`
	BlankProof BlankProof     `json:"blank-proof,omitempty"` // how much is read before a filesystem is made; "" is sampled
	Mount      string         `json:"mount"`                 // absolute, clean path of the mount point
	Options    []string       `json:"options,omitempty"`     // of the mount, beside those that it always has
	Timeout    time.Duration  `json:"timeout"`               // for the whole way of the volume
	Adopt      bool           `json:"adopt,omitempty"`       // take a filesystem that has no ledger
	Disposable bool           `json:"disposable,omitempty"`  // of the volumes that it may be, an empty one is as good as any
	Grow       bool           `json:"grow,omitempty"`        // make the filesystem as large as the disk when that is larger
}

// FilesystemType is a kind of filesystem that a volume may hold.
type FilesystemType string

// The filesystems that a volume may hold.
const (
	XFS  FilesystemType = "xfs"
	Ext4 FilesystemType = "ext4"
)

// Format says whether a filesystem may be made on a volume.
type Format string

// FormatIfBlank allows a filesystem to be made on a disk that is proven blank;
// FormatNever, the default, allows none.
const (
	FormatNever   Format = "never"
	FormatIfBlank Format = "if-blank"
)

// BlankProof says how much of a disk is read to prove that it is blank.
type BlankProof string

// Sampled, the default, is what a volume gives in 20 s, and all of a disk up to
// 4 GiB; Whole is all of any disk.
const (
	Sampled BlankProof = "sampled"
	Whole   BlankProof = "whole"
)

const (
	defaultTimeout = 10 * time.Minute
	defaultMounts  = "/srv/bootagent/"
)

var volumeSection = section{
	Key: key.Key{
		Name: "volumes", Says: "The volumes of the role, by name. Each is a whole disk with one filesystem.", Unset: "none",
		Kind: mapOf(volumeKeys.Keys(), "volumes: {data: {find: {tags: {cluster: orders}}}}"),
	},
	read:   readVolumes,
	plan:   planVolumes,
	permit: permitVolumes,
}

var volumeKeys = key.Table[*reading, Volume]{
	{
		key.Key{Name: "find", Says: "Which disk it is.", Unset: "the user-data has to name the disk", Kind: find.Kind},
		func(d *reading, r key.Reader, v *Volume) { v.Find = find.Read(r, d.parameters(), d.finds, v.Name) },
	},
	{
		key.Key{Name: "filesystem", Says: "The filesystem that it has, or gets.", Unset: "`xfs`", Kind: key.OneOf(XFS, Ext4)},
		key.Word[*reading](func(v *Volume) *FilesystemType { return &v.Filesystem }),
	},
	{
		key.Key{Name: "format", Says: "Whether the filesystem may be made: `if-blank` makes it on a disk that is proven to hold nothing.", Unset: "`never`", Kind: key.OneOf(FormatNever, FormatIfBlank)},
		key.Word[*reading](func(v *Volume) *Format { return &v.Format }),
	},
	{
		key.Key{Name: "blank-proof", Says: "How much of the disk is read to prove that, beside `format: if-blank`.", Unset: "`sampled`", With: "format", Kind: key.OneOf(Sampled, Whole)},
		func(d *reading, r key.Reader, v *Volume) {
			word, ok := r.Word()
			v.BlankProof = BlankProof(word)
			if ok && v.Format != FormatIfBlank {
				r.Failf("%s: blank-proof applies to format: %s only; write that, or leave blank-proof out", r.What, FormatIfBlank)
			}
		},
	},
	{
		key.Key{Name: "mount", Says: "Where it is mounted.", Unset: "`" + defaultMounts + "NAME`", Kind: pathKind},
		func(d *reading, r key.Reader, v *Volume) {
			if path, ok := r.TextOf("an absolute path"); ok {
				d.mountPoint(path, r.What, r.Value)
				v.Mount = path
			}
		},
	},
	{
		key.Key{Name: "options", Says: "Mount options, beside those that bootagent sets.", Unset: "none", Kind: mountoption.Kind},
		func(_ *reading, r key.Reader, v *Volume) { v.Options = mountoption.Read(r, string(v.Filesystem)) },
	},
	{
		key.Key{Name: "timeout", Says: "How long each step of the volume, and of the data on it, may wait or keep failing, such as until another instance releases it. After that the role has failed; the agent still tries again.", Unset: "`10m`", Kind: key.DurationKind},
		key.Duration[*reading](func(v *Volume) *time.Duration { return &v.Timeout }),
	},
	{
		key.Key{Name: "adopt", Says: "Whether a filesystem is taken that bootagent did not make.", Unset: "`false`: the status says so, and `bootagent adopt` takes it once", Kind: key.Kind{Type: key.Boolean}},
		func(d *reading, r key.Reader, v *Volume) { v.Adopt, _ = r.Bool() },
	},
	{
		key.Key{Name: "disposable", Says: "With `pick: any-free`, whether an empty volume is as good as one with data: only then may a filesystem or a database be made.", Unset: "`false`", Kind: key.Kind{Type: key.Boolean}},
		func(d *reading, r key.Reader, v *Volume) {
			v.Disposable, _ = r.Bool()
			if v.Disposable && v.Find.Pick != find.AnyFree {
				r.Failf("%s: disposable applies to pick: %s only; leave it out", r.What, find.AnyFree)
			}
		},
	},
	{
		key.Key{Name: "grow", Says: "Whether the filesystem is made as large as its disk, while it is in use, when the disk is larger.", Unset: "`false`: the status says so, and `bootagent grow` does it", Kind: key.Kind{Type: key.Boolean}},
		func(d *reading, r key.Reader, v *Volume) { v.Grow, _ = r.Bool() },
	},
}

func readVolumes(d *reading, value strictyaml.Value) {
	for _, e := range value.Map("volumes").Entries() {
		name, _ := e.Key.Name()
		what := "volume " + strictyaml.Quote(e.Key.String())
		v := Volume{Name: name, Filesystem: XFS, Format: FormatNever, Timeout: defaultTimeout}
		volumeKeys.Decode(d, e.Value.Example(e.Key.String()+": {find: {tags: {cluster: orders}}}"), what, &v)
		switch {
		case v.Find.Pick == find.AnyFree:
			v.checkPool(what, e.Key)
		case v.Find.OnDisk() && v.Format == FormatIfBlank:
			e.Key.Failf("%s: format: %s can't stand beside uuid or label of find: no blank disk has one; leave format out", what, FormatIfBlank)
		case v.Find.Store != "" && v.Adopt:
			e.Key.Failf("%s: adopt can't stand beside instance-store of find: a filesystem there is bootagent's, or nobody knows whose; leave adopt out", what)
		case v.Find.Store != "" && v.Format != FormatIfBlank:
			e.Key.Failf("%s: instance-store of find needs format: %s, since its disk is blank after each launch and each start; write it", what, FormatIfBlank)
		case v.Filesystem == XFS && len(v.Find.Label) > xfsLabel && !strings.Contains(v.Find.Label, "${"):
			e.Key.Failf("%s: label: too long: %d characters; the label of an XFS filesystem has at most %d", what, len(v.Find.Label), xfsLabel)
		}
		if v.Mount == "" {
			v.Mount = defaultMounts + name
			d.mountPoint(v.Mount, what, e.Key)
		}
		d.role.Volumes = append(d.role.Volumes, v)
	}
	byName(d.role.Volumes, func(v Volume) string { return v.Name })
}

// xfsLabel is how long the label of an XFS filesystem may be, in bytes: mkfs.xfs(8).
const xfsLabel = 12

// checkPool refuses what could make something of whichever volume is free.
func (v Volume) checkPool(what string, blame strictyaml.Value) {
	switch {
	case v.Adopt:
		blame.Failf("%s: adopt can't stand beside pick: %s, which could take a filesystem of anybody's; leave one of them out", what, find.AnyFree)
	case v.Format == FormatIfBlank && !v.Disposable:
		blame.Failf("%s: format: %s beside pick: %s needs disposable: true, since an empty volume may be taken in place of one with data; write it, or leave format out",
			what, FormatIfBlank, find.AnyFree)
	}
}

// mountPoint notes the mount point of a volume.
func (d *reading) mountPoint(path, whose string, v strictyaml.Value) {
	what := whose + ": mount " + strictyaml.Quote(path)
	d.mounts = append(d.mounts, d.occupy(v, what, path, "the mount point of "+whose, d.mounts)...)
}

// occupy returns a path that something is mounted on, unless nothing may be
// mounted there beside others.
func (d *reading) occupy(v strictyaml.Value, what, path, as string, others []syntax.Place) []syntax.Place {
	err := syntax.CheckMountPoint(path)
	if err == nil {
		err = syntax.Apart(path, others)
	}
	if err != nil {
		v.Failf("%s: %v", what, err)
		return nil
	}
	return []syntax.Place{{Path: path, What: as}}
}

// planVolumes finds the disk of each volume.
func planVolumes(p *planning) {
	p.plan.Volumes = slices.Clone(p.role.Volumes)
	var names []string
	for _, v := range p.role.Volumes {
		names = append(names, v.Name)
	}
	p.refuseUnknown("volumes", "volume", p.selected.Volumes, names)
	if p.halted {
		return
	}
	for i := range p.plan.Volumes {
		v := &p.plan.Volumes[i]
		bound, isBound := p.selected.Volumes[v.Name]
		var errs []error
		if isBound {
			var err error
			if v.Find, err = v.Find.Bind(bound); err != nil {
				errs = append(errs, err)
			}
		} else {
			v.Find, errs = v.Find.Expand(p.values)
		}
		for _, err := range errs {
			section, name := "", ""
			if isBound {
				section, name = "volumes", v.Name
			}
			p.fail(section, name, fmt.Errorf("volume %q: %w", v.Name, err))
		}
		if len(errs) > 0 {
			continue
		}
		if err := p.finds.Add(v.Name, v.Find); err != nil {
			p.fail("", "", err)
		}
	}
}

// permitVolumes allows volumes to be found, tagged and attached. A disk that is
// found by its serial number, or by what is on it, needs nothing of AWS.
func permitVolumes(_ Grammar, r *Role, needs *policy.Needs) {
	for _, v := range r.Volumes {
		if !v.Find.Plugged() {
			needs.Volumes = append(needs.Volumes, policy.Volume{Name: v.Name, ID: v.Find.ID, Tags: v.Find.Tags, Device: v.Find.Attached})
		}
	}
}

// MarshalJSON writes the timeout as people do: "20m0s".
func (v Volume) MarshalJSON() ([]byte, error) {
	type plain Volume
	return json.Marshal(struct {
		plain
		Timeout string `json:"timeout"`
	}{plain(v), v.Timeout.String()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (v *Volume) UnmarshalJSON(src []byte) (err error) {
	type plain Volume
	read := struct {
		*plain
		Timeout string `json:"timeout"`
	}{plain: (*plain)(v)}
	if err := json.Unmarshal(src, &read); err != nil {
		return err
	}
	v.Timeout, err = time.ParseDuration(read.Timeout)
	return err
}
