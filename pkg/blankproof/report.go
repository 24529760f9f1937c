package blankproof

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// A Report says what a proof found on a disk. The zero Report is not Blank.
type Report struct {
	Path   string      `json:"path"`
	Serial string      `json:"serial,omitempty"` // as the controller of the opened disk reports it; "" if it is no NVMe disk
	Major  uint32      `json:"major"`
	Minor  uint32      `json:"minor"`
	Size   block.Bytes `json:"size"`

	Blank      bool          `json:"blank"`                // every condition of the proof is true
	Found      []Signature   `json:"found,omitempty"`      // known formats, in the order of their offsets
	Ambiguous  bool          `json:"ambiguous,omitempty"`  // it could be one of several formats
	FirstData  *block.Offset `json:"first_data,omitempty"` // of the bytes that were read, the first that is not zero
	Filesystem *Filesystem   `json:"filesystem,omitempty"` // that mount(8) would mount, if it would
	Stale      []Signature   `json:"stale,omitempty"`      // those of Found that are not of Filesystem
	Marks      []Signature   `json:"marks,omitempty"`      // all that wipefs can erase, by the names of wipefs
	Partitions []string      `json:"partitions,omitempty"` // that the kernel sees, as "nvme1n1p1"
	InUse      []string      `json:"in_use,omitempty"`     // how: "mounted at /srv/data"

	Read   block.Bytes `json:"read"`             // how much of it was read and is zero
	Whole  bool        `json:"whole,omitempty"`  // all of it was read
	Stride block.Bytes `json:"stride,omitempty"` // distance of the samples if not
}

// A Signature is the mark of a format that was found on a disk.
type Signature struct {
	Name   string       `json:"name"`
	Offset block.Offset `json:"offset"`
}

// String gives a signature as a noun: "an LVM2 signature at 0x218".
func (s Signature) String() string {
	return fmt.Sprintf("%s %s signature at %v", signature.Article(s.Name), s.Name, s.Offset)
}

// A Filesystem is what blkid reports of a disk on which it finds a filesystem and
// nothing that contradicts it.
type Filesystem struct {
	Type string `json:"type"` // as in mount -t
	UUID string `json:"uuid,omitempty"`

	// Size is how much of a disk it takes, as its superblock says; 0 for a type that
	// bootagent does not make. See superblock.Size.
	Size block.Bytes `json:"size,omitempty"`
}

// String returns the report as a sentence without its subject, the disk: "has an
// LVM2 signature at 0x218", "holds data of no known format at 0x5000", "is blank:
// all 1.0 GiB of it read and zero".
func (r Report) String() string {
	var words []string
	if len(r.InUse) > 0 {
		words = append(words, "is in use: "+strings.Join(r.InUse, ", "))
	}
	switch {
	case r.Ambiguous:
		words = append(words, "is ambiguous: it "+r.found())
	case r.Filesystem != nil && r.Filesystem.UUID != "":
		words = append(words, fmt.Sprintf("has %s (%s, UUID %s)", nouns(r.own()), r.Filesystem.Type, r.Filesystem.UUID))
	case r.Filesystem != nil:
		words = append(words, "has "+nouns(r.own()))
	case len(r.Found) > 0:
		words = append(words, r.found())
	case r.FirstData != nil:
		words = append(words, fmt.Sprintf("holds data of no known format at %v", *r.FirstData))
	}
	if len(r.Stale) > 0 {
		words = append(words, "also has "+nouns(r.Stale))
	}
	if len(r.Partitions) > 0 {
		words = append(words, "has partitions: "+strings.Join(r.Partitions, ", "))
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, "; ")
	case !r.Blank:
		return "is not proven blank"
	case r.Whole:
		return fmt.Sprintf("is blank: all %v of it read and zero", r.Size)
	}
	return fmt.Sprintf("is blank where it was read: %v of %v, samples %v apart", r.Read, r.Size, r.Stride)
}

func (r Report) found() string {
	if len(r.Found) == 0 {
		return "has several signatures"
	}
	return "has " + nouns(r.Found)
}

// own returns those of Found that are of Filesystem.
func (r Report) own() []Signature {
	return slices.DeleteFunc(slices.Clone(r.Found), func(s Signature) bool { return slices.Contains(r.Stale, s) })
}

// Beside names what the disk has besides the filesystem: "a GPT signature at
// 0x257ffe00". It is "" if there is nothing else.
func (r Report) Beside() string { return nouns(r.Stale) }

func nouns(signatures []Signature) string {
	words := make([]string, len(signatures))
	for i, s := range signatures {
		words[i] = s.String()
	}
	return strings.Join(words, " and ")
}

// Mend returns a command after which mount(8) mounts the filesystem of a type that
// is on an ambiguous disk. The command erases all other marks, and saves a copy of
// each in the home directory of the user. It is "" if wipefs cannot do that.
func (r Report) Mend(filesystem string) string {
	var command strings.Builder
	command.WriteString("wipefs --backup")
	there, others := 0, 0
	for _, m := range r.Marks {
		if m.Name == filesystem {
			there++
			continue
		}
		others++
		fmt.Fprintf(&command, " --offset %v", m.Offset)
	}
	if there == 0 || others == 0 {
		return ""
	}
	return command.String() + " " + r.Path
}

// Check returns an error unless the report is about this disk and nobody uses the
// disk. When a report is used, the device node may already be another disk's. The
// report on a disk in use has no serial number, so the use is checked first.
func (r Report) Check(d block.Disk) error {
	switch {
	case r.Major != d.Major || r.Minor != d.Minor:
		return fmt.Errorf("wrong disk: %s is device %d:%d, not %d:%d", r.Path, r.Major, r.Minor, d.Major, d.Minor)
	case len(r.InUse) > 0:
		return fmt.Errorf("disk %s %v", d.Serial, r)
	case r.Serial != d.Serial:
		return fmt.Errorf("wrong disk: %s has serial number %q, not %s", r.Path, r.Serial, d.Serial)
	case r.Size != d.Size:
		return fmt.Errorf("wrong disk: %s has %d bytes, not %d", r.Path, int64(r.Size), int64(d.Size))
	}
	return nil
}

// conclude completes the report with the marks of package signature that are on
// the disk, and with what blkid and wipefs found.
func (r *Report) conclude(marks []found, said opinion) {
	add := func(name string, at block.Offset) {
		if !slices.ContainsFunc(r.Found, func(s Signature) bool { return s.Name == name }) {
			r.Found = append(r.Found, Signature{name, at})
		}
	}
	known := func(libblkidType string) bool {
		return slices.ContainsFunc(r.Found, func(s Signature) bool { return s.is(libblkidType) })
	}
	for _, m := range marks {
		if m.mark.Rank == signature.Sure {
			add(m.format.Name, m.offset)
		}
	}
	for _, s := range said.signatures {
		if !known(s.Name) {
			add(nameOf(s.Name, s.Offset, marks), s.Offset)
		}
	}
	// Spare and weak marks count only if nothing else was found.
	for _, worth := range []signature.Rank{signature.Spare, signature.Weak} {
		for _, m := range marks {
			if len(r.Found) == 0 && m.mark.Rank == worth {
				add(m.format.Name, m.offset)
			}
		}
	}
	slices.SortStableFunc(r.Found, func(a, b Signature) int { return cmp.Compare(a.Offset, b.Offset) })
	// mount(8) mounts what blkid finds. Other marks do not change that, as the
	// backup GPT of an earlier, smaller partition table, which nothing reads.
	r.Filesystem = said.filesystem
	if r.Filesystem != nil {
		for _, s := range r.Found {
			if !s.is(r.Filesystem.Type) {
				r.Stale = append(r.Stale, s)
			}
		}
	}
	r.Ambiguous = said.ambiguous || len(r.Found) > 1 && r.Filesystem == nil
	if len(r.Found) > 1 || said.ambiguous {
		r.Marks = said.signatures
	}
	r.Blank = r.FirstData == nil && len(r.Found) == 0 && said.nothing &&
		len(r.InUse) == 0 && len(r.Partitions) == 0 && r.Read > 0
}

// is tells whether a signature is of a type of libblkid.
func (s Signature) is(libblkidType string) bool {
	f := signature.Named(s.Name)
	return s.Name == libblkidType || f != nil && slices.Contains(f.Types, libblkidType)
}
