package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/stop"
)

// An Adoption is what a person had the agent write into a ledger.
type Adoption struct {
	At  time.Time `json:"at"`
	By  string    `json:"by"`            // the user
	On  string    `json:"on"`            // the machine
	Why string    `json:"why"`           // what the filesystem was taken for
	Was *Was      `json:"was,omitempty"` // what the ledger said before; nil if there was none that could be read
}

// Was is what a ledger said before an adoption.
type Was struct {
	Volume  string     `json:"volume"`
	UUID    string     `json:"uuid"`
	Role    string     `json:"role"`
	Made    *time.Time `json:"made,omitempty"`
	Adopted *time.Time `json:"adopted,omitempty"`
}

// A ledger has to stay small, so it keeps so many adoptions, and so many bytes of the
// name of a user.
const (
	adoptionsMax = 3
	byMax        = 64
)

// An Order is a person's order to adopt the filesystem that a doubt is about. It is
// for that very filesystem, with that very ledger, or with one that its log held.
type Order struct {
	Claim  Claim
	By     string // the user
	target target
}

// A target is which filesystem an order is for.
type target struct {
	serial, uuid, digest string
	seq                  uint64
}

func (d *Doubt) target() target { return target{d.Serial, d.UUID, d.digest, d.Seq} }

// Order returns a person's order to end the doubt by a claim. It is refused if the
// claim is not what the ledger says, or if no claim ends the doubt.
func (d *Doubt) Order(c Claim, by string) (*Order, error) {
	switch {
	case d.Never != "" && d.Claim != Claim{}:
		return nil, fault.Refuse(d.neverHint(), "cannot adopt volume %s: %s", d.Name, d.Never)
	case d.Never != "":
		return nil, fault.Refuse(d.hint, "cannot adopt volume %s: %s", d.Name, d.Never)
	case c != d.Claim:
		return nil, fault.Refuse("if that is what you mean: "+d.Claim.Command(d.Name),
			"cannot adopt volume %s as %s: it is %s: %s", d.Name, c, d.Claim, d.why)
	}
	return &Order{Claim: c, By: by[:min(len(by), byMax)], target: d.target()}, nil
}

// neverHint is what a person does where no claim ends a doubt as things are.
func (d *Doubt) neverHint() string {
	if d.Claim.Lost {
		return d.hint
	}
	return fmt.Sprintf("shut that machine down, which notes in the ledger that it has stopped; or, if it is gone for good, bring the volume up here "+
		"under the former name of the role, %q, which notes that this machine has it, and rename the role then", d.Claim.Role)
}

// Ends reports whether an order is for this doubt.
func (o *Order) Ends(d *Doubt) bool {
	return o != nil && d != nil && d.Never == "" && o.Claim == d.Claim && o.target == d.target()
}

// EndsLater reports whether an order is for this doubt, too, which is about the same
// filesystem with a later ledger.
func (o *Order) EndsLater(d *Doubt) bool {
	later := *o
	later.target.digest = d.digest
	return later.Ends(d)
}

// Adopted is the ledger that an adoption writes. What the former one says of the data
// stays, and so does how it was used last. The filesystem does not count as made by
// bootagent any more: so nothing is initialised on it beside what it holds.
func (d *Doubt) Adopted(o *Order, at time.Time) Ledger {
	var l Ledger
	var was *Was
	if d.Ledger != nil {
		was = &Was{d.Ledger.Volume, d.Ledger.UUID, d.Ledger.Role, d.Ledger.Made, d.Ledger.Adopted}
	}
	if d.Ledger != nil && !d.Claim.Lost {
		l = *d.Ledger
		l.Data, l.Adoptions = maps.Clone(l.Data), slices.Clone(l.Adoptions)
	}
	if d.Claim.CopyOf != "" && l.Stopped == nil && l.Instance != "" {
		l.Stopped = &stop.Stop{On: l.Instance, Why: "volume " + d.Claim.CopyOf + " was in use when it was copied"}
	}
	l.Volume, l.Role, l.UUID = d.Volume, d.Role, d.UUID
	l.Made, l.Closed, l.Adopted = nil, false, &at
	l.Adoptions = append(l.Adoptions, Adoption{At: at, By: o.By, On: d.Machine, Why: d.Claim.String(), Was: was})
	l.Adoptions = l.Adoptions[max(0, len(l.Adoptions)-adoptionsMax):]
	return l
}

// Replaces names the ledger that an adoption replaces, as Digest has it.
func (d *Doubt) Replaces() string { return d.digest }

// Report says what is on the disk, and what an adoption would write. Found is what
// the data directories of the plan hold, as their engines' files tell, and from is
// what EC2 says that the volume was made from, or "".
func (d *Doubt) Report(found []host.DirectoryReport, data []host.Data, from string) string {
	var b strings.Builder
	row := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s %s\n", key, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "volume %s: %s\n", d.Name, d.why)
	row("disk", "%s, %s", d.Serial, gib(d.Size))
	if from != "" {
		row("made from", "%s", from)
	}
	size := ""
	if d.Used > 0 {
		size = ", " + gib(d.Used)
	}
	row("filesystem", "%s %s%s", d.Filesystem, d.UUID, size)
	row("root", "%s", Listed(d.Names))
	for i, of := range data {
		row("data", "%s", directory(of, found[i]))
	}
	if l := d.Ledger; l != nil {
		row("ledger", "volume %s of role %q, filesystem %s", l.Volume, l.Role, l.UUID)
		for _, name := range slices.Sorted(maps.Keys(l.Data)) {
			row("", "data %q of %s", name, strings.TrimSpace(l.Data[name].Engine+" "+l.Data[name].Version))
		}
		row("last use", "%s", l.lastUse())
	} else {
		row("ledger", "none that can be read")
	}
	fmt.Fprintf(&b, "would write, into the ledger alone:\n")
	row("ledger", "volume %s of role %q, filesystem %s; adopted as %s", d.Volume, d.Role, d.UUID, d.Claim)
	b.WriteString("No file on it is changed. The filesystem's own log is replayed, as by any mount. The disk was read without it: what was\n" +
		"written last before it was copied or cut off may not be seen here.\n")
	return b.String()
}

// lastUse says by whom, and how, the volume was used last.
func (l *Ledger) lastUse() string {
	switch {
	case l.Instance == "":
		return "none"
	case l.Stopped == nil:
		return l.Instance + " has it in use, as the ledger says; it was not stopped when this was written"
	}
	return l.Stopped.String()
}

// directory says what a data directory of the plan holds.
func directory(of host.Data, found host.DirectoryReport) string {
	text := fmt.Sprintf("%q of %s in %s: %s", of.Name, strings.TrimSpace(of.Engine+" "+found.Version), of.Dir, found.State)
	if found.Reason != "" {
		text += ": " + found.Reason
	}
	return text
}

// gib is a number of bytes in GiB, as AWS counts the size of volumes.
func gib(bytes int64) string { return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30)) }
