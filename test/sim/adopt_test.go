package sim

import (
	"context"
	"regexp"
	"strings"
	"time"

	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
)

// An adoption is what a person has ordered of a volume: which filesystem to adopt, whose
// ledger says that it is of this volume and role, or says nothing.
type adoption struct{ uuid, volume, role string }

func (f *filesystem) adoption() adoption {
	l, err := ledger.Decode([]byte(f.ledger))
	if err != nil || l == nil {
		return adoption{uuid: f.uuid}
	}
	return adoption{f.uuid, l.Volume, l.Role}
}

// says is what the filesystem of a volume is before the first boot: its ledger is
// changed.
func (v *ebs) says(change func(*ledger.Ledger)) {
	l, err := ledger.Decode([]byte(v.place.ledger))
	if err != nil || l == nil {
		panic("there is no ledger to be changed")
	}
	change(l)
	src, err := l.Encode()
	if err != nil {
		panic(err)
	}
	v.place.ledger = string(src)
	v.log = v.place.clone()
}

// restored puts on a volume what a snapshot of another volume has.
func (w *World) restored(v *ebs) {
	const rows = 9
	v.ours("vol-0000000000000beef", "22222222-2222-4222-8222-222222222222", rows)
	w.acked[v.ID] = rows
}

// renamed puts a volume on the machine that was the role's before it got its name.
func (w *World) renamed(v *ebs) {
	w.withRows(v)
	v.says(func(l *ledger.Ledger) { l.Role = "queue" })
}

// lost takes the ledger off a volume that bootagent made. Its files stay.
func (w *World) lost(v *ebs) {
	w.withRows(v)
	v.place.ledger = ""
	v.log = v.place.clone()
	v.Tags["bootagent:filesystem"] = "made " + v.place.uuid
}

// asItSays is the command that a refusal names.
var asItSays = regexp.MustCompile(`bootagent adopt data(?: --as-copy-of (\S+))?(?: --from-role (\S+))?( --lost-ledger)?;`)

// adopt has a person say bootagent adopt, with what the refusal names, and type the ID
// of the volume.
func (m *machine) adopt() {
	words, _ := m.explained()
	said := asItSays.FindStringSubmatch(words)
	if said == nil {
		return
	}
	m.adoptAs(ledger.Claim{CopyOf: said[1], Role: said[2], Lost: said[3] != ""})
}

// adoptAs has a person make a claim.
func (m *machine) adoptAs(c ledger.Claim) {
	v := m.world.theVolume()
	if v == nil || m.agent == nil || v.place == nil {
		return
	}
	m.world.tell("a person", "says bootagent adopt on %s: it is %s", m.id, c)
	v.orderedFor(v.place)
	a, id := m.agent, string(v.ID)
	a.person(func() error {
		_, err := a.life.Adopt(context.Background(), "data", storage.Adoption{Claim: c, Yes: id, By: "alice"})
		return err
	})
}

// orderedFor keeps that a person has ordered to adopt a filesystem as it is seen.
func (v *ebs) orderedFor(f *filesystem) {
	if v.adoptions == nil {
		v.adoptions = make(map[adoption]bool)
	}
	v.adoptions[f.adoption()] = true
}

// adoptable are beginnings of volumes that are refused until a person adopts them.
func adoptable(set func(*World, *ebs)) func(*World, *ebs) {
	return func(w *World, v *ebs) {
		set(w, v)
		w.adoptsLater()
	}
}

// adoptsLater has a person look now and then, and adopt what is refused, as it says.
func (w *World) adoptsLater() {
	w.in(w.between(20*time.Second, 2*time.Minute), "", "", func() {
		for _, m := range w.machines {
			if m.up && !m.gone && !m.isUp() {
				m.adopt()
			}
		}
		w.adoptsLater()
	})
}

// checkIntroduce is asked before a ledger is written to a filesystem that is not
// mounted for its role.
func (w *World) checkIntroduce(m *machine, v *ebs, i host.Introduction) {
	f := v.live
	switch mine := f.ledger == "" && f.made && len(f.dirs) == 0; {
	case mine && i.Made, w.role.Volumes[0].Adopt && f.ledger == "":
	case !v.adoptions[f.adoption()]:
		w.breaks("the filesystem of %s is adopted on %s, and no person ordered it", v.ID, m.id)
	case !w.cloud.fits(v):
		w.breaks("the filesystem of %s is adopted on %s, which is not its volume", v.ID, m.id)
	}
}

// adopts is what a person does in a scenario, after the refusal has these words.
func adopts(words string) func(*World, *machine) {
	return all(mustSay(words), func(_ *World, m *machine) { m.adopt() })
}

// adopting are the scenarios of volumes that are refused for their ledger, until a
// person says whose they are.
var adopting = []scenario{
	{
		name: "a snapshot was restored, nobody adopts it for an hour, and then a person does",
		set:  func(w *World, v *ebs) { w.restored(v) },
		then: []func(*World, *machine){
			after(time.Hour),
			adopts("is a copy of volume vol-0000000000000beef, as its ledger says"),
			mustBeAdopted("a copy of volume vol-0000000000000beef"),
			func(_ *World, m *machine) { m.shutDown(m.boot) },
		},
	},
	{
		name: "a role was renamed, and a person adopts its volume",
		set:  func(w *World, v *ebs) { w.renamed(v) },
		then: []func(*World, *machine){adopts(`is a volume of role "queue"`), mustBeAdopted(`a volume of role "queue"`)},
	},
	{
		name: "a snapshot of a role that was renamed was restored, and a person adopts it",
		set: func(w *World, v *ebs) {
			w.restored(v)
			v.says(func(l *ledger.Ledger) { l.Role = "queue" })
		},
		then: []func(*World, *machine){adopts("is a copy of volume"), mustBeAdopted(`a copy of volume vol-0000000000000beef of role "queue"`)},
	},
	{
		name: "a ledger was lost, and a person adopts the filesystem",
		set:  func(w *World, v *ebs) { w.lost(v) },
		then: []func(*World, *machine){adopts("and its ledger, bootagent's record on it, is gone"), mustBeAdopted("one whose ledger is lost")},
	},
	{
		name: "a filesystem of somebody's is adopted by a person",
		set: func(w *World, v *ebs) {
			w.withRows(v)
			v.place.ledger, v.place.made = "", false
			v.log = v.place.clone()
		},
		then: []func(*World, *machine){adopts("without a ledger: it was not made by bootagent"), mustBeAdopted("one that bootagent did not make")},
	},
	{
		name: "a person claims what the ledger does not say, and then what it says",
		set:  func(w *World, v *ebs) { w.restored(v) },
		then: []func(*World, *machine){
			func(_ *World, m *machine) {
				for _, c := range []ledger.Claim{{}, {Lost: true}, {Role: "mysql-ec2"}, {CopyOf: "vol-00000000000000001"}} {
					m.claim(c)
				}
			},
			adopts("is a copy of volume vol-0000000000000beef, as its ledger says"),
		},
	},
	{
		name: "the agent dies while it adopts, and a person looks again",
		set:  func(w *World, v *ebs) { w.restored(v) },
		at: []moment{{step: "volume data: prepare", op: "introduce", do: func(_ *World, m *machine) {
			m.crash("before it has adopted")
		}}},
		then: []func(*World, *machine){
			adopts("is a copy of volume"),
			func(_ *World, m *machine) { m.adopt() }, // the unit may have done it meanwhile
			mustBeAdopted("a copy of volume"),
		},
	},
	{
		name: "the log of a copy holds another ledger than a look without the log shows",
		set: func(w *World, v *ebs) {
			w.restored(v)
			seen := v.place.clone()
			v.says(func(l *ledger.Ledger) { l.Role = "queue" })
			v.place = seen
		},
		then: []func(*World, *machine){
			adopts("is a copy of volume"),
			all(mustHint("--as-copy-of vol-0000000000000beef --from-role queue;"), func(_ *World, m *machine) { m.adopt() }),
			mustBeAdopted(`a copy of volume vol-0000000000000beef of role "queue"`),
		},
	},
	{
		name: "a snapshot was made right after the ledger was written, which is in its log",
		set: func(w *World, v *ebs) {
			w.restored(v)
			seen := v.place.clone()
			v.says(func(l *ledger.Ledger) { l.Generation++ })
			v.place = seen
		},
		then: []func(*World, *machine){adopts("is a copy of volume"), mustBeAdopted("a copy of volume")},
	},
	{
		name: "a volume that is adopted has its data under another name",
		set: func(w *World, v *ebs) {
			w.renamed(v)
			v.place.dirs["orders"] = v.place.dirs["mysql"]
			delete(v.place.dirs, "mysql")
			w.acked[v.ID] = 0
			made := w.began
			v.says(func(l *ledger.Ledger) { l.Data, l.Made = nil, &made })
		},
		then: []func(*World, *machine){
			adopts(`is a volume of role "queue"`),
			all(mustSay("is absent from a filesystem that bootagent did not make"), func(w *World, m *machine) {
				w.theVolume().change(func(f *filesystem) { // mv
					f.dirs["mysql"] = f.dirs["orders"]
					delete(f.dirs, "orders")
				})
				m.retry()
			}),
		},
	},
	{
		name: "a role that adopts what has no ledger adopts no copy",
		set: func(w *World, v *ebs) {
			w.restored(v)
			w.edit(func(v *role.Volume) { v.Adopt = true })
		},
		then: []func(*World, *machine){adopts("is a copy of volume"), mustBeAdopted("a copy of volume")},
	},
}

// claim has a person make a claim that is not so: nothing is ordered by that.
func (m *machine) claim(c ledger.Claim) {
	a, id := m.agent, string(m.world.theVolume().ID)
	a.person(func() error {
		_, err := a.life.Adopt(context.Background(), "data", storage.Adoption{Claim: c, Yes: id, By: "alice"})
		return err
	})
}

// mustBeAdopted breaks unless the ledger says that a person adopted the volume, and
// why.
func mustBeAdopted(why string) func(*World, *machine) {
	return func(w *World, m *machine) {
		v := w.theVolume()
		l, err := ledger.Decode([]byte(v.now().ledger))
		if err != nil || l == nil || len(l.Adoptions) != 1 || l.Adoptions[0].By != "alice" || !strings.Contains(l.Adoptions[0].Why, why) || l.Volume != string(v.ID) || l.Made != nil {
			w.breaks("it has to be adopted as %s: %s", why, v.now().ledger)
		}
		if w.counts[m.id+" make"] > 0 {
			w.breaks("a filesystem was made on a volume that is adopted")
		}
	}
}

// mustHint breaks unless a hint has these words.
func mustHint(words string) func(*World, *machine) {
	return func(w *World, m *machine) {
		if said, _ := m.explained(); !strings.Contains(said, words) {
			w.breaks("it has to say %q: %s", words, said)
		}
	}
}
