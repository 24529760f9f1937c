package api

import (
	"strconv"

	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/iam"
)

func modifyVolumeRequests(s *Server, f form) []iam.Request {
	id := f.Get("VolumeId")
	return []iam.Request{{Action: "ec2:ModifyVolume", Resource: s.arn("volume", id), Context: tagged(s.Now().Volumes[id].Tags)}}
}

// modifyVolume changes the size, or turns multi-attach on or off. It ignores all other parameters.
func (s *Server) modifyVolume(f form) (response, error) {
	id, multi := f.Get("VolumeId"), f.Get("MultiAttachEnabled") == "true"
	if err := ec2.CheckVolumeID(id); err != nil {
		return nil, err
	}
	if f.Get("Size") != "" {
		size, err := strconv.Atoi(f.Get("Size"))
		if err != nil {
			return nil, ec2.Errorf("InvalidParameterValue", "Value (%s) for parameter size is invalid.", f.Get("Size"))
		}
		m, err := s.ModifyVolume(id, size)
		return &resizedResponse{Modification: newModificationFields(id, m)}, err
	}
	err := s.ChangeVolume(id, func(v *ec2.Volume) { v.MultiAttach = multi })
	return &modifiedResponse{VolumeID: id, State: "completed", MultiAttach: multi}, err
}

type modifiedResponse struct {
	Head
	VolumeID    string `xml:"volumeModification>volumeId"`
	State       string `xml:"volumeModification>modificationState"`
	MultiAttach bool   `xml:"volumeModification>targetMultiAttachEnabled"`
}

type resizedResponse struct {
	Head
	Modification modificationFields `xml:"volumeModification"`
}

type modificationFields struct {
	VolumeID string `xml:"volumeId"`
	State    string `xml:"modificationState"`
	Message  string `xml:"statusMessage,omitempty"`
	From     int    `xml:"originalSize"`
	To       int    `xml:"targetSize"`
	Progress int    `xml:"progress"`
	Started  string `xml:"startTime"`
}

func newModificationFields(id string, m ec2.Modification) modificationFields {
	f := modificationFields{id, m.State, m.Message, m.From, m.To, 0, stamp(m.Started)}
	if m.State == ec2.Completed {
		f.Progress = 100
	}
	return f
}

type modificationsResponse struct {
	Head
	Modifications set[modificationFields] `xml:"volumeModificationSet"`
}

// describeModifications returns the last modifications of the volumes with the IDs. It knows no filters.
func (s *Server) describeModifications(f form) (response, error) {
	answer, state := &modificationsResponse{}, s.Seen()
	for _, id := range f.list("VolumeId") {
		if err := ec2.CheckVolumeID(id); err != nil {
			return nil, err
		}
		v, err := state.Volume(id)
		switch {
		case err != nil:
			return nil, err
		case v.Modification == nil:
			return nil, ec2.Errorf("InvalidVolumeModification.NotFound", "Modification for volume '%s' does not exist.", id)
		}
		answer.Modifications.Items = append(answer.Modifications.Items, newModificationFields(id, *v.Modification))
	}
	return answer, nil
}

type volumeResponse struct {
	Head
	volumeFields
}

type volumeFields struct {
	VolumeID    string             `xml:"volumeId"`
	Size        int                `xml:"size"`
	SnapshotID  string             `xml:"snapshotId"`
	Zone        string             `xml:"availabilityZone"`
	Status      string             `xml:"status"`
	CreateTime  string             `xml:"createTime"`
	Attachments set[xmlAttachment] `xml:"attachmentSet"`
	Tags        *set[xmlTag]       `xml:"tagSet"`
	Type        string             `xml:"volumeType"`
	Encrypted   bool               `xml:"encrypted"`
	KMSKey      string             `xml:"kmsKeyId,omitempty"`
	MultiAttach bool               `xml:"multiAttachEnabled"`
}

type xmlAttachment struct {
	VolumeID            string `xml:"volumeId"`
	InstanceID          string `xml:"instanceId"`
	Device              string `xml:"device"`
	Status              string `xml:"status"`
	AttachTime          string `xml:"attachTime"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
}

func newVolumeFields(v ec2.Volume) volumeFields {
	f := volumeFields{
		VolumeID: v.ID, Size: v.Size, SnapshotID: v.SnapshotID, Zone: v.Zone, Status: v.State,
		CreateTime: stamp(v.Created), Type: v.Type, Encrypted: v.Encrypted, KMSKey: v.KMSKey, MultiAttach: v.MultiAttach,
	}
	if len(v.Tags) > 0 {
		tags := tagSet(v.Tags)
		f.Tags = &tags
	}
	for _, a := range v.Attachments {
		f.Attachments.Items = append(f.Attachments.Items, xmlAttachment{
			v.ID, a.InstanceID, a.Device, a.State, stamp(a.Since), a.DeleteOnTermination,
		})
	}
	return f
}

// volumeFilters are the filters of DescribeVolumes, without those of tags.
var volumeFilters = map[string]func(ec2.Volume) []string{
	"attachment.delete-on-termination": ofAttachments(func(a ec2.Attachment) string { return strconv.FormatBool(a.DeleteOnTermination) }),
	"attachment.device":                ofAttachments(func(a ec2.Attachment) string { return a.Device }),
	"attachment.instance-id":           ofAttachments(func(a ec2.Attachment) string { return a.InstanceID }),
	"attachment.status":                ofAttachments(func(a ec2.Attachment) string { return a.State }),
	"availability-zone":                func(v ec2.Volume) []string { return []string{v.Zone} },
	"create-time":                      func(v ec2.Volume) []string { return []string{stamp(v.Created)} },
	"encrypted":                        func(v ec2.Volume) []string { return yesNo(v.Encrypted) },
	"multi-attach-enabled":             func(v ec2.Volume) []string { return yesNo(v.MultiAttach) },
	"size":                             func(v ec2.Volume) []string { return []string{strconv.Itoa(v.Size)} },
	"snapshot-id":                      func(v ec2.Volume) []string { return []string{v.SnapshotID} },
	"status":                           func(v ec2.Volume) []string { return []string{v.State} },
	"volume-id":                        func(v ec2.Volume) []string { return []string{v.ID} },
	"volume-type":                      func(v ec2.Volume) []string { return []string{v.Type} },
}

func ofAttachments(get func(ec2.Attachment) string) func(ec2.Volume) []string {
	return func(v ec2.Volume) []string {
		var out []string
		for _, a := range v.Attachments {
			out = append(out, get(a))
		}
		return out
	}
}

type volumesResponse struct {
	Head
	Volumes   set[volumeFields] `xml:"volumeSet"`
	NextToken string            `xml:"nextToken,omitempty"`
}

func (s *Server) describeVolumes(f form) (response, error) {
	ids := f.list("VolumeId")
	for _, id := range ids {
		if err := ec2.CheckVolumeID(id); err != nil {
			return nil, err
		}
	}
	state := s.Seen()
	var named []ec2.Volume
	for _, id := range ids {
		v, err := state.Volume(id)
		if err != nil {
			return nil, err
		}
		named = append(named, v)
	}
	by, err := filters(f, volumeFilters)
	if err != nil {
		return nil, err
	}
	fits := func(v ec2.Volume) bool { return passes(v, v.Tags, volumeFilters, by) }
	short := s.pagesAreShort()
	all := named
	if len(ids) == 0 {
		for _, v := range state.Volumes {
			if short || fits(v) {
				all = append(all, v)
			}
		}
	}
	found, next, err := page(f, short, all, fits, func(v ec2.Volume) string { return v.ID }, "VolumeId")
	if err != nil {
		return nil, err
	}
	answer := &volumesResponse{NextToken: next}
	for _, v := range found {
		answer.Volumes.Items = append(answer.Volumes.Items, newVolumeFields(v))
	}
	return answer, nil
}
