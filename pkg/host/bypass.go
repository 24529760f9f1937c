package host

import (
	"cmp"
	"time"
)

// A Bypass is a person's order to start a held service although not all that it needs
// is there. It ends with the boot of the machine, or when a person ends it.
type Bypass struct {
	Unit   string    `json:"unit"`
	Reason string    `json:"reason"`
	By     string    `json:"by"` // who gave it: the name of a user
	At     time.Time `json:"at"`

	// WithoutProof says that the service starts on what there is: neither its
	// volumes nor its data need be proven. Else only its other needs are skipped.
	WithoutProof bool `json:"without_proof,omitempty"`
}

// String says it in words.
func (b Bypass) String() string {
	text := b.Unit + " is started by a bypass"
	if b.WithoutProof {
		text += " without proof of its data"
	}
	return text + ", by " + cmp.Or(b.By, "root") + ": " + b.Reason
}

// Bypasses keeps the bypasses that are in force, until the machine stops.
type Bypasses interface {
	// Bypassed returns all that are in force, by unit.
	Bypassed() (map[string]Bypass, error)

	// Bypass puts one in force.
	Bypass(b Bypass) error

	// EndBypass ends that of a unit. It is no error if there is none.
	EndBypass(unit string) error
}
