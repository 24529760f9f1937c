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
	"bootagent/pkg/settings"
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
var byFile = []settings.Key{{Command: []string{"/usr/bin/cat", "/etc/bootagent/keys/machine"}}}

// scenarios are made to happen in a virtual machine as well, where the same
// story has to be told: see test/story.
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

// found are schedules that the agent once did not live through.
var found = []scenario{
	{
		name: "a key is brought, and the role is not told to be ready before all of it is",
		set:  func(w *World, _ *ebs) { w.keys = []settings.Key{{Operator: true}} },
		then: []func(*World, *machine){func(w *World, _ *machine) { w.bring(goodKey) }},
	},
	{
		name: "the disk is back while the service still hangs on the one that was pulled",
		then: []func(*World, *machine){pulledAndBack},
	},
	{
		name: "a process holds what is mounted of a disk that is pulled and comes back",
		then: []func(*World, *machine){func(w *World, m *machine) {
			m.pins = true
			pulledAndBack(w, m)
		}},
	},
	{
		name: "a process holds what is mounted of a disk that is pulled before its service is granted",
		set:  func(w *World, _ *ebs) { w.keys = []settings.Key{{Operator: true}} },
		then: []func(*World, *machine){
			func(w *World, m *machine) {
				m.pins = true
				w.cloud.detach(w.theVolume())
			},
			func(w *World, m *machine) {
				w.bring(goodKey)
				w.in(time.Minute, "a person", "attaches it again", func() { _ = w.cloud.attach(w.theVolume().ID, m.id, "/dev/sdf") })
			},
		},
	},
	{
		name: "the disk is pulled while the service starts, which then hangs",
		at:   []moment{{step: "service mariadb.service: up", op: "waits", do: pulledAndBack}},
	},
	{
		name: "EC2 is late to tell the tag of a filesystem that an agent made before it died",
		set:  func(w *World, _ *ebs) { w.cloud.lag, w.cloud.late = 20*time.Second, true },
		at: []moment{{step: "volume data: prepare", op: "write", do: func(_ *World, m *machine) {
			m.crash("before it has written the ledger")
		}}},
	},
	{
		name: "the disk is pulled while a new agent looks at the directory of a service that then hangs",
		then: []func(*World, *machine){func(w *World, m *machine) {
			w.faults.at = []moment{{step: "data mysql: directory", op: "asks", do: pulledAndBack}}
			m.restart()
		}},
	},
	{
		name: "somebody says pvcreate of the disk between its proof and mkfs",
		at: []moment{{step: "volume data: prepare", op: "make", do: func(w *World, _ *machine) {
			v := w.theVolume()
			v.lvm, v.scribbled = true, true
		}}},
		then: []func(*World, *machine){func(w *World, m *machine) {
			if words, truly := m.explained(); !truly || !strings.Contains(words, "LVM2") {
				w.breaks("it does not say what is on the disk: %s", words)
			}
			v := w.theVolume()
			v.lvm, v.scribbled = false, false // wipefs
			m.retry()
		}},
	},
	{
		name: "the role may make no filesystem, and a person says in the role file that it may",
		set:  func(w *World, _ *ebs) { w.edit(func(v *role.Volume) { v.Format = role.FormatNever }) },
		then: []func(*World, *machine){func(w *World, m *machine) {
			w.edit(func(v *role.Volume) { v.Format = role.FormatIfBlank })
			m.retry()
		}},
	},
	{
		name: "the user-data is broken when the agent is started again, and then it is mended",
		then: []func(*World, *machine){
			func(_ *World, m *machine) { m.userData = badUserData; m.restart() },
			func(_ *World, m *machine) { m.userData = goodUserData; m.retry() },
		},
	},
	{
		name: "the role file wants a volume elsewhere that is mounted, and everything stays as it is",
		then: []func(*World, *machine){func(w *World, m *machine) {
			w.edit(func(v *role.Volume) { v.Mount = "/srv/elsewhere" })
			m.retry()
		}},
	},
	{
		name: "the volume is let go after it was waited for in vain",
		set:  func(w *World, v *ebs) { w.cloud.hold(v) },
		then: []func(*World, *machine){func(w *World, _ *machine) {
			w.pass(w.role.Volumes[0].Timeout + 5*time.Minute)
			w.cloud.detach(w.theVolume())
		}},
	},
	{
		name: "a check fails for ever, and closes the disk each time, which is an event",
		set:  func(w *World, v *ebs) { w.withRows(v); v.unsound = true },
		then: []func(*World, *machine){
			all(after(time.Hour), counted("check", 80), mustBe(status.Failed, "prepare")),
			func(w *World, _ *machine) { w.theVolume().unsound = false },
		},
	},
	{
		name: "a mount fails for ever, and other disks come and go",
		set:  func(w *World, v *ebs) { w.withRows(v); v.unmountable = true },
		then: []func(*World, *machine){
			all(after(10*time.Minute), mustBe(status.Waiting, "mount"), after(20*time.Minute), mustBe(status.Failed, "tries since")),
			all(foreign, mustBe(status.Failed, "tries since"), counted("check", 90)),
			func(w *World, _ *machine) { w.theVolume().unmountable = false },
		},
	},
	{
		name: "another has the volume for too long, and other disks come and go",
		set:  func(w *World, v *ebs) { w.cloud.hold(v) },
		then: []func(*World, *machine){
			all(after(21*time.Minute), mustBe(status.Failed, "in vain"), foreign, mustBe(status.Failed, "in vain")),
			func(w *World, _ *machine) { w.cloud.detach(w.theVolume()) },
		},
	},
	{
		name: "the object of a secret is not there for a while, and then not for long",
		set: func(w *World, _ *ebs) {
			s3Says(w, s3.Answer{Status: 404, Code: "NoSuchKey"})
		},
		then: []func(*World, *machine){
			all(after(5*time.Minute), mustBe(status.Waiting, "does not exist"), after(15*time.Minute), mustBe(status.Failed, "tries since")),
			func(w *World, _ *machine) { w.faults.last = nil },
		},
	},
	{
		name: "nobody tells a new instance who it is",
		set:  func(w *World, _ *ebs) { imdsAway(w) },
		then: []func(*World, *machine){
			all(mustBe(status.Waiting, "metadata"), after(15*time.Minute), mustBe(status.Failed, "metadata")),
			func(w *World, _ *machine) { w.faults.last = nil },
		},
	},
	{
		name: "the service crashes again and again",
		then: []func(*World, *machine){
			func(w *World, m *machine) {
				s := m.services[database]
				s.crashes = 12
				m.dies(s)
				w.pass(20 * time.Second)
				for range 12 {
					mustBe(status.Waiting, "it is restart")(w, m)
					w.pass(5 * time.Second)
				}
			},
			after(20 * time.Minute),
		},
	},
	{
		name: "a person stops the service while it is probed, and the probe hangs",
		set:  func(w *World, _ *ebs) { w.role, w.mute = hastyRole(), true },
		at:   []moment{{step: upStep, op: "probe", do: stopByHand}},
		then: []func(*World, *machine){
			all(after(time.Minute), mustBe(status.Failed, "was stopped by hand"), counted("start", 1)),
			func(w *World, m *machine) { w.mute = false; m.retry() },
		},
	},
	{
		name: "a person stops the service in the moment in which it is found to serve",
		at:   []moment{{upStep, "finished", stopAtOnce, time.Second}},
		then: []func(*World, *machine){
			all(mustBe(status.Failed, "was stopped by hand"), counted("start", 1)), retried,
		},
	},
	{
		name: "the service ends by itself, and its disk is pulled and comes back",
		then: []func(*World, *machine){
			func(_ *World, m *machine) { m.exits(m.services[database]) },
			all(mustBe(status.Failed, "ended by itself"), pulledAndBack),
		},
	},
	{
		name: "a grant is lost, and nobody tells of it",
		at: []moment{{step: "service mariadb.service: grant", op: "finished", do: func(_ *World, m *machine) {
			m.grants, m.started = map[string]*grant{}, map[string]bool{}
			m.services[database].job = ""
		}}},
	},
	{
		name: "another disk with a copy is mounted where the role's belongs",
		set:  func(w *World, v *ebs) { w.withRows(v) },
		at:   []moment{{step: "volume data: device", op: "started", do: personMounts}},
		then: []func(*World, *machine){
			all(mustBe(status.Waiting, "another device is mounted at /srv/data"), personUnmounts),
		},
	},
	{
		name: "the volume is unmounted after a new agent has found it mounted",
		then: []func(*World, *machine){func(w *World, m *machine) {
			w.faults.at = []moment{{step: "volume data: mount", op: "started", do: func(_ *World, m *machine) { m.tornDown() }}}
			m.restart()
		}},
	},
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
func (s scenario) happen() (*World, *machine) {
	w := newWorld(1)
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
	w, m := s.happen()
	defer w.end()
	if w.wrong != nil {
		return "", fmt.Errorf("%w\n%s", w.wrong, w.Story())
	}
	return story.Of(m.status()), nil
}

// prove lets a scenario happen, after which the role has to be up.
func (s scenario) prove() error {
	w, m := s.happen()
	defer w.end()
	if len(w.faults.at) > 0 {
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
	a := m.agent
	if a.role == "" {
		return report.OfIdentify(a.progress)
	}
	return report.Of(a.role, a.held, a.progress)
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
	return m.up && m.agent != nil && report.Settled(m.agent.progress) && s.job == "" && s.active != "activating"
}
