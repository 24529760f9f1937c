package cloud_test

import (
	"errors"
	"sync"
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

// Instances that start at the same time each get a volume of their pool, over the network and with the policy that
// `bootagent iam` prints. None is left over, and none is attached to two of them.
func TestInstancesOfAPoolEachTakeAVolume(t *testing.T) {
	const instances = 5
	c := cloudtest.New(t, cloud.Config{})
	c.EC2.SetLag(200 * time.Millisecond)
	tags := map[string]string{"pool": "brokers"}
	cloudtest.Must(t, c.IAM.SetPolicy("db", []byte(policy.Of(policy.Needs{
		Volumes: []policy.Volume{{Name: "data", Tags: tags}}, Tagged: ebs.Tags(),
	}).String())))
	url, err := c.Listen(c.EC2)
	cloudtest.Must(t, err)
	var all sync.WaitGroup
	for range instances {
		cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), cloudtest.Volume(t, c, ec2.Volume{Tags: tags}).ID, ec2.Available))
	}
	for range instances {
		self := cloudtest.Launch(t, c, ec2.Launch{Role: "db"})
		api := agentec2.New(agentec2.Config{Region: c.Region(), Endpoint: url, Credentials: cloudtest.Provider(c.IAM.Credentials("db", self.ID))})
		v := ebs.New(api, ebs.Instance{ID: self.ID, Zone: "eu-central-1a"})
		await := func(ask func() error) error {
			for {
				err := ask()
				if pending := (*fault.Pending)(nil); !errors.As(err, &pending) || t.Context().Err() != nil {
					return err
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		all.Go(func() {
			for try := 0; ; try++ {
				var id name.VolumeID
				err := await(func() (err error) { id, err = v.FindVolume(t.Context(), host.Find{Tags: tags, Any: true}); return err })
				if err == nil {
					err = await(func() error { return v.Claim(t.Context(), id) })
				}
				if err == nil {
					err = await(func() error { return v.Attach(t.Context(), id) })
				}
				if err == nil {
					return
				}
				if fault.IsPermanent(err) || try == 50 {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	has := map[string]int{}
	for _, v := range c.EC2.Volumes() {
		for _, a := range v.Attachments {
			if v.Tags["pool"] != "" {
				has[a.InstanceID]++
			}
		}
	}
	for instance, n := range has {
		if n != 1 {
			t.Errorf("%s has %d volumes", instance, n)
		}
	}
	if len(has) != instances {
		t.Errorf("%d instances have a volume", len(has))
	}
}
