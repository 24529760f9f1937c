package cloud_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	agentec2 "bootagent/pkg/aws/ec2"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/policy"
	"bootagent/pkg/storage/ebs"
	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
)

// A volume of the block device mapping is found by its device name, over the network and with the policy that
// `bootagent iam` prints, which allows no attach.
func TestAVolumeOfTheLaunchIsFoundByItsDeviceName(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	cloudtest.Must(t, c.IAM.SetPolicy("db", []byte(policy.Of(policy.Needs{
		Volumes: []policy.Volume{{Name: "data", Device: "/dev/sdf"}}, Tagged: ebs.Tags(),
	}).String())))
	url, err := c.Listen(c.EC2)
	cloudtest.Must(t, err)
	self := cloudtest.Launch(t, c, ec2.Launch{Role: "db", Mapping: map[string]ec2.Volume{
		"/dev/xvdf": {Size: 4, Tags: map[string]string{"is": "data"}}, "/dev/sdg": {Tags: map[string]string{"is": "other"}},
	}})
	cloudtest.Launch(t, c, ec2.Launch{Role: "db", Mapping: map[string]ec2.Volume{"/dev/sdf": {Tags: map[string]string{"is": "foreign"}}}})
	api := agentec2.New(agentec2.Config{Region: c.Region(), Endpoint: url, Credentials: cloudtest.Provider(c.IAM.Credentials("db", self.ID))})
	v := ebs.New(api, ebs.Instance{ID: self.ID, Zone: "eu-central-1a"})
	await := func(ask func(context.Context) error) error {
		for {
			err := ask(t.Context())
			if pending := (*fault.Pending)(nil); !errors.As(err, &pending) || t.Context().Err() != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	var id name.VolumeID
	cloudtest.Must(t, await(func(ctx context.Context) (err error) {
		id, err = v.FindVolume(ctx, host.Find{Device: "/dev/sdf"})
		return err
	}))
	cloudtest.Must(t, await(func(ctx context.Context) error { return v.Claim(ctx, id) }))
	cloudtest.Must(t, await(func(ctx context.Context) error { return v.Held(ctx, id, "/dev/sdf") }))
	all := c.EC2.Volumes()
	at := slices.IndexFunc(all, func(v ec2.Volume) bool { return v.ID == string(id) })
	if tags := all[at].Tags; tags["is"] != "data" || tags[ebs.TagSelf] != string(id) {
		t.Errorf("%s is found, with the tags %v", id, tags)
	}
	if doomed := v.DeletedWithInstance(id); !strings.Contains(doomed, string(id)) {
		t.Errorf("it says %q of a volume that goes with the instance", doomed)
	}
	_, err = v.FindVolume(t.Context(), host.Find{Device: "/dev/sdh"})
	pending := (*fault.Pending)(nil)
	if !errors.As(err, &pending) || !strings.Contains(pending.For, "as /dev/sdh (it has /dev/sdg vol-") {
		t.Errorf("a device name that the instance has not: %v", err)
	}
	if err := api.Attach(t.Context(), id, self.ID, "/dev/sdi"); err == nil || !strings.Contains(err.Error(), "UnauthorizedOperation") {
		t.Errorf("the policy allows an attach: %v", err)
	}
}
