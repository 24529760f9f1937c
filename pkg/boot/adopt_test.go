package boot

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
	"bootagent/pkg/storage/stop"
)

const (
	judged   = "volume data: prepare"
	original = "vol-0fedcba9876543210"
)

// used is the ledger of a volume that machine i-1 has in use, of a role.
func used(volume, of string) ledger.Ledger {
	return ledger.Ledger{
		Volume: volume, UUID: "u", Role: of, Made: moment(), Generation: 7, Instance: "i-1", BootID: "its boot",
		Data: map[string]ledger.Data{"mysql": {Engine: "mariadb", Version: "10.11", Ready: true}},
	}
}

// holds is a machine whose disk holds a database, and says something of itself.
func holds(t *testing.T, l *ledger.Ledger) *machine {
	t.Helper()
	m := newMachine()
	m.disks[serial] = &disk{dev: 1, seq: 5, plugged: true, content: host.Content{Filesystem: "xfs", UUID: "u", Size: gib}, names: map[string]host.DirectoryState{"mysql": host.Ready}}
	if l != nil {
		src, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		m.disks[serial].ledger = src
	}
	return m
}

// adopt is bootagent adopt data.
func (r *run) adopt(c ledger.Claim, yes string) (string, error) {
	r.t.Helper()
	answer, err := r.Adopt(r.t.Context(), "data", storage.Adoption{Claim: c, Yes: yes, By: "alice"})
	synctest.Wait()
	return answer, err
}

// says is the ledger on the disk.
func (m *machine) says(t *testing.T) *ledger.Ledger {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := ledger.Decode(m.disks[serial].ledger)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (m *machine) wrote() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.effects), func(effect string) bool {
		return strings.HasPrefix(effect, "read ") || strings.HasPrefix(effect, "look at ")
	})
}

// Each refusal of whose a filesystem is ends by the one command that it names, and by
// no other. Until then nothing is written.
func TestWhatIsRefusedForItsLedgerIsAdoptedByAPerson(t *testing.T) {
	other := used(volumeID, "mysql")
	other.UUID = "another"
	for name, c := range map[string]struct {
		ledger  *ledger.Ledger
		src     string // in its place, one that can't be read
		intent  host.Intent
		claim   ledger.Claim
		command string
		tells   []string
		why     string
		keeps   bool // what the ledger says of the data
	}{
		"a copy": {
			ledger: new(used(original, "mysql")), claim: ledger.Claim{CopyOf: original},
			command: "bootagent adopt data --as-copy-of " + original,
			tells:   []string{"is a copy of volume " + original, `volume ` + original + ` of role "mysql", filesystem u`, `data "mysql" of mariadb 10.11`, "i-1 has it in use, as the ledger says", `"mysql" of mariadb 10.11 in mysql: ready`},
			why:     "a copy of volume " + original, keeps: true,
		},
		"a volume of another role": {
			ledger: new(used(volumeID, "orders")), claim: ledger.Claim{Role: "orders"},
			command: "bootagent adopt data --from-role orders",
			tells:   []string{`is a volume of role "orders"`},
			why:     `a volume of role "orders"`, keeps: true,
		},
		"a copy of another role's": {
			ledger: new(used(original, "orders")), claim: ledger.Claim{CopyOf: original, Role: "orders"},
			command: "bootagent adopt data --as-copy-of " + original + " --from-role orders",
			tells:   []string{`volume ` + original + ` of role "orders"`},
			why:     `a copy of volume ` + original + ` of role "orders"`, keeps: true,
		},
		"a filesystem that lost its ledger": {
			intent: host.Intent{UUID: "u", Made: true}, claim: ledger.Claim{Lost: true},
			command: "bootagent adopt data --lost-ledger",
			tells:   []string{"none that can be read", `"mysql" of mariadb 10.11 in mysql: ready`},
			why:     "one whose ledger is lost",
		},
		"a damaged ledger": {
			src: `{"version":1,"volume"`, claim: ledger.Claim{Lost: true}, command: "bootagent adopt data --lost-ledger",
			tells: []string{"cannot read the ledger", "none that can be read"}, why: "one whose ledger is lost",
		},
		"the ledger of another filesystem": {
			ledger: &other, claim: ledger.Claim{Lost: true}, command: "bootagent adopt data --lost-ledger",
			tells: []string{"its ledger names another"}, why: "one whose ledger is lost",
		},
		"a filesystem of somebody": {
			command: "bootagent adopt data", tells: []string{"without a ledger: it was not made by bootagent", "none that can be read"},
			why: "one that bootagent did not make",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := holds(t, c.ledger)
				m.intents[serial] = c.intent
				if c.src != "" {
					m.disks[serial].ledger = []byte(c.src)
				}
				if c.claim.Role != "" && c.claim.CopyOf == "" {
					m.disks[serial].ledger = stopped(t, *c.ledger)
				}
				before := string(m.disks[serial].ledger)
				r := start(t, plan(), m)
				r.is(judged, graph.Failed, c.command+";")
				for _, wrong := range []ledger.Claim{{}, {CopyOf: original}, {CopyOf: "vol-00000000000000001"}, {Role: "orders"}, {Role: "mysql"}, {CopyOf: original, Role: "orders"}, {Lost: true}} {
					if wrong == c.claim {
						continue
					}
					_, err := r.adopt(wrong, volumeID)
					if err == nil || !strings.Contains(err.Error(), "cannot adopt volume data as "+wrong.String()+": it is "+c.claim.String()) || fault.HintOf(err) != "if that is what you mean: "+c.command {
						t.Errorf("as %s: got %v, hint %q", wrong, err, fault.HintOf(err))
					}
				}
				answer, err := r.adopt(c.claim, "")
				if want := "Nothing was changed yet; to do it: " + c.command + " --yes " + volumeID; err != nil || !strings.HasSuffix(answer, want) {
					t.Fatalf("got %q, %v", answer, err)
				}
				for _, words := range append(c.tells, serial+", 1.0 GiB", "xfs u, 1.0 GiB", `["mysql"]`, "No file on it is changed", `volume `+volumeID+` of role "mysql", filesystem u; adopted as `+c.why) {
					if !strings.Contains(answer, words) {
						t.Errorf("it does not tell %q, but\n%s", words, answer)
					}
				}
				if _, err := r.adopt(c.claim, original); err == nil || !strings.Contains(err.Error(), "it is "+volumeID+", and not "+original) {
					t.Errorf("another volume is confirmed: got %v", err)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if wrote := m.wrote(); len(wrote) > 0 || string(m.disks[serial].ledger) != before {
					t.Fatalf("without a person who confirms it, it did %q", wrote)
				}
				r.is(judged, graph.Failed)

				if answer, err := r.adopt(c.claim, volumeID); err != nil || !strings.Contains(answer, "is being adopted as "+c.why) {
					t.Fatalf("got %q, %v", answer, err)
				}
				r.isUp()
				l := m.says(t)
				if l.Volume != volumeID || l.Role != "mysql" || l.UUID != "u" || l.Made != nil || l.Adopted == nil || l.Instance != "machine" {
					t.Errorf("the ledger says %+v", l)
				}
				if c.keeps != (l.Generation == 8) {
					t.Errorf("of its uses it says %+v", l)
				}
				if len(l.Adoptions) != 1 || l.Adoptions[0].By != "alice" || l.Adoptions[0].On != "machine" || l.Adoptions[0].Why != c.why || (l.Adoptions[0].Was != nil) != (c.ledger != nil) {
					t.Errorf("of the adoption it says %+v", l.Adoptions)
				}
				if c.ledger != nil && (l.Adoptions[0].Was.Volume != c.ledger.Volume || l.Adoptions[0].Was.Role != c.ledger.Role || l.Adoptions[0].Was.UUID != c.ledger.UUID) {
					t.Errorf("of what was before it says %+v", l.Adoptions[0].Was)
				}
				if m.made+m.initialised > 0 {
					t.Errorf("it did %q", m.effects)
				}
				if _, err := r.adopt(c.claim, volumeID); err == nil || !strings.Contains(err.Error(), "has nothing to adopt") {
					t.Errorf("of a volume in use: got %v", err)
				}
				r.stop()
			})
		})
	}
}

// stopped is the ledger once the services have stopped.
func stopped(t *testing.T, l ledger.Ledger) []byte {
	t.Helper()
	l.Stopped = &stop.Stop{On: l.Instance, Clean: true}
	src, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestACopyOfAVolumeInUseTellsSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := holds(t, new(used(original, "mysql")))
		r := start(t, plan(), m)
		if _, err := r.adopt(ledger.Claim{CopyOf: original}, volumeID); err != nil {
			t.Fatal(err)
		}
		r.isUp()
		if l := m.says(t); l.Before == nil || l.Before.String() != "not stopped cleanly on i-1: volume "+original+" was in use when it was copied" {
			t.Errorf("got %v", l.Before)
		}
		r.stop()
	})
}

// What no person can end by saying whose it is names what ends it.
func TestWhatIsNotToBeAdopted(t *testing.T) {
	gone := used(volumeID, "mysql")
	gone.UUID = "another"
	for name, c := range map[string]struct {
		ledger *ledger.Ledger
		change func(*machine, *disk)
		claim  ledger.Claim
		want   string
		hint   string
	}{
		"a newer agent's": {
			change: func(_ *machine, d *disk) { d.ledger = []byte(`{"version":2}`) },
			want:   "a newer bootagent wrote its ledger", hint: "start the instance from an image that has that version or a later one",
		},
		"one that lost its ledger, and all that was on it": {
			change: func(m *machine, d *disk) { d.names, m.intents[serial] = nil, host.Intent{UUID: "u", Made: true} }, claim: ledger.Claim{Lost: true},
			want: "it holds no file: what was on it is gone", hint: "restore the volume from an older snapshot",
		},
		"one with another UUID, and all that was on it is gone": {
			ledger: &gone, change: func(_ *machine, d *disk) { d.names = nil }, claim: ledger.Claim{Lost: true},
			want: "it holds no file: what was on it is gone", hint: "restore the volume from an older snapshot",
		},
		"a disk that another machine has in use": {
			ledger: new(used(volumeID, "orders")), claim: ledger.Claim{Role: "orders"},
			want: "its ledger says that machine i-1 has it in use, and nothing shows that it does not", hint: "shut that machine down",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := holds(t, c.ledger)
				if c.change != nil {
					c.change(m, m.disks[serial])
				}
				r := start(t, plan(), m)
				r.is(judged, graph.Failed)
				for _, yes := range []string{"", volumeID} {
					if _, err := r.adopt(c.claim, yes); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(fault.HintOf(err), c.hint) {
						t.Errorf("got %v, hint %q", err, fault.HintOf(err))
					}
				}
				if wrote := m.wrote(); len(wrote) > 0 {
					t.Errorf("it did %q", wrote)
				}
				r.stop()
			})
		})
	}
}

// EC2 attaches a volume to one instance: another one can't have it any more.
func TestAVolumeThatOnlyThisInstanceHasIsAdoptedFromARole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := inEC2()
		r := firstBoot(t, p, m)
		r.stop()
		m.reboot()
		l := m.says(t)
		l.Role, l.Instance, l.Stopped = "orders", "i-1", nil
		m.disks[serial].ledger, _ = l.Encode()
		r = start(t, p, m)
		r.is(judged, graph.Failed, "bootagent adopt data --from-role orders")
		if answer, err := r.adopt(ledger.Claim{Role: "orders"}, ""); err != nil || !strings.Contains(answer, "i-1 has it in use, as the ledger says") {
			t.Errorf("got %q, %v", answer, err)
		}
		if _, err := r.adopt(ledger.Claim{Role: "orders"}, volumeID); err != nil {
			t.Error(err)
		}
		r.isUp()
		r.stop()
		// The tag says that bootagent made it, and the ledger does not say so any more.
		m.reboot()
		r = start(t, p, m)
		r.isUp()
		r.stop()
	})
}

// A person orders to adopt what was shown. If there is another disk, filesystem or
// ledger by then, that stays refused.
func TestAnOrderIsForWhatAPersonHasSeen(t *testing.T) {
	for name, change := range map[string]func(*disk){
		"another ledger": func(d *disk) { l := used(original, "mysql"); l.Generation++; d.ledger, _ = l.Encode() },
		"another disk":   func(d *disk) { d.seq++ },
		"another UUID":   func(d *disk) { d.content.UUID = "v" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := holds(t, new(used(original, "mysql")))
				r := start(t, plan(), m)
				r.is(judged, graph.Failed)
				m.mu.Lock()
				change(m.disks[serial])
				m.mu.Unlock()
				if _, err := r.adopt(ledger.Claim{CopyOf: original}, volumeID); err != nil {
					t.Fatal(err)
				}
				r.is(judged, graph.Failed, "is a copy of volume "+original)
				if wrote := m.wrote(); len(wrote) > 0 {
					t.Errorf("it did %q", wrote)
				}
				if _, err := r.adopt(ledger.Claim{CopyOf: original}, volumeID); err != nil {
					t.Fatal(err)
				}
				r.isUp()
				r.stop()
			})
		})
	}
}

// The log of the filesystem may hold another ledger than a look without the log shows.
func TestALedgerThatTheLogHoldsIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := holds(t, new(used(original, "mysql")))
		r := start(t, plan(), m)
		m.mu.Lock()
		m.fail = func(effect string) error {
			if effect == "introduce "+serial {
				l := used(original, "orders")
				m.disks[serial].ledger, _ = l.Encode()
			}
			return nil
		}
		m.mu.Unlock()
		if _, err := r.adopt(ledger.Claim{CopyOf: original}, volumeID); err != nil {
			t.Fatal(err)
		}
		r.is(judged, graph.Failed, "--as-copy-of "+original+" --from-role orders;")
		if l := m.says(t); l.Role != "orders" || l.Volume != original {
			t.Errorf("the ledger says %+v", l)
		}
		r.stop()
	})
}

var errNot = fault.Permanent(errors.New("the kernel would not"))

// A disk that was in use when it was copied or pulled has a later ledger in its log,
// which says the same of whose it is.
func TestALaterLedgerThatTheLogHoldsIsAdoptedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := holds(t, new(used(original, "mysql")))
		r := start(t, plan(), m)
		m.mu.Lock()
		tries := 0
		m.fail = func(effect string) error {
			if effect == "introduce "+serial {
				if tries++; tries == 1 {
					l := used(original, "mysql")
					l.Generation = 70
					m.disks[serial].ledger, _ = l.Encode()
				}
			}
			return nil
		}
		m.mu.Unlock()
		if _, err := r.adopt(ledger.Claim{CopyOf: original}, volumeID); err != nil {
			t.Fatal(err)
		}
		r.isUp()
		if l := m.says(t); l.Generation != 71 || l.Volume != volumeID || len(l.Adoptions) != 1 || tries != 2 {
			t.Errorf("after %d tries the ledger says %+v", tries, l)
		}
		r.stop()
	})
}

// An order is for one try: nothing is adopted by an order that a person has forgotten.
func TestAnOrderEndsWithItsTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := holds(t, new(used(original, "mysql")))
		r := start(t, plan(), m)
		m.mu.Lock()
		m.fail = func(effect string) error {
			if effect == "introduce "+serial {
				return errNot
			}
			return nil
		}
		m.mu.Unlock()
		if _, err := r.adopt(ledger.Claim{CopyOf: original}, volumeID); err != nil {
			t.Fatal(err)
		}
		r.is(judged, graph.Failed, errNot.Error())
		m.mu.Lock()
		m.fail = func(string) error { return nil }
		m.mu.Unlock()
		r.Retry()
		synctest.Wait()
		r.is(judged, graph.Failed, "is a copy of volume "+original)
		r.stop()
	})
}

// A role that names its data otherwise gets no new, empty database beside the old one.
func TestNothingIsInitializedBesideWhatWasAdopted(t *testing.T) {
	for name, claim := range map[string]ledger.Claim{"of another role": {Role: "orders"}, "of nobody": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := holds(t, nil)
				if claim.Role != "" {
					l := used(volumeID, "orders")
					l.Data = nil
					m.disks[serial].ledger = stopped(t, l)
				}
				m.disks[serial].names = map[string]host.DirectoryState{"orders": host.Ready}
				r := start(t, plan(), m)
				if _, err := r.adopt(claim, volumeID); err != nil {
					t.Fatal(err)
				}
				r.is("data mysql: directory", graph.Failed, `is absent from a filesystem that bootagent did not make and that holds "orders"`)
				if m.made+m.initialised > 0 {
					t.Errorf("it did %q", m.effects)
				}
				r.stop()
			})
		})
	}
}

func TestAdoptNamesTheVolumesOfTheRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		r := start(t, plan(), m)
		if _, err := r.adopt(ledger.Claim{}, ""); err == nil || !strings.Contains(err.Error(), "volume data has nothing to adopt") {
			t.Errorf("without a disk: got %v", err)
		}
		if _, err := r.Adopt(t.Context(), "date", storage.Adoption{}); err == nil || err.Error() != `the role has no volume "date"; its volumes are: data` {
			t.Errorf("got %v", err)
		}
		r.stop()
	})
}

// A disk that somebody has mounted is refused before its ledger is read.
func TestADiskInUseIsNotAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := holds(t, new(used(original, "mysql")))
		m.mounts["/mnt"] = serial
		r := start(t, plan(), m)
		r.is("volume data: prove", graph.Failed, "is in use: mounted at /mnt")
		if _, err := r.adopt(ledger.Claim{CopyOf: original}, volumeID); err == nil || !strings.Contains(err.Error(), "has nothing to adopt") {
			t.Errorf("got %v", err)
		}
		r.stop()
	})
}

func TestARoleThatAdoptsAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := holds(t, nil), plan()
		p.Volumes[0].Adopt = true
		r := start(t, p, m)
		r.isUp()
		if l := m.says(t); l.Adopted == nil || len(l.Adoptions) > 0 {
			t.Errorf("the ledger says %+v", l)
		}
		r.stop()
		// It says so for a filesystem of nobody, and for no copy.
		m = holds(t, new(used(original, "mysql")))
		r = start(t, p, m)
		r.is(judged, graph.Failed, "bootagent adopt data --as-copy-of "+original)
		r.stop()
	})
}
