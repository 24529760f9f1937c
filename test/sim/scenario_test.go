package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/s3"
	"bootagent/pkg/host"
	"bootagent/pkg/report"
	"bootagent/pkg/role"
	"bootagent/pkg/secret"
	"bootagent/pkg/status"
	volume "bootagent/pkg/storage/ebs"
	"bootagent/test/story"
)

// A scenario is a boot in which all but time is set.
type scenario struct {
	name string
	set  func(w *World, v *ebs)   // before the boot
	at   []moment                 // what happens on the way
	then []func(*World, *machine) // one after the other, once the agent rests
}

// byFile is the setting by which the key is on the machine.
var byFile = []secret.ProviderConfig{{Kind: "command", Args: []string{"/usr/bin/cat", "/etc/bootagent/keys/machine"}}}

// scenarios are made to happen in a virtual machine as well, where the same
// story has to be told: see test/story.
var scenarios = []scenario{
	{name: "up"},
	{name: "no-key", set: func(w *World, _ *ebs) { w.keys = secret.DefaultProviders() }},

	// What is wrong with the volume. Nobody has sealed the secret yet.
	{name: "no-volume", set: func(w *World, v *ebs) { unsealed(w); delete(v.Tags, "holds") }},
	{name: "two-volumes", set: func(w *World, _ *ebs) { unsealed(w); w.cloud.add() }},
	{name: "copy", set: func(w *World, v *ebs) { unsealed(w); v.Tags[volume.TagSelf] = "vol-0cccccccccccccccc" }},
	{name: "other-zone", set: func(w *World, v *ebs) { unsealed(w); v.Zone = "eu-central-1b" }},
	{name: "held", set: func(w *World, v *ebs) { unsealed(w); w.cloud.hold(v) }},
	{name: "attach-hangs", set: func(w *World, v *ebs) { unsealed(w); v.stuck = true }},
	{name: "forbidden", set: func(w *World, _ *ebs) {
		unsealed(w)
		w.faults.last = []lasting{{op: "attach", err: &diagnose.Error{
			Action: volume.AttachVolume, Status: 403, Code: "UnauthorizedOperation", Encoded: "AbC-_123",
			Message: "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/db/i-00000000000000001 " +
				"is not authorized to perform: ec2:AttachVolume on resource: arn:aws:ec2:eu-central-1:123456789012:volume/vol-00000000000000001 " +
				"with an explicit deny in an identity-based policy.",
		}}}
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
		s3Says(w, s3.Answer{Status: 403, Code: "AccessDenied", Message: "User: arn:aws:sts::123456789012:assumed-role/db/i-00000000000000001 " +
			`is not authorized to perform: s3:ListBucket on resource: "arn:aws:s3:::example-secrets" ` +
			"because no identity-based policy allows the s3:ListBucket action"})
	}},
	{name: "s3-busy", set: func(w *World, _ *ebs) { s3Says(w, s3.Answer{Status: 503, Code: "SlowDown"}) }},

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

func s3Says(w *World, a s3.Answer) {
	w.faults.last = []lasting{{op: "fetch", err: objectOf(w, "example-secrets", "orders/root.sql.age").Refused(a)}}
}

// away has nobody answer what is asked. EC2 lets that be known after a while;
// the others are not waited for so long.
func away(w *World, op, about string) {
	w.faults.last = append(w.faults.last, lasting{op, about, apiWithin, errors.New("no answer")})
}

func apisAway(w *World) { away(w, "asks", "EC2"); away(w, "fetch", "") }
func imdsAway(w *World) { away(w, "asks", "IMDS") }

// pulledAndBack pulls the disk from under a service, which hangs then, and
// attaches it again.
func pulledAndBack(w *World, m *machine) {
	m.services[database].clings = true
	v := w.theVolume()
	w.cloud.detach(v)
	w.in(time.Second, "a person", "attaches it again", func() { _ = w.cloud.attach(v.ID, m.id, "/dev/sdf") })
}

// mustBe breaks unless the role is told to be in a state, for a reason of these
// words.
func mustBe(state status.State, words string) func(*World, *machine) {
	return func(w *World, m *machine) {
		if s := m.status(); s.State != state || !strings.Contains(s.Line(), words) {
			w.breaks("it has to be told to be %s with the words %q: %s", state, words, s.Line())
		}
	}
}

// all lets several things happen, one right after the other.
func all(acts ...func(*World, *machine)) func(*World, *machine) {
	return func(w *World, m *machine) {
		for _, act := range acts {
			act(w, m)
		}
	}
}

// after lets time pass.
func after(d time.Duration) func(*World, *machine) { return func(w *World, _ *machine) { w.pass(d) } }

// foreign has other disks come, go and change for a while, none of which is the
// role's.
func foreign(w *World, m *machine) {
	for i := range 60 {
		m.diskEvent(host.DiskEvent{Name: "nvme7n1", Serial: "vol0000000000000f0e1", Holds: fmt.Sprint("holds ", i)})
		m.diskEvent(host.DiskEvent{})
		w.pass(10 * time.Second)
	}
}

// counted breaks where something happened more often.
func counted(what string, most int) func(*World, *machine) {
	return func(w *World, m *machine) {
		if n := w.counts[m.id+" "+what]; n > most {
			w.breaks("%s: %d times, and %d are too many", what, n, most)
		}
	}
}

// personMounts has a person mount a disk of his own where the role's belongs,
// with a copy of what the role's holds.
func personMounts(w *World, m *machine) {
	v := &ebs{Volume: volume.Volume{ID: "vol-0000000000000c0de"}}
	v.ours(w.theVolume().ID, "22222222-2222-4222-8222-222222222222", 9)
	v.open()
	m.mounts[volumeAt] = &mount{where: volumeAt, vol: v, dev: 0xbeef, byPerson: true}
}

func personUnmounts(_ *World, m *machine) {
	if mt := m.mounts[volumeAt]; mt != nil && mt.byPerson {
		mt.stopping = true
	}
}

func stopByHand(_ *World, m *machine) { m.stopService(m.services[database], true) }

// stopAtOnce is a stop that takes no time, of which one event tells.
func stopAtOnce(_ *World, m *machine) {
	s := m.services[database]
	s.active, s.sub, s.job, s.byItself, s.turn = "inactive", "", "", false, s.turn+1
	m.changed(s.unit)
}

func retried(_ *World, m *machine) { m.retry() }

const upStep = "service mariadb.service: up"

// edit changes the role file for one volume, in this world alone.
func (w *World) edit(change func(*role.Volume)) {
	edited := *w.role
	edited.Volumes = slices.Clone(edited.Volumes)
	change(&edited.Volumes[0])
	w.role = &edited
}

// happen lets a scenario happen. It has to be called in a bubble of synctest.
func (s scenario) happen(as *mutant) (*World, *machine) {
	w := newWorld(1)
	w.mutant = as
	w.role, w.keys, w.faults.at = exampleRole(), byFile, s.at
	v := w.cloud.add()
	if s.set != nil {
		s.set(w, v)
	}
	m := w.cloud.launch(goodUserData)
	rest := func() {
		w.pass(time.Minute)
		if !w.run(5*time.Minute, m.idle) {
			w.breaks("the agent does not come to rest: %s", w.whyNot())
		}
	}
	rest()
	for _, act := range s.then {
		act(w, m)
		rest()
	}
	return w, m
}

// tell lets a scenario happen, and tells its story.
func (s scenario) tell() (string, error) {
	w, m := s.happen(nil)
	defer w.end()
	if w.wrong != nil {
		return "", fmt.Errorf("%w\n%s", w.wrong, w.Story())
	}
	return story.Of(m.status()), nil
}

// prove lets a scenario happen to agents that are a mutant, or nil, after which
// the role has to be up. The error tells the story.
func (s scenario) prove(as *mutant) error {
	w, m := s.happen(as)
	defer w.end()
	if len(w.faults.at) > 0 && as == nil {
		w.breaks("its moment did not come")
	}
	if !w.run(5*time.Minute, m.isUp) {
		w.breaks("the role is not up in the end, but %s: %s", m.status().State, w.whyNot())
	}
	if w.wrong != nil {
		return fmt.Errorf("%w\n%s", w.wrong, w.Story())
	}
	return nil
}

// status is what bootagent status tells.
func (m *machine) status() status.Status {
	said := m.agent.said()
	if said.told.Role == "" {
		return report.OfIdentify(said.progress)
	}
	return report.Of(said.told, said.held, said.progress)
}

// idle tells whether the agent is at no step, and is to be told nothing that it
// waits for, and systemd at no job.
func (m *machine) idle() bool {
	s := m.services[database]
	for _, c := range m.world.waiting {
		if c.agent == m.agent && c.underWay && c.effect.until() {
			return false
		}
	}
	return m.up && m.agent != nil && report.Settled(m.agent.said().progress) && s.job == "" && s.active != "activating"
}
