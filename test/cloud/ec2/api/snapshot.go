package api

import (
	"maps"
	"slices"
	"strconv"

	"bootagent/test/cloud/ec2"
)

var snapshotFilters = map[string]func(ec2.Snapshot) []string{
	"encrypted":   func(s ec2.Snapshot) []string { return yesNo(s.Encrypted) },
	"snapshot-id": func(s ec2.Snapshot) []string { return []string{s.ID} },
	"start-time":  func(s ec2.Snapshot) []string { return []string{stamp(s.Started)} },
	"status":      func(s ec2.Snapshot) []string { return []string{s.State} },
	"volume-id":   func(s ec2.Snapshot) []string { return []string{s.VolumeID} },
	"volume-size": func(s ec2.Snapshot) []string { return []string{strconv.Itoa(s.Size)} },
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

// describeSnapshots returns only the account's own snapshots.
func (s *Server) describeSnapshots(f form) (response, error) {
	ids := f.list("SnapshotId")
	state := s.Seen()
	for _, id := range ids {
		if _, err := state.Snapshot(id); err != nil {
			return nil, err
		}
	}
	by, err := filters(f, snapshotFilters)
	if err != nil {
		return nil, err
	}
	owners := f.list("Owner")
	fits := func(one ec2.Snapshot) bool {
		return (len(ids) == 0 || slices.Contains(ids, one.ID)) &&
			(len(owners) == 0 || slices.Contains(owners, "self") || slices.Contains(owners, s.env.Account)) &&
			passes(one, one.Tags, snapshotFilters, by)
	}
	all := slices.Collect(maps.Values(state.Snapshots))
	found, next, err := page(f, s.pagesAreShort(), all, fits, func(one ec2.Snapshot) string { return one.ID }, "SnapshotId")
	if err != nil {
		return nil, err
	}
	answer := &snapshotsResponse{NextToken: next}
	for _, one := range found {
		progress := "100%"
		if one.State != "completed" {
			progress = "0%"
		}
		answer.Snapshots.Items = append(answer.Snapshots.Items, xmlSnapshot{
			one.ID, one.VolumeID, one.State, stamp(one.Started), progress, s.env.Account, one.Size, one.Encrypted, tagSet(one.Tags),
		})
	}
	return answer, nil
}
