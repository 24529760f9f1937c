package ebs

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/policy"
)

// The policy that `bootagent iam` prints has to allow all that is asked for on
// the longest way, and nothing else.
func TestThePolicyAllowsWhatIsAskedForAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud()
		c.volumes[vol] = held(other, "/dev/sdf", Attached, time.Now())
		v := New(c, Instance{ID: me, Zone: zone})
		found, err := v.FindVolume(t.Context(), orders)
		ok(t, err)
		ok(t, v.Claim(t.Context(), found))
		for round := 0; ; round++ {
			err := v.Attach(t.Context(), vol)
			if err == nil {
				break
			}
			if got, _ := kind(err); got != waiting {
				t.Fatal(err)
			}
			switch round {
			case 0:
				c.release(vol)
				c.takes = 24 * time.Hour
			case 100: // it was taken back, and is asked for by another name
				c.takes = 2 * time.Second
			}
			time.Sleep(time.Second)
		}
		_, err = v.Origin(t.Context(), vol)
		ok(t, err)
		ok(t, v.Resized(t.Context(), vol, 8<<30))
		_, err = v.Intent(t.Context(), vol)
		ok(t, err)
		ok(t, v.Intend(t.Context(), vol, host.Intent{UUID: uuid}))

		var asked []string
		for _, call := range c.took() {
			action, _, _ := strings.Cut(call, " ")
			asked = append(asked, action)
		}
		var allowed, tagged []string
		for _, s := range policy.Of(policy.Needs{Volumes: []policy.Volume{{Tags: orders.Tags}}, Tagged: Tags()}).Statement {
			allowed = append(allowed, s.Action...)
			tagged = append(tagged, s.Condition["ForAllValues:StringEquals"]["aws:TagKeys"]...)
		}
		equal(t, "actions", set(asked), set(allowed))
		equal(t, "tags", set(c.tagged), set(tagged))
	})
}

func set(all []string) []string { return slices.Compact(slices.Sorted(slices.Values(all))) }
