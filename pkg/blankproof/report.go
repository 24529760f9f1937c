package blankproof

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/blankproof/signature"
	"bootagent/pkg/block"
)

// A Report is what a proof found on a disk. The zero Report proves nothing.
type Report struct {
	Path   string      `json:"path"`
	Serial string      `json:"serial,omitempty"` // as the disk says on the descriptor that was read; "" if it is no NVMe disk
	Major  uint32      `json:"major"`
	Minor  uint32      `json:"minor"`
	Size   block.Bytes `json:"size"`

	Blank      bool          `json:"blank"`                // every part of the proof held
	Found      []Signature   `json:"found,omitempty"`      // known formats, in the order in which they lie
	Ambiguous  bool          `json:"ambiguous,omitempty"`  // it could be one format or another
	FirstData  *block.Offset `json:"first_data,omitempty"` // the first byte that was read and is not zero
	Filesystem *Filesystem   `json:"filesystem,omitempty"` // what mount(8) takes it for, if it takes it
	Stale      []Signature   `json:"stale,omitempty"`      // of Found, what is left beside that filesystem
	Marks      []Signature   `json:"marks,omitempty"`      // all that wipefs can take away, by its own names
	Partitions []string      `json:"partitions,omitempty"` // that the kernel sees
	InUse      []string      `json:"in_use,omitempty"`     // by what: "mounted at /srv/data"

	Read   block.Bytes `json:"read"`             // how much of it was read and zero
	Whole  bool        `json:"whole,omitempty"`  // that is all of it
	Stride block.Bytes `json:"stride,omitempty"` // distance of the samples, if it is not
}

// A Signature is the mark of a format.
type Signature struct {
	Name   string       `json:"name"`
	Offset block.Offset `json:"offset"`
}

// String gives a signature as a noun: "an LVM2 signature at 0x218".
func (s Signature) String() string {
	return fmt.Sprintf("%s %s signature at %v", signature.Article(s.Name), s.Name, s.Offset)
}

// A Filesystem is what blkid says of a disk that it takes for one, and for
// nothing else.
type Filesystem struct {
	Type string `json:"type"` // as mount(8) calls it
	UUID string `json:"uuid,omitempty"`
}

// String gives the report as what the disk does: "has an LVM2 signature at
// 0x218", "holds data at 0x5000: no known format", "is blank: all 1.0 GiB of
// it read and zero".
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
		words = append(words, fmt.Sprintf("holds data at %v: no known format", *r.FirstData))
	}
	if len(r.Stale) > 0 {
		words = append(words, "has beside that "+nouns(r.Stale))
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
	return fmt.Sprintf("is blank as far as was read: %v of %v, samples %v apart", r.Read, r.Size, r.Stride)
}

func (r Report) found() string {
	if len(r.Found) == 0 {
		return "has several signatures"
	}
	return "has " + nouns(r.Found)
}

// own is what of Found is the filesystem's.
func (r Report) own() []Signature {
	return slices.DeleteFunc(slices.Clone(r.Found), func(s Signature) bool { return slices.Contains(r.Stale, s) })
}

// Beside names what is left beside the filesystem: "a GPT signature at
// 0x257ffe00".
func (r Report) Beside() string { return nouns(r.Stale) }

func nouns(signatures []Signature) string {
	words := make([]string, len(signatures))
	for i, s := range signatures {
		words[i] = s.String()
	}
	return strings.Join(words, " and ")
}

// Mend gives the command that takes away what keeps mount(8) from taking the
// disk for a filesystem of a type that is on it, and keeps copies of that in
// root's home directory. It is "" where wipefs can't do that.
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

// Check returns an error unless the report is about this very disk, which
// nobody uses. A device node can stand for another disk by the time that the
// report is used. A disk that is in use was not asked for its serial number.
func (r Report) Check(d block.Disk) error {
	switch {
	case r.Major != d.Major || r.Minor != d.Minor:
		return fmt.Errorf("%s was read as device %d:%d, not %d:%d", r.Path, r.Major, r.Minor, d.Major, d.Minor)
	case len(r.InUse) > 0:
		return fmt.Errorf("disk %s %v", d.Serial, r)
	case r.Serial != d.Serial:
		return fmt.Errorf("%s was read as the disk with serial %q, not %s", r.Path, r.Serial, d.Serial)
	case r.Size != d.Size:
		return fmt.Errorf("%s was read as %d bytes, not %d", r.Path, int64(r.Size), int64(d.Size))
	}
	return nil
}

// conclude puts together what the own table, blkid and wipefs found.
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
	// Weak marks name only what has no better name.
	for _, worth := range []signature.Rank{signature.Spare, signature.Weak} {
		for _, m := range marks {
			if len(r.Found) == 0 && m.mark.Rank == worth {
				add(m.format.Name, m.offset)
			}
		}
	}
	slices.SortStableFunc(r.Found, func(a, b Signature) int { return cmp.Compare(a.Offset, b.Offset) })
	// What mount(8) takes a disk for is blkid's one answer, and what else is on
	// the disk does not change it: the backup GPT of a smaller partition table,
	// say, that nobody reads.
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

// is tells whether a signature is of what libblkid gives a type.
func (s Signature) is(libblkidType string) bool {
	f := signature.Named(s.Name)
	return s.Name == libblkidType || f != nil && slices.Contains(f.Types, libblkidType)
}
