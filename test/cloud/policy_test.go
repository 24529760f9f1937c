package cloud_test

import (
	"maps"
	"strings"
	"testing"

	agentec2 "bootagent/pkg/aws/ec2"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/policy"
	"bootagent/pkg/storage/ebs"
	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
)

// The policy that `bootagent iam` prints allows an instance to find, claim and attach its volume, over the network and
// with this cloud's IAM. It allows nothing on other volumes and instances.
func TestThePolicyOfARoleIsEnoughHereAndNoMore(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	tags := map[string]string{"cluster": "it's/our/$5 *", "holds": "mysql", "reserved": ""}
	cloudtest.Must(t, c.IAM.SetPolicy("db", []byte(policy.Of(policy.Needs{
		Volumes: []policy.Volume{{Name: "data", Tags: tags}}, Tagged: ebs.Tags(),
	}).String())))
	self, other := cloudtest.Launch(t, c, ec2.Launch{Role: "db"}), cloudtest.Launch(t, c, ec2.Launch{Role: "db"})
	own := cloudtest.Volume(t, c, ec2.Volume{Tags: tags})
	foreign := cloudtest.Volume(t, c, ec2.Volume{Tags: map[string]string{"cluster": tags["cluster"], "holds": "mysql", "reserved": "i-1"}})
	url, err := c.Listen(c.EC2)
	cloudtest.Must(t, err)
	api := agentec2.New(agentec2.Config{Region: c.Region(), Endpoint: url, Credentials: cloudtest.Provider(c.IAM.Credentials("db", self.ID))})
	v := ebs.New(api, ebs.Instance{ID: self.ID, Zone: "eu-central-1a"})

	found, err := v.FindVolume(t.Context(), host.Find{Tags: maps.Clone(tags)})
	cloudtest.Must(t, err)
	cloudtest.Must(t, v.Claim(t.Context(), found))
	for what, err := range map[string]error{
		"attaches to another instance": api.Attach(t.Context(), name.VolumeID(own.ID), other.ID, "/dev/sdf"),
		"attaches a foreign volume":    api.Attach(t.Context(), name.VolumeID(foreign.ID), self.ID, "/dev/sdg"),
		"tags a foreign volume":        api.Tag(t.Context(), name.VolumeID(foreign.ID), map[string]string{ebs.TagSelf: foreign.ID}),
		"sets another tag":             api.Tag(t.Context(), name.VolumeID(own.ID), map[string]string{"cluster": "mine"}),
	} {
		if err == nil || !strings.Contains(err.Error(), "UnauthorizedOperation") {
			t.Errorf("it %s: %v", what, err)
		}
	}
	if err := v.Attach(t.Context(), name.VolumeID(own.ID)); err != nil && !strings.Contains(err.Error(), "to be attached as") {
		t.Error(err)
	}
	cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), own.ID, ec2.Attached))
	cloudtest.Must(t, v.Intend(t.Context(), name.VolumeID(own.ID), host.Intent{UUID: "0f0b9c3e-7d1f-4b64-8f4e-5b8a3f1b2c3d"}))
}
