package cloud

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"
)

// A Snapshot is one of EBS.
type Snapshot struct {
	ID        string // chosen if it is empty
	VolumeID  string // that it was made of
	State     string // pending, completed (default), error
	Started   time.Time
	Size      int // GiB
	Encrypted bool
	Tags      map[string]string

	// Path is a file, raw, of which volumes of the snapshot are copies.
	Path string
}

// AddSnapshot adds a snapshot, or replaces one of the same id.
func (e *EC2) AddSnapshot(s Snapshot) (Snapshot, error) {
	s.ID = cmp.Or(s.ID, newID("snap"))
	s.State = cmp.Or(s.State, "completed")
	s.Size = cmp.Or(s.Size, 1)
	s.Tags = maps.Clone(s.Tags)
	if s.Started.IsZero() {
		s.Started = time.Now()
	}
	if err := checkTags(s.Tags); err != nil {
		return Snapshot{}, err
	}
	return s, e.change(func(w *world) error {
		w.snapshots[s.ID] = s
		return nil
	})
}

func noSnapshot(id string) error {
	return refuse("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
}

var snapshotFilters = map[string]func(Snapshot) []string{
	"encrypted":   func(s Snapshot) []string { return yesNo(s.Encrypted) },
	"snapshot-id": func(s Snapshot) []string { return []string{s.ID} },
	"start-time":  func(s Snapshot) []string { return []string{stamp(s.Started)} },
	"status":      func(s Snapshot) []string { return []string{s.State} },
	"volume-id":   func(s Snapshot) []string { return []string{s.VolumeID} },
	"volume-size": func(s Snapshot) []string { return []string{strconv.Itoa(s.Size)} },
}

type snapshotsResponse struct {
	Head
	Snapshots set[xmlSnapshot] `xml:"snapshotSet"`
	NextToken string           `xml:"nextToken,omitempty"`
}

type xmlSnapshot struct {
	SnapshotID string      `xml:"snapshotId"`
	VolumeID   string      `xml:"volumeId"`
	Status     string      `xml:"status"`
	StartTime  string      `xml:"startTime"`
	Progress   string      `xml:"progress"`
	OwnerID    string      `xml:"ownerId"`
	Size       int         `xml:"volumeSize"`
	Encrypted  bool        `xml:"encrypted"`
	Tags       set[xmlTag] `xml:"tagSet"`
}

// describeSnapshots knows no snapshots but the account's own.
func (e *EC2) describeSnapshots(q query) (response, error) {
	ids := q.list("SnapshotId")
	all := e.seen().snapshots
	for _, id := range ids {
		if _, ok := all[id]; !ok {
			return nil, noSnapshot(id)
		}
	}
	by, err := filters(q, snapshotFilters)
	if err != nil {
		return nil, err
	}
	owners := q.list("Owner")
	fits := func(s Snapshot) bool {
		return (len(ids) == 0 || slices.Contains(ids, s.ID)) &&
			(len(owners) == 0 || slices.Contains(owners, "self") || slices.Contains(owners, e.cloud.config.Account)) &&
			passes(s, s.Tags, snapshotFilters, by)
	}
	found, next, err := page(q, e.pagesAreShort(), slices.Collect(maps.Values(all)), fits, func(s Snapshot) string { return s.ID }, "SnapshotId")
	if err != nil {
		return nil, err
	}
	answer := &snapshotsResponse{NextToken: next}
	for _, s := range found {
		progress := "100%"
		if s.State != "completed" {
			progress = "0%"
		}
		answer.Snapshots.Items = append(answer.Snapshots.Items, xmlSnapshot{
			s.ID, s.VolumeID, s.State, stamp(s.Started), progress, e.cloud.config.Account, s.Size, s.Encrypted, tagSet(s.Tags),
		})
	}
	return answer, nil
}
