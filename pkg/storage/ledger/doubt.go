package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"bootagent/pkg/fault"
	"bootagent/pkg/shell"
)

// A Disk is a disk with a filesystem whose ledger is judged, and what the plan wants
// there.
type Disk struct {
	Name  string // of the volume in the plan
	Role  string // of this instance
	Mount string // where the plan mounts it

	Serial     string
	Seq        uint64 // of the disk, another one each time that it is plugged in
	Size       int64  // of the disk, in bytes
	Filesystem string // its type
	UUID       string // of that filesystem; "" where it was not read
	Used       int64  // how many bytes of the disk the filesystem takes; 0 if it is not known
	Volume     string // how a ledger names the volume of this disk
	Machine    string // this machine
	Exclusive  bool   // no other machine can have the disk while this one has it

	LookAt string // the command that mounts it without changing a byte
}

// A Claim is what a person says of a filesystem that the agent refuses. It is zero for
// one that bootagent did not make.
type Claim struct {
	CopyOf string // it is a copy of this volume, to be a volume of its own
	Role   string // it was a volume of this role
	Lost   bool   // its ledger is gone, or is not to be believed
}

// Command is the command by which a person makes the claim of a volume.
func (c Claim) Command(volume string) string {
	of, role := shell.Quote(c.CopyOf), shell.Quote(c.Role)
	switch {
	case c.Lost:
		return fmt.Sprintf("bootagent adopt %s --lost-ledger", volume)
	case c.CopyOf != "" && c.Role != "":
		return fmt.Sprintf("bootagent adopt %s --as-copy-of %s --from-role %s", volume, of, role)
	case c.CopyOf != "":
		return fmt.Sprintf("bootagent adopt %s --as-copy-of %s", volume, of)
	case c.Role != "":
		return fmt.Sprintf("bootagent adopt %s --from-role %s", volume, role)
	}
	return fmt.Sprintf("bootagent adopt %s", volume)
}

// String says what the filesystem is, by the claim.
func (c Claim) String() string {
	switch {
	case c.Lost:
		return "one whose ledger is lost"
	case c.CopyOf != "" && c.Role != "":
		return fmt.Sprintf("a copy of volume %s of role %q", c.CopyOf, c.Role)
	case c.CopyOf != "":
		return "a copy of volume " + c.CopyOf
	case c.Role != "":
		return fmt.Sprintf("a volume of role %q", c.Role)
	}
	return "one that bootagent did not make"
}

// A Doubt is why a filesystem is not taken for the volume of a plan.
type Doubt struct {
	Disk
	Claim  Claim    // by which a person ends it, where that is allowed
	Never  string   // why no claim ends it, or ""
	Ledger *Ledger  // nil where there is none that can be read
	Names  []string // in the root directory, that mkfs does not leave there

	digest string
	why    string
	hint   string
}

// Err is the doubt as an error, with a hint.
func (d *Doubt) Err() error { return fault.Refuse(d.hint, "%s", d.why) }

// Digest names a ledger by its bytes: "" is none.
func Digest(src []byte) string {
	if len(src) == 0 {
		return ""
	}
	sum := sha256.Sum256(src)
	return hex.EncodeToString(sum[:])
}

// adopts is how a person ends a doubt.
func (d Disk) adopts(c Claim) string {
	return c.Command(d.Name) + "; that first tells what it would write; nothing was changed"
}

// Judge decodes the ledger that is on a disk, and says why it is not that of the
// plan's volume, or nil. Both are nil where there is no ledger.
func (d Disk) Judge(src []byte) (*Ledger, *Doubt) {
	l, err := Decode(src)
	doubt := &Doubt{Disk: d, Ledger: l, digest: Digest(src)}
	switch newer := (*NewerError)(nil); {
	case errors.As(err, &newer):
		doubt.Never = "a newer bootagent wrote its ledger, and may have meant something by it that this one does not know"
		doubt.why = fmt.Sprintf("disk %s: %s", d.Serial, err)
		doubt.hint = "a newer bootagent wrote it: start the instance from an image that has that version or a later one; nothing was changed"
	case err != nil:
		doubt.lost(fmt.Sprintf("disk %s: %s", d.Serial, err), "look what is on it: "+d.LookAt+"; if the data is this role's: ")
	case l == nil:
		return nil, nil
	default:
		if doubt = doubt.whose(); doubt == nil {
			return l, nil
		}
	}
	return l, doubt
}

// whose is nil if the ledger is that of the plan's volume.
func (d *Doubt) whose() *Doubt {
	l := d.Ledger
	switch {
	case l.Volume != d.Volume:
		d.Claim = Claim{CopyOf: l.Volume}
		if l.Role != d.Role {
			d.Claim.Role = l.Role
		}
		d.why = fmt.Sprintf("disk %s is a copy of volume %s, as its ledger says, bootagent's record on it", d.Serial, l.Volume)
		d.hint = fmt.Sprintf("to use the volume itself, attach %s in place of the copy; to make the copy a volume of its own: %s", l.Volume, d.adopts(d.Claim))
	case l.Role != d.Role:
		d.Claim = Claim{Role: l.Role}
		d.why = fmt.Sprintf("disk %s is a volume of role %q, and this instance has role %q", d.Serial, l.Role, d.Role)
		d.hint = "give the instance the volume of its own role; or, if the role was renamed: " + d.adopts(d.Claim)
		if !d.Exclusive && l.Stopped == nil && l.Instance != "" && l.Instance != d.Machine {
			d.Never = fmt.Sprintf("its ledger says that machine %s has it in use, and nothing shows that it does not", l.Instance)
		}
	case d.UUID != "" && l.UUID != d.UUID:
		d.lost(fmt.Sprintf("disk %s holds filesystem %s, and its ledger names %s", d.Serial, d.UUID, l.UUID),
			"somebody gave the filesystem another UUID, or copied the ledger here; if the data is this role's: ")
	default:
		return nil
	}
	return d
}

// lost says that a ledger is gone or can't be right.
func (d *Doubt) lost(why, hint string) {
	d.Claim, d.why = Claim{Lost: true}, why
	d.hint = hint + d.adopts(d.Claim)
}

// Holding says what the root directory of the filesystem holds. Of one that has lost
// its ledger and holds nothing, the data is lost, too: a new, empty database would be
// made there if a person could adopt it.
func (d *Doubt) Holding(names []string) *Doubt {
	d.Names = names
	if d.Claim.Lost && len(names) == 0 {
		d.Never = "it holds no file: what was on it is gone"
		d.hint = "take a snapshot, then look what is left: " + d.LookAt + "; restore the volume from an older snapshot, or put the data back in its place, and then: bootagent retry; " +
			"where there was none, give the instance a new volume; nothing was changed"
	}
	return d
}

// WithoutLedger is the doubt about a filesystem without a ledger: whether bootagent
// made it, and so lost the ledger, or has only meant to make one.
func (d Disk) WithoutLedger(names []string, made, meant bool) *Doubt {
	doubt := &Doubt{Disk: d}
	what := fmt.Sprintf("disk %s holds the %s filesystem %s", d.Serial, d.Filesystem, d.UUID)
	switch {
	case made:
		doubt.lost(fmt.Sprintf("%s, which bootagent made, and its ledger, bootagent's record on it, is gone: something else repaired it or wrote to it; it holds %s", what, Listed(names)),
			"take a snapshot, then look what is left, also in lost+found: "+d.LookAt+
				"; put the data back in its place, or restore the volume from an older snapshot; or, to take the filesystem as it is: ")
		return doubt.Holding(names)
	case meant:
		doubt.why = fmt.Sprintf("%s, and an intent of bootagent has that UUID, but it holds %s, which mkfs does not leave: it was not just made", what, Listed(names))
	default:
		doubt.why = what + " without a ledger: it was not made by bootagent"
	}
	doubt.hint = "if it is this role's, say adopt: true for the volume in the role file, then: bootagent retry; or, once, for this volume: " + d.adopts(doubt.Claim)
	return doubt.Holding(names)
}

// Listed names some of the names in a root directory.
func Listed(names []string) string {
	const most = 3
	switch {
	case len(names) == 0:
		return "no file"
	case len(names) > most:
		return fmt.Sprintf("%q and %d more", names[:most], len(names)-most)
	}
	return fmt.Sprintf("%q", names)
}
