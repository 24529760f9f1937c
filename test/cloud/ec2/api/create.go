package api

import (
	"fmt"
	"maps"
	"strconv"
	"sync"

	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/iam"
)

// clientTokens are the ClientTokens of CreateVolume and the volumes that they stand for.
type clientTokens struct {
	mu     sync.Mutex // held by CreateVolume
	tokens map[string]createdVolume
}

// A createdVolume is what a ClientToken stands for.
type createdVolume struct {
	id     string
	params string
}

// createVolumeRequests returns what CreateVolume needs: also for the snapshot, and for the tags of the new volume.
func createVolumeRequests(s *Server, f form) []iam.Request {
	context := map[string][]string{}
	tags := f.volumeTags()
	requested(context, tags)
	requests := []iam.Request{{Action: "ec2:CreateVolume", Resource: s.arn("volume", "*"), Context: context}}
	if id := f.Get("SnapshotId"); id != "" {
		requests = append(requests, iam.Request{
			Action: "ec2:CreateVolume", Resource: s.arn("snapshot", id), Context: tagged(s.Now().Snapshots[id].Tags),
		})
	}
	if len(tags) > 0 {
		context := map[string][]string{"ec2:CreateAction": {"CreateVolume"}}
		requested(context, tags)
		requests = append(requests, iam.Request{Action: "ec2:CreateTags", Resource: s.arn("volume", "*"), Context: context})
	}
	return requests
}

// volumeTags reads the TagSpecification of volumes.
func (f form) volumeTags() map[string]string {
	tags := map[string]string{}
	for _, spec := range f.structs("TagSpecification", "ResourceType") {
		if f.Get(spec+".ResourceType") == "volume" {
			maps.Copy(tags, f.tags(spec+".Tag"))
		}
	}
	return tags
}

func (s *Server) createVolume(f form) (response, error) {
	if err := f.need("AvailabilityZone"); err != nil {
		return nil, err
	}
	size, err := f.volumeSize()
	if err != nil {
		return nil, err
	}

	// A token stands for one volume, however often the call comes.
	params := f.params()
	token := params["ClientToken"]
	same := fmt.Sprint(params) // fmt sorts the keys
	s.created.mu.Lock()
	defer s.created.mu.Unlock()
	if known, again := s.created.tokens[token]; again {
		if known.params != same {
			return nil, ec2.Errorf("IdempotentParameterMismatch", "Client token %s was already used with different parameters", token)
		}
		v, err := s.Now().Volume(known.id)
		if err != nil {
			return nil, err
		}
		return &volumeResponse{volumeFields: newVolumeFields(v)}, nil
	}

	v, err := s.CreateVolume(ec2.Volume{
		Zone: f.Get("AvailabilityZone"), Size: size, Type: f.Get("VolumeType"), SnapshotID: f.Get("SnapshotId"),
		Encrypted: f.Get("Encrypted") == "true", MultiAttach: f.Get("MultiAttachEnabled") == "true", Tags: f.volumeTags(),
	})
	if err != nil {
		return nil, err
	}
	if token != "" {
		s.created.tokens[token] = createdVolume{v.ID, same}
	}
	return &volumeResponse{volumeFields: newVolumeFields(v)}, nil
}

// volumeSize reads the size of a new volume in GiB; 0 is the size of the snapshot.
func (f form) volumeSize() (int, error) {
	text := f.Get("Size")
	if text == "" {
		if f.Get("SnapshotId") == "" {
			return 0, ec2.Errorf("MissingParameter", "The request must contain the parameter size/snapshot")
		}
		return 0, nil
	}
	size, err := strconv.Atoi(text)
	if err != nil || size < 1 || size > 65536 {
		return 0, ec2.Errorf("InvalidParameterValue", "Volume of %sGiB is too small or too large", text)
	}
	return size, nil
}
