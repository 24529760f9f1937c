package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"bootagent/cmd/bootagent/asstatus"
	"bootagent/pkg/secret"
	"bootagent/pkg/settings"
	"bootagent/pkg/volume"
	"bootagent/test/story"
)

// A scenario is a boot in which all but time is set. The same is made to happen
// in a virtual machine, where the same story has to be told: see test/story.
type scenario struct {
	name string
	set  func(w *World, v *ebs)   // before the boot
	then []func(*World, *machine) // one after the other, once the agent rests
}

// byFile is the setting by which the key is on the machine.
var byFile = []settings.Key{{Command: []string{"/usr/bin/cat", "/etc/bootagent/keys/machine"}}}

var scenarios = []scenario{
	{name: "up"},
	{name: "no-key", set: func(w *World, _ *ebs) { w.keys = []settings.Key{{Operator: true}} }},

	// What is wrong with the volume. Nobody has sealed the secret yet.
	{name: "no-volume", set: func(w *World, v *ebs) { unsealed(w); delete(v.Tags, "holds") }},
	{name: "two-volumes", set: func(w *World, _ *ebs) { unsealed(w); w.cloud.add() }},
	{name: "copy", set: func(w *World, v *ebs) { unsealed(w); v.Tags[volume.TagSelf] = "vol-0cccccccccccccccc" }},
	{name: "other-zone", set: func(w *World, v *ebs) { unsealed(w); v.Zone = "eu-central-1b" }},
	{name: "held", set: func(w *World, v *ebs) { unsealed(w); w.cloud.hold(v) }},
	{name: "attach-hangs", set: func(w *World, v *ebs) { unsealed(w); v.stuck = true }},
	{name: "forbidden", set: func(w *World, _ *ebs) {
		unsealed(w)
		w.faults.last = []lasting{{op: "attach", err: refusal(volume.AttachVolume, 403, "UnauthorizedOperation",
			"You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/db/i-00000000000000001 "+
				"is not authorized to perform: ec2:AttachVolume on resource: arn:aws:ec2:eu-central-1:123456789012:instance/i-00000000000000001 "+
				"with an explicit deny in an identity-based policy")}}
	}},
	{name: "throttled", set: func(w *World, _ *ebs) {
		unsealed(w)
		w.faults.last = []lasting{{op: "asks", about: "EC2 for volumes", err: refusal(volume.DescribeVolumes, 503, "RequestLimitExceeded", "Request limit exceeded.")}}
	}},

	// What is wrong with the secret.
	{name: "not-sealed", set: func(w *World, _ *ebs) { unsealed(w) }},
	{name: "cut-off", set: func(w *World, _ *ebs) { w.sealed = sealedSecret()[:len(sealedSecret())-20] }},
	{name: "for-another-key", set: func(w *World, _ *ebs) { w.sealed = sealedAs()[wrongKey] }},
	{name: "no-secret", set: func(w *World, _ *ebs) {
		s3Says(w, secret.Answer{Status: 403, Code: "AccessDenied", Message: "Access Denied"})
	}},
	{name: "s3-busy", set: func(w *World, _ *ebs) { s3Says(w, secret.Answer{Status: 503, Code: "SlowDown"}) }},

	// What happens to one that is up.
	{name: "stopped-by-hand", then: []func(*World, *machine){
		func(_ *World, m *machine) { m.stopService(m.services[database], true) },
	}},
	{name: "pulled", then: []func(*World, *machine){
		func(w *World, _ *machine) { w.cloud.detach(w.theVolume()) },
	}},
	{name: "without-ec2-and-s3", then: []func(*World, *machine){
		func(w *World, m *machine) { apisAway(w); m.shutDown(m.boot) },
	}},
	{name: "alone", then: []func(*World, *machine){
		func(w *World, m *machine) { apisAway(w); imdsAway(w); m.shutDown(m.boot) },
	}},
}

func unsealed(w *World) { w.sealed = []byte("nothing") }

func s3Says(w *World, a secret.Answer) {
	o := secret.Object{Bucket: "example-secrets", Key: "orders/root.sql.age", Region: region}
	w.faults.last = []lasting{{op: "fetch", err: o.Refused(a)}}
}

// away has nobody answer what is asked, for as long as the agent waits for it.
func away(w *World, op, about string, within time.Duration, says string) {
	w.faults.last = append(w.faults.last, lasting{op, about, within, errors.New(says)})
}

func apisAway(w *World) {
	away(w, "asks", "EC2", apiWithin, "no answer")
	away(w, "fetch", "", 4*time.Second, "cannot fetch s3://example-secrets/orders/root.sql.age: s3://example-secrets/orders/root.sql.age gave nothing within 4s")
}

func imdsAway(w *World) {
	away(w, "asks", "IMDS", 3*time.Second, "no answer")
}

// tell lets a scenario happen, and tells its story. It has to be called in a
// bubble of synctest.
func (s scenario) tell() (string, error) {
	w := newWorld(1)
	w.role, w.keys = exampleRole(), byFile
	v := w.cloud.add()
	if s.set != nil {
		s.set(w, v)
	}
	m := w.cloud.launch(goodUserData)
	defer w.end()
	rest := func() { w.run(time.Minute, func() bool { return false }); w.run(10*time.Minute, m.idle) }
	rest()
	for _, act := range s.then {
		act(w, m)
		rest()
	}
	if w.wrong != nil || !m.idle() {
		return "", fmt.Errorf("it did not come to rest: %w\n%s", w.wrong, w.Story())
	}
	return story.Of(asstatus.Of(w.role.Name, m.agent.held, slices.Concat(m.agent.launched, m.agent.progress))), nil
}

// idle tells whether the agent is at no step.
func (m *machine) idle() bool { return m.up && m.agent != nil && asstatus.Settled(m.agent.progress) }
