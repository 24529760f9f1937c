package api

import (
	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/iam"
)

// attachmentRequests returns what AttachVolume or DetachVolume needs: the action on the volume and on the instance.
func attachmentRequests(action string) func(*Server, form) []iam.Request {
	return func(s *Server, f form) []iam.Request {
		state := s.Now()
		volume, instance := f.Get("VolumeId"), f.Get("InstanceId")
		if v := state.Volumes[volume]; instance == "" && len(v.Attachments) > 0 {
			instance = v.Attachments[0].InstanceID
		}
		requests := []iam.Request{
			{Action: action, Resource: s.arn("volume", volume), Context: tagged(state.Volumes[volume].Tags)},
			{Action: action, Resource: s.arn("instance", instance), Context: tagged(state.Instances[instance].Tags)},
		}
		requests[0].Context["ec2:VolumeID"] = []string{volume}
		requests[1].Context["ec2:InstanceID"] = []string{instance}
		return requests
	}
}

type attachmentResponse struct {
	Head
	VolumeID   string `xml:"volumeId"`
	InstanceID string `xml:"instanceId"`
	Device     string `xml:"device"`
	Status     string `xml:"status"`
	AttachTime string `xml:"attachTime"`
}

func (s *Server) attachVolume(f form) (response, error) {
	return changeAttachment(f, s.AttachVolume, "VolumeId", "InstanceId", "Device")
}

func (s *Server) detachVolume(f form) (response, error) {
	return changeAttachment(f, s.DetachVolume, "VolumeId")
}

func changeAttachment(f form, do func(volume, instance, device string) (ec2.Attachment, error), needs ...string) (response, error) {
	if err := f.need(needs...); err != nil {
		return nil, err
	}
	volume, instance := f.Get("VolumeId"), f.Get("InstanceId")
	if err := ec2.CheckVolumeID(volume); err != nil {
		return nil, err
	}
	if instance != "" {
		if err := ec2.CheckInstanceID(instance); err != nil {
			return nil, err
		}
	}
	a, err := do(volume, instance, f.Get("Device"))
	return &attachmentResponse{
		VolumeID: volume, InstanceID: a.InstanceID, Device: a.Device, Status: a.State, AttachTime: stamp(a.Since),
	}, err
}
