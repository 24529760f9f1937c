package cloud

import (
	"strings"
	"testing"

	agentec2 "bootagent/pkg/aws/ec2"
	"bootagent/pkg/policy"
	agentvolume "bootagent/pkg/volume"
)

// The policy that `bootagent iam` prints lets an instance go the whole way to its volume, over the
// network and by this cloud's IAM, and lets it do nothing to its neighbours.
func TestThePolicyOfARoleIsEnoughHereAndNoMore(t *testing.T) {
	c := newCloud(t, Config{})
	tags := map[string]string{"cluster": "it's $5 *", "holds": "mysql"}
	must(t, c.IAM.SetPolicy("db", []byte(policy.Of(policy.Needs{
		Volumes: []policy.Volume{{Name: "data", Tags: tags}}, Tagged: agentvolume.Tags(),
	}).String())))
	self, other := launch(t, c, Launch{Role: "db"}), launch(t, c, Launch{Role: "db"})
	own := volume(t, c, Volume{Tags: tags})
	foreign := volume(t, c, Volume{Tags: map[string]string{"cluster": "another", "holds": "mysql"}})
	url, err := c.Listen(c.EC2)
	must(t, err)
	api := agentec2.New(agentec2.Config{Region: c.Region(), Endpoint: url, Credentials: provider(c.IAM.Credentials("db", self.ID))})
	v := agentvolume.New(api, agentvolume.Instance{ID: self.ID, Zone: "eu-central-1a"})

	found, err := v.Find(t.Context(), agentvolume.Want{Tags: map[string]string{"cluster": tags["cluster"], "holds": "mysql"}})
	must(t, err)
	must(t, v.Claim(t.Context(), found))
	for what, err := range map[string]error{
		"attaches to another instance": api.Attach(t.Context(), own.ID, other.ID, "/dev/sdf"),
		"attaches a foreign volume":    api.Attach(t.Context(), foreign.ID, self.ID, "/dev/sdg"),
		"tags a foreign volume":        api.Tag(t.Context(), foreign.ID, map[string]string{agentvolume.TagSelf: foreign.ID}),
		"sets another tag":             api.Tag(t.Context(), own.ID, map[string]string{"cluster": "mine"}),
	} {
		if err == nil || !strings.Contains(err.Error(), "UnauthorizedOperation") {
			t.Errorf("it %s: %v", what, err)
		}
	}
	if _, err := v.Attach(t.Context(), own.ID); err != nil && !strings.Contains(err.Error(), "to be attached as") {
		t.Error(err)
	}
	must(t, c.EC2.WaitVolume(t.Context(), own.ID, Attached))
	must(t, v.Note(t.Context(), own.ID, agentvolume.Filesystem{UUID: "0f0b9c3e-7d1f-4b64-8f4e-5b8a3f1b2c3d"}))
}
