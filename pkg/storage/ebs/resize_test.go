package ebs

import (
	"strings"
	"testing"

	"bootagent/pkg/aws/name"
)

// A filesystem that is grown before EC2 has modified its volume for good may end up
// larger than the volume.
func TestASizeCountsOnlyOnceItsModificationCannotFail(t *testing.T) {
	const gib = 1 << 30
	denied := refusal(DescribeVolumesModifications, "UnauthorizedOperation", "You are not authorized to perform this operation.")
	for what, c := range map[string]struct {
		last        *Modification
		known       int64 // the size that DescribeVolumes tells
		answer      error
		kind, words string
	}{
		"it was never modified":                        {known: 10 * gib},
		"it was never modified, and EC2 says less":     {known: 8 * gib, kind: waiting, words: "has 10737418240 bytes (it says 8589934592)"},
		"it is being modified":                         {last: &Modification{State: Modifying, From: 8 * gib, To: 10 * gib, Progress: 3}, known: 10 * gib, kind: waiting, words: "from 8 to 10 GiB (modifying, 3 %)"},
		"it is being optimized":                        {last: &Modification{State: Optimizing, From: 8 * gib, To: 10 * gib}, known: 8 * gib},
		"it was modified":                              {last: &Modification{State: Completed, From: 8 * gib, To: 10 * gib}, known: 8 * gib},
		"it was modified to more":                      {last: &Modification{State: Completed, From: 8 * gib, To: 12 * gib}, known: 8 * gib},
		"EC2 does not tell of the next one yet":        {last: &Modification{State: Completed, From: 6 * gib, To: 8 * gib}, known: 8 * gib, kind: waiting, words: "it says 8589934592"},
		"its modification failed":                      {last: &Modification{State: ModifyFailed, Message: "a fault", From: 8 * gib, To: 10 * gib}, known: 10 * gib, kind: waiting, words: "to 10 GiB, which has failed (a fault)"},
		"its modification failed, it was large before": {last: &Modification{State: ModifyFailed, From: 10 * gib, To: 12 * gib}, known: 10 * gib},
		"the modification is of its type":              {last: &Modification{State: Completed, From: 10 * gib, To: 10 * gib}, known: 10 * gib},
		"EC2 may not be asked":                         {answer: denied, kind: final, words: "does not allow ec2:DescribeVolumesModifications"},
		"EC2 does not answer":                          {answer: refusal(DescribeVolumesModifications, "RequestLimitExceeded", "Request limit exceeded."), kind: waiting, words: "EC2 to answer"},
		"EC2 has a word for it that nobody knows":      {last: &Modification{State: "reshaping", From: 8 * gib, To: 10 * gib}, known: 8 * gib, kind: waiting, words: "it says 8589934592"},
	} {
		fake := newCloud()
		fake.volumes[vol].Size = c.known
		if c.last != nil {
			fake.modified = map[name.VolumeID]Modification{vol: *c.last}
		}
		if c.answer != nil {
			fake.answers[DescribeVolumesModifications] = []error{c.answer}
		}
		err := New(fake, Instance{ID: me, Zone: zone}).Resized(t.Context(), vol, 10*gib)
		if got, _ := kind(err); got != c.kind || !strings.Contains(text(err), c.words) {
			t.Errorf("%s: got %s %q, want %s %q", what, got, text(err), c.kind, c.words)
		}
	}
}
