package ec2_test

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	agentec2 "bootagent/pkg/aws/ec2"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/storage/ebs"
	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
)

// The file of a volume is larger once its modification is optimizing, and a second one has to wait.
func TestAModificationTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{Dir: t.TempDir(), Delays: ec2.Delays{Modify: 10 * time.Second, Optimize: time.Minute}})
		v := cloudtest.Volume(t, c, ec2.Volume{Size: 8})
		is := func(state string, size int64) {
			t.Helper()
			synctest.Wait()
			now, _ := c.EC2.Volume(v.ID)
			file, err := os.Stat(v.Path)
			cloudtest.Must(t, err)
			if now.Modification.State != state || int64(now.Size) != size || file.Size() != size<<30 {
				t.Errorf("it is %s with %d GiB, and its file has %d bytes; want %s, %d", now.Modification.State, now.Size, file.Size(), state, size)
			}
		}
		_, err := c.EC2.ModifyVolume(v.ID, 10)
		cloudtest.Must(t, err)
		is(ec2.Modifying, 8)
		if _, err := c.EC2.ModifyVolume(v.ID, 12); err == nil {
			t.Error("a second modification began")
		}
		time.Sleep(11 * time.Second)
		is(ec2.Optimizing, 10)
		time.Sleep(time.Minute)
		is(ec2.Completed, 10)
		_, err = c.EC2.ModifyVolume(v.ID, 12)
		cloudtest.Must(t, err)
		cloudtest.Must(t, c.EC2.FailModification(v.ID, "a fault"))
		time.Sleep(11 * time.Second)
		is(ec2.ModifyFailed, 10)
		if _, err := c.EC2.ModifyVolume(v.ID, 10); err == nil {
			t.Error("it was modified to the size that it has")
		}
	})
}

// The agent asks for modifications over the network, as the policy lets it.
func TestTheAgentReadsModifications(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{Delays: ec2.Delays{Modify: time.Hour}})
	i := cloudtest.Launch(t, c, ec2.Launch{Role: "db"})
	cloudtest.Must(t, c.IAM.SetPolicy("db", []byte(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}]}`)))
	v := cloudtest.Volume(t, c, ec2.Volume{Size: 8})
	url, err := c.Listen(c.EC2)
	cloudtest.Must(t, err)
	api := agentec2.New(agentec2.Config{Region: c.Region(), Endpoint: url, Credentials: cloudtest.Provider(c.IAM.Credentials("db", i.ID))})
	volumes := ebs.New(api, ebs.Instance{ID: i.ID, Zone: "eu-central-1a"})
	id := name.VolumeID(v.ID)
	cloudtest.Must(t, volumes.Resized(t.Context(), id, 8<<30)) // it was never modified
	_, err = c.EC2.ModifyVolume(v.ID, 10)
	cloudtest.Must(t, err)
	got, err := api.Modification(t.Context(), id)
	cloudtest.Must(t, err)
	if want := (ebs.Modification{State: ebs.Modifying, From: 8 << 30, To: 10 << 30}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := volumes.Resized(t.Context(), id, 10<<30); err == nil {
		t.Error("a size counts that is being modified")
	}
}
