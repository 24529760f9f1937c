// Package ledger is what a volume says of itself, and whose it is by that: what is
// refused, and how a person can end that. It reads and writes nothing itself.
package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"bootagent/pkg/storage/stop"
)

// A Ledger is what a volume says of itself: small JSON, kept as an extended
// attribute of its filesystem's root directory, where only root reads and
// writes it and a copy of the files does not carry it. It is evidence that a
// volume is the one that the plan means, never a command.
type Ledger struct {
	Version    int             `json:"version"`
	Volume     string          `json:"volume"` // the ID of the EBS volume that it was written on, or the serial number of another disk
	UUID       string          `json:"uuid"`   // of the filesystem
	Role       string          `json:"role"`
	Made       *time.Time      `json:"made,omitempty"`      // when bootagent made the filesystem
	Closed     bool            `json:"closed,omitempty"`    // the volume's tag says that it was made, too
	Adopted    *time.Time      `json:"adopted,omitempty"`   // when it took one that was there
	Data       map[string]Data `json:"data,omitempty"`      // by name
	Generation int             `json:"generation"`          // how often it was taken into use
	Instance   string          `json:"instance"`            // the last machine that did
	BootID     string          `json:"boot_id"`             // in this boot of its
	DiskSeq    uint64          `json:"disk_seq,omitempty"`  // the kernel's number of the disk as it was plugged in then
	Stopped    *stop.Stop      `json:"stopped,omitempty"`   // how its services stopped; nil while it is in use
	Before     *stop.Stop      `json:"before,omitempty"`    // how they had stopped before it was taken into use; nil if that is not known
	Adoptions  []Adoption      `json:"adoptions,omitempty"` // by people, the last ones
}

// Data is what a ledger says of one data directory.
type Data struct {
	Engine  string `json:"engine"`
	Version string `json:"version,omitempty"`
	Ready   bool   `json:"ready"`             // it was there and valid once
	Filled  bool   `json:"filled,omitempty"`  // it was not empty once
	Staging string `json:"staging,omitempty"` // where it is being initialised
	Bind    string `json:"bind,omitempty"`    // where its engine said that it keeps its data, if the bind is auto

	// Parts are the filesystems, by their UUID, that other data was on when it
	// held a part of this; by the names of that data.
	Parts map[string]string `json:"parts,omitempty"`
}

const version = 1

// Decode reads a ledger. Nothing at all gives nil; what it does not
// understand is an error, because a newer agent may have meant it as a refusal.
func Decode(src []byte) (*Ledger, error) {
	if len(src) == 0 {
		return nil, nil
	}
	var l Ledger
	if err := json.NewDecoder(bytes.NewReader(src)).Decode(&l); err != nil {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	if l.Version > version {
		return nil, &NewerError{l.Version}
	}
	if l.Version != version || l.Volume == "" || l.UUID == "" || l.Role == "" {
		return nil, fmt.Errorf("the ledger is damaged: it has no version, or names no volume, filesystem or role")
	}
	return &l, nil
}

// Use is who has, or had last, the volume.
func (l *Ledger) Use() stop.Use {
	return stop.Use{Machine: l.Instance, BootID: l.BootID, DiskSeq: l.DiskSeq}
}

// Encode writes a ledger.
func (l *Ledger) Encode() ([]byte, error) {
	l.Version = version
	return json.Marshal(l)
}

// A NewerError is a ledger of a version that this agent does not know.
type NewerError struct{ version int }

func (e *NewerError) Error() string {
	return fmt.Sprintf("the ledger, bootagent's record on it, has version %d, and this agent reads version %d", e.version, version)
}
