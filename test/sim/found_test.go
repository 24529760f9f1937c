package sim

import (
	"errors"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/aws/s3"
	"bootagent/pkg/role"
	"bootagent/pkg/secret"
	"bootagent/pkg/status"
	volume "bootagent/pkg/storage/ebs"
)

// found are boots that the agent has to live through: those that it once did
// not, and those in which a mistake shows that schedules seldom show.
var found = []scenario{
	{
		name: "a key is brought, and the role is not told to be ready before all of it is",
		set:  func(w *World, _ *ebs) { w.keys = secret.DefaultProviders() },
		then: []func(*World, *machine){func(w *World, _ *machine) { w.bring(goodKey) }},
	},
	{
		name: "the disk is back while the service still hangs on the one that was pulled",
		then: []func(*World, *machine){pulledAndBack},
	},
	{
		name: "an attach hangs, and the agent takes it back and tries another device name",
		set:  func(_ *World, v *ebs) { v.stuck = true },
	},
	{
		name: "an attach hangs, and EC2 does what it is asked to and says that it failed",
		set:  func(_ *World, v *ebs) { v.stuck = true },
		at: []moment{{step: "volume data: attach", op: "detach", do: func(w *World, m *machine) {
			_ = w.cloud.takeBack(m, w.theVolume().ID, m.id, "/dev/sdf")
			w.faults.last = []lasting{{op: "detach", err: refusal(volume.DetachVolume, 500, "InternalError", "An internal error has occurred")}}
		}}},
		then: []func(*World, *machine){after(3 * time.Minute)},
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
		set:  func(w *World, _ *ebs) { w.keys = secret.DefaultProviders() },
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
		at: []moment{{step: "volume data: prepare", op: "introduce", do: func(_ *World, m *machine) {
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
		name: "a part of the database is in data that the service does not need, and a person says in the role file that it does",
		set: func(w *World, _ *ebs) {
			w.role = withSpool(w.role)
			all := w.role.Services[0].Needs
			w.role.Services[0].Needs = slices.DeleteFunc(slices.Clone(all), func(n role.Need) bool { return n.Name == "spool" })
		},
		then: []func(*World, *machine){func(w *World, m *machine) {
			if words, truly := m.explained(); !truly || !strings.Contains(words, "innodb_undo_directory is "+spoolAt+"/undo") {
				w.breaks("it does not say what is outside of the data directory: %s", words)
			}
			w.role = withSpool(exampleRole())
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
					mustBe(status.Waiting, "this is restart")(w, m)
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
		name: "a person stops the service, and the agent is started again while its disk is away",
		then: []func(*World, *machine){
			stopByHand,
			func(w *World, m *machine) { w.cloud.detach(w.theVolume()) },
			func(_ *World, m *machine) { m.restart() },
			func(w *World, m *machine) { _ = w.cloud.attach(w.theVolume().ID, m.id, "/dev/sdf") },
			all(mustBe(status.Failed, "was stopped by hand"), counted("start", 1), retried),
		},
	},
	{
		name: "the engine is upgraded to one that looks elsewhere, and the agent and then the machine are started again",
		then: []func(*World, *machine){
			func(_ *World, m *machine) { m.upgrade(); m.restart() },
			all(
				mustBe(status.Failed, "mariadb uses the data directory "+otherDir+", by its own settings, and used "+dataDir+" when bootagent asked it"), retried,
				func(_ *World, m *machine) { m.shutDown(m.boot) },
			),
			func(w *World, m *machine) {
				if m.mounts[otherDir] == nil || m.mounts[dataDir] != nil || !strings.Contains(m.mounts[otherDir].vol.live.ledger, `"bind":"`+otherDir+`"`) {
					w.breaks("the data is not bound to where the engine looks now")
				}
				if warned := strings.Join(m.status().Warnings, "; "); !strings.Contains(warned, "it was bound to "+dataDir+" before") {
					w.breaks("it is not told that the data was bound elsewhere before: %s", warned)
				}
			},
		},
	},
	{
		name: "the engine is late to say where it keeps its data",
		set: func(w *World, _ *ebs) {
			w.faults.last = []lasting{{"asks", "the engine for its settings", time.Minute, errors.New("mariadb did not tell its data directory within 1m0s")}}
		},
		then: []func(*World, *machine){
			all(mustBe(status.Waiting, "instance: paths"), after(20*time.Minute), mustBe(status.Failed, "did not tell its data directory")),
			func(w *World, _ *machine) { w.faults.last = nil },
		},
	},
	{
		name: "two volumes have the tags, and then one",
		set:  func(w *World, v *ebs) { w.cloud.add() },
		then: []func(*World, *machine){
			func(w *World, _ *machine) {
				mustBe(status.Waiting, "2 volumes have the tags")(w, w.machines[0])
				w.cloud.volumes[1].Volume.Tags = map[string]string{}
			},
		},
	},
	{
		name: "the disk holds something else, and comes back without it",
		set:  func(_ *World, v *ebs) { v.lvm = true },
		then: []func(*World, *machine){func(w *World, m *machine) {
			mustBe(status.Failed, "LVM2")(w, m)
			v := w.theVolume()
			w.cloud.detach(v)
			v.lvm = false
			w.in(time.Second, "a person", "attaches it again", func() { _ = w.cloud.attach(v.ID, m.id, "/dev/sdf") })
		}},
	},
	{
		name: "the agent dies while mkfs runs",
		at: []moment{{step: "volume data: prepare", op: "make", do: func(w *World, m *machine) {
			w.in(100*time.Millisecond, m.id, "", func() { m.crash("while mkfs runs") })
		}}},
	},
	{
		name: "the machine is started again, and neither EC2 nor S3 answers",
		then: []func(*World, *machine){func(w *World, m *machine) { apisAway(w); m.shutDown(m.boot) }},
	},
	{
		name: "the machine is started again without EC2, and a file has a tag",
		set:  func(w *World, _ *ebs) { w.role = hastyRole() },
		then: []func(*World, *machine){func(w *World, m *machine) {
			away(w, "asks", "EC2")
			m.shutDown(m.boot)
		}},
	},
	{
		name: "a tag is changed, and a person says bootagent retry",
		set:  func(w *World, _ *ebs) { w.role = hastyRole() },
		then: []func(*World, *machine){
			func(w *World, _ *machine) {
				v := w.theVolume()
				v.becomes(func(*volume.Volume) { w.giveID(v, "99") })
			},
			retried,
			func(w *World, m *machine) {
				if !strings.HasPrefix(m.files[serverIDFile], "server_id=99 ") {
					w.breaks("a person's tag is not in the file %q", m.files[serverIDFile])
				}
			},
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
			all(mustBe(status.Waiting, "the device that is mounted at /srv/data"), personUnmounts),
		},
	},
	{
		name: "the power is cut, and at the next shutdown the service had not started",
		set:  func(w *World, _ *ebs) { w.keys = secret.DefaultProviders() },
		then: []func(*World, *machine){
			func(w *World, _ *machine) { w.bring(goodKey) },
			func(_ *World, m *machine) { m.powerCut() },
			all(mustTellStop("lost its power"), func(_ *World, m *machine) { m.shutDown(m.boot) }),
			all(mustTellStop("lost its power"), func(w *World, _ *machine) { w.bring(goodKey) }),
		},
	},
	{
		name: "the machine shuts down while its agent does not run",
		then: []func(*World, *machine){
			func(_ *World, m *machine) {
				m.agent.kill()
				m.shutDown(m.boot)
			},
			mustTellStop("nobody noted how its services stopped before the shutdown"),
			func(_ *World, m *machine) { m.shutDown(m.boot) },
			mustTellStop("stopped cleanly"),
		},
	},
	{
		name: "the service stops cleanly at one shutdown, and was killed before the next",
		then: []func(*World, *machine){
			func(_ *World, m *machine) { m.shutDown(m.boot) },
			mustTellStop("stopped cleanly"),
			func(_ *World, m *machine) {
				m.services[database].crashes = 1
				m.dies(m.services[database])
				m.shutDown(m.boot)
			},
			mustTellStop("mariadb.service failed: it was killed by SIGSEGV"),
		},
	},
	{
		name: "a person bypasses what holds the service, which lacks its key",
		set:  func(w *World, _ *ebs) { w.keys = secret.DefaultProviders() },
		then: []func(*World, *machine){
			all(mustRun(false), bypassedFor(false)),
			all(mustRun(true), func(_ *World, m *machine) { m.restart() }),
			all(mustRun(true), mustTellBypass, pulledAndBack),
			all(mustRun(true), endedBypass),
			all(mustRun(false), bypassedFor(false)),
			all(mustRun(true), func(_ *World, m *machine) { m.shutDown(m.boot) }),
			all(mustRun(false), mustTellStop("is started by a bypass, by alice: it is needed now")),
			func(w *World, _ *machine) { w.bring(goodKey) },
		},
	},
	{
		name: "a person bypasses what holds the service, which lacks its volume",
		set:  func(w *World, v *ebs) { w.withRows(v); w.cloud.hold(v) },
		then: []func(*World, *machine){
			bypassedFor(false),
			all(mustRun(false), bypassedFor(true)),
			all(mustRun(true), func(w *World, m *machine) { m.restart() }),
			func(w *World, _ *machine) { w.cloud.detach(w.theVolume()) },
			all(mustRun(true), endedBypass),
		},
	},
	{
		name: "the probe of the service hangs, again and again",
		set:  func(w *World, _ *ebs) { w.role, w.mute = hasty("http: http://127.0.0.1/health"), true },
		then: []func(*World, *machine){
			all(after(time.Minute), mustBe(status.Waiting, "the last answer is: no answer within 10s")),
			all(after(3*time.Minute), mustBe(status.Failed, "is active but did not serve within 2m0s: no answer within 10s")),
			func(w *World, _ *machine) { w.mute = false },
		},
	},
	{
		name: "the probe of the service lies, and the service dies",
		set:  func(w *World, _ *ebs) { w.role, w.lies = hasty("tcp: 127.0.0.1:3306"), true },
		then: []func(*World, *machine){
			func(_ *World, m *machine) {
				m.services[database].crashes = 3
				m.dies(m.services[database])
			},
			all(after(20*time.Second), mustBe(status.Waiting, "this is restart")),
			func(_ *World, m *machine) { m.services[database].crashes = 0 },
			after(5 * time.Minute), stopByHand,
			all(after(time.Minute), mustBe(status.Failed, "was stopped by hand")), retried,
		},
	},
	{
		name: "the service is killed at its stop limit",
		then: []func(*World, *machine){
			func(_ *World, m *machine) {
				m.services[database].slow = true
				m.shutDown(m.boot)
			},
			after(3 * time.Minute),
			mustTellStop("mariadb.service was killed when it had not stopped within TimeoutStopSec= of its unit"),
		},
	},
	{
		name: "the service hits its start limit, and a person lifts it",
		then: []func(*World, *machine){
			func(_ *World, m *machine) {
				s := m.services[database]
				s.crashes, s.limited = 1, true
				m.dies(s)
			},
			all(after(time.Minute), mustBe(status.Failed, "was started too often, and systemd does not start it again"), counted("start", 1)),
			func(_ *World, m *machine) { m.retry() },
			all(after(time.Minute), mustBe(status.Failed, "was started too often")),
			func(w *World, _ *machine) { w.cloud.detach(w.theVolume()) },
			func(w *World, m *machine) { _ = w.cloud.attach(w.theVolume().ID, m.id, "/dev/sdf") },
			all(after(time.Minute), mustBe(status.Failed, "was started too often")),
			func(_ *World, m *machine) {
				m.services[database].limited, m.services[database].crashes = false, 0
				m.startService(database)
			},
		},
	},
	{
		name: "a new database of Redis has been used, and somebody removes its files while the machine is off",
		set:  func(w *World, _ *ebs) { w.role = ofEngine(w.role, "redis") },
		then: []func(*World, *machine){
			func(w *World, m *machine) {
				m.shutDown(func() {
					w.loses(w.theVolume())
					m.boot()
				})
			},
			all(mustBe(status.Failed, "is empty, but the volume's ledger says that it was not"), func(w *World, m *machine) {
				w.restores(w.theVolume())
				m.retry()
			}),
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
