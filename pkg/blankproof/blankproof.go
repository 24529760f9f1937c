// Package blankproof proves that a disk is blank, and says what is on one that
// is not. It opens disks read-only and changes nothing.
//
// It reads the disk, what /sys and /proc say of its use (see package block), and
// the output of blkid -p and wipefs --no-act, both of util-linux.
//
// # What the proof reads
//
// A disk is blank only if all of these are true. In any other case, and in any
// doubt, the proof refuses it:
//
//   - The disk can be opened exclusively: in no mount namespace is it mounted,
//     used as swap, or part of another device. The kernel sees no partition and
//     no holder. The disk stays open exclusively for the whole proof.
//   - Every byte that is read is zero, and is read without an error, past the
//     page cache. A short read is an error. A missing program is an error.
//   - Of a disk of up to 4 GiB, all is read. Of a larger one, as much as a gp3
//     volume gives in 20 s, see sample.go: both ends, every place where a format
//     of the table in signatures.go keeps a mark or begins a group, samples at
//     equal distances, which the Report states (4 MiB on 100 GiB), and samples
//     at places that the serial number decides.
//   - blkid and wipefs get the same open disk. Both find nothing, report that in
//     the way of a run that could read the disk, and print no complaint.
//
// # What the proof can't see
//
//   - On a disk above 4 GiB: data that lies only between the samples and keeps
//     no mark where a known format has one. A disk that held a filesystem of
//     which only the metadata was zeroed can look like that.
//   - That zeros are the data: on a member of an array that was never written,
//     or on a disk that is about to become a mirror.
//   - That another machine uses the same disk now.
//   - What happens after the proof: between the proof and mkfs, others can open
//     the disk again.
package blankproof

import "bootagent/pkg/block"

// A Prover proves disks of one machine.
type Prover struct {
	system block.System
	tools  []string // folders of blkid and wipefs, nil for the usual ones
}

// Host returns the Prover for the machine that this program runs on.
func Host() Prover { return Prover{system: block.Host()} }
