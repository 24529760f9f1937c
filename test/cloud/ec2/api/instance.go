package api

import (
	"slices"
	"strings"

	"bootagent/test/cloud/ec2"
)

var stateCodes = map[string]int{
	ec2.Pending: 0, ec2.Running: 16, ec2.ShuttingDown: 32, ec2.Terminated: 48, ec2.Stopping: 64, ec2.Stopped: 80,
}

// described is an instance with the volumes that are attached to it.
type described struct {
	ec2.InstanceState
	volumes []ec2.Volume
}

var instanceFilters = map[string]func(described) []string{
	"availability-zone": func(d described) []string { return []string{d.Zone} },
	"block-device-mapping.volume-id": func(d described) []string {
		var out []string
		for _, v := range d.volumes {
			out = append(out, v.ID)
		}
		return out
	},
	"instance-id":         func(d described) []string { return []string{d.ID} },
	"instance-state-name": func(d described) []string { return []string{d.State} },
	"instance-type":       func(d described) []string { return []string{d.Type} },
}

type instancesResponse struct {
	Head
	Reservations set[xmlReservation] `xml:"reservationSet"`
	NextToken    string              `xml:"nextToken,omitempty"`
}

type xmlReservation struct {
	ReservationID string           `xml:"reservationId"`
	OwnerID       string           `xml:"ownerId"`
	Instances     set[xmlInstance] `xml:"instancesSet"`
}

type xmlInstance struct {
	InstanceID   string         `xml:"instanceId"`
	ImageID      string         `xml:"imageId"`
	StateCode    int            `xml:"instanceState>code"`
	StateName    string         `xml:"instanceState>name"`
	Type         string         `xml:"instanceType"`
	LaunchTime   string         `xml:"launchTime"`
	Zone         string         `xml:"placement>availabilityZone"`
	Tenancy      string         `xml:"placement>tenancy"`
	Address      string         `xml:"privateIpAddress"`
	Architecture string         `xml:"architecture"`
	RootType     string         `xml:"rootDeviceType"`
	RootDevice   string         `xml:"rootDeviceName"`
	Devices      set[xmlDevice] `xml:"blockDeviceMapping"`
	Profile      *xmlProfile    `xml:"iamInstanceProfile"`
	Tags         set[xmlTag]    `xml:"tagSet"`
	Hypervisor   string         `xml:"hypervisor"`
}

type xmlProfile struct {
	ARN string `xml:"arn"`
	ID  string `xml:"id"`
}

type xmlDevice struct {
	Name                string `xml:"deviceName"`
	VolumeID            string `xml:"ebs>volumeId"`
	Status              string `xml:"ebs>status"`
	AttachTime          string `xml:"ebs>attachTime"`
	DeleteOnTermination bool   `xml:"ebs>deleteOnTermination"`
}

func (s *Server) describeInstances(f form) (response, error) {
	ids := f.list("InstanceId")
	state := s.Seen()
	for _, id := range ids {
		if err := ec2.CheckInstanceID(id); err != nil {
			return nil, err
		}
		if _, err := state.Instance(id); err != nil {
			return nil, err
		}
	}
	by, err := filters(f, instanceFilters)
	if err != nil {
		return nil, err
	}
	attached := map[string][]ec2.Volume{}
	for _, v := range state.Volumes {
		for _, a := range v.Attachments {
			attached[a.InstanceID] = append(attached[a.InstanceID], v)
		}
	}
	var all []described
	for _, i := range state.Instances {
		if len(ids) == 0 || slices.Contains(ids, i.ID) {
			all = append(all, described{i, attached[i.ID]})
		}
	}
	fits := func(d described) bool { return passes(d, d.Tags, instanceFilters, by) }
	found, next, err := page(f, s.pagesAreShort(), all, fits, func(d described) string { return d.ID }, "InstanceId")
	if err != nil {
		return nil, err
	}
	answer := &instancesResponse{NextToken: next}
	for _, d := range found {
		answer.Reservations.Items = append(answer.Reservations.Items, xmlReservation{
			ReservationID: "r-" + strings.TrimPrefix(d.ID, "i-"),
			OwnerID:       s.env.Account,
			Instances:     set[xmlInstance]{[]xmlInstance{s.instanceFields(d)}},
		})
	}
	return answer, nil
}

func (s *Server) instanceFields(d described) xmlInstance {
	x := xmlInstance{
		InstanceID: d.ID, ImageID: ec2.ImageID, StateCode: stateCodes[d.State], StateName: d.State, Type: d.Type,
		LaunchTime: stamp(d.Launched), Zone: d.Zone, Tenancy: "default", Address: d.Address,
		Architecture: "x86_64", RootType: "ebs", RootDevice: ec2.RootDevice, Tags: tagSet(d.Tags), Hypervisor: "xen",
	}
	if d.Role != "" {
		x.Profile = &xmlProfile{s.ProfileARN(d.Role), ec2.ProfileID}
	}
	for _, v := range d.volumes {
		// A block device mapping has no status busy.
		a := v.AttachmentTo(d.ID)
		status := a.State
		if status == ec2.Busy {
			status = ec2.Detaching
		}
		x.Devices.Items = append(x.Devices.Items, xmlDevice{a.Device, v.ID, status, stamp(a.Since), a.DeleteOnTermination})
	}
	slices.SortFunc(x.Devices.Items, func(a, b xmlDevice) int { return strings.Compare(a.Name, b.Name) })
	return x
}
