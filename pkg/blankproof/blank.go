package blankproof

import (
	"context"
	"errors"
	"fmt"
	"os"

	"bootagent/pkg/block"
)

// ProveBlank proves that an opened disk is the one that is meant, and blank. As
// long as the descriptor is open, what is proven of it holds of no other disk,
// whatever becomes of its name. Serial and seq are those of Disk. The error of
// a disk that is not blank says what was found on it.
func (p Prover) ProveBlank(ctx context.Context, disk *os.File, serial string, seq uint64) error {
	// By the descriptor, and not by the name, the very same disk is opened.
	report, err := p.Prove(ctx, block.DescriptorPath(disk), Task{Serial: serial, Sequence: &seq})
	switch other := (*OtherDiskError)(nil); {
	case errors.As(err, &other):
		return fmt.Errorf("%s is not the disk that is meant: %s", disk.Name(), other.What)
	case err != nil:
		return fmt.Errorf("%s: %w", disk.Name(), err)
	case !report.Blank:
		return fmt.Errorf("%s is not blank any more: it %v", disk.Name(), report)
	}
	return nil
}
