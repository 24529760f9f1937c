package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/diskinfo"
	"bootagent/pkg/storage/ledger"
)

type records struct{ *agent }

func (r records) Recorded(of string, _ host.Find) (id name.VolumeID, err error) {
	err = r.call(context.Background(), "asks", "which volume was "+of, effect{do: func() error {
		id = r.machine.records.now[of]
		return nil
	}})
	return id, err
}

func (r records) Record(of string, _ host.Find, id name.VolumeID) error {
	return r.call(context.Background(), "record", fmt.Sprintf("%s is %s", of, id), effect{do: func() error {
		r.machine.records.write(map[string]name.VolumeID{of: id})
		return nil
	}})
}

// All is for Inspect, which the world does not call.
func (r records) All() map[string]host.Recorded { return nil }

type disks struct{ *agent }

func (d disks) Find(ctx context.Context, serial string) (found host.Disk, there bool, err error) {
	err = d.call(ctx, "asks", "for disk "+serial, effect{do: func() error {
		if on := d.machine.plugged[serial]; on != nil {
			found, there = diskinfo.Of(on.block()), true
		}
		return nil
	}})
	return found, there && err == nil, err
}

func (d disks) Marked(ctx context.Context, mark host.Mark) (all []host.Disk, err error) {
	err = d.call(ctx, "asks", "for the disks with "+mark.String(), effect{bound: 2 * time.Minute, do: func() error {
		for _, serial := range sortedKeys(d.machine.plugged) {
			on := d.machine.plugged[serial]
			if mark.Model != "" {
				if on.block().Model == mark.Model {
					all = append(all, diskinfo.Of(on.block()))
				}
				continue
			}
			fs := on.vol.place
			if fs != nil && fs.kind == mark.Filesystem && (mark.UUID == "" || fs.uuid == mark.UUID) && (mark.Label == "" || on.vol.label == mark.Label) {
				all = append(all, diskinfo.Of(on.block()))
			}
		}
		return nil
	}})
	return all, err
}

func (d disks) Appear(ctx context.Context, serial string) (found host.Disk, err error) {
	err = d.call(ctx, "waits", "for disk "+serial, effect{
		do:     func() error { return nil },
		until:  func() bool { return d.machine.plugged[serial] != nil },
		result: func() error { found = diskinfo.Of(d.machine.plugged[serial].block()); return nil },
		bound:  time.Minute,
	})
	return found, err
}

func (d disks) Read(ctx context.Context, want host.Disk, as host.Reading) (content host.Content, err error) {
	err = d.call(ctx, "read", want.Serial, effect{bound: 10 * time.Minute, do: func() error {
		disk, err := d.same(want)
		if err != nil {
			return err
		}
		disk.read = true
		report := disk.vol.report(disk.block())
		for _, where := range sortedKeys(d.machine.mounts) {
			if mt := d.machine.mounts[where]; mt.vol == disk.vol {
				report.InUse = append(report.InUse, "mounted at "+where)
			}
		}
		content, err = diskinfo.Content(disk.block(), report, as.Filesystem)
		return err
	}})
	return content, err
}

type filesystems struct{ *agent }

func makeUnit(d host.Disk) string { return "bootagent-make-" + d.Serial }

func (f filesystems) Format(ctx context.Context, d host.Disk, fstype, uuid string) error {
	m := f.machine
	w := m.world
	name := makeUnit(d)
	about := "mkfs of " + d.Serial + " as " + uuid
	return f.call(ctx, "make", "a filesystem on "+d.Serial+" as "+uuid, effect{
		bound: 10 * time.Minute,
		do: func() error {
			disk, err := f.same(d)
			if err != nil {
				return err
			}
			if c := m.commands[name]; c != nil && c.running && c.about == about {
				return nil
			}
			v := disk.vol
			if v.scribbled { // the unit proves the disk once more
				return fmt.Errorf("the start of %s ended as %q", name, "failed")
			}
			w.checkMake(v)
			v.half, v.clean = true, true // no service has run on it
			v.place, v.log = nil, nil
			c := &command{about: about, dev: disk.dev(), cut: func() {
				switch w.chance.IntN(3) {
				case 0:
					v.half = false
				case 1:
					v.format(fstype, uuid, d.Size)
				}
			}}
			m.runCommand(name, c, w.between(time.Second, 4*time.Second), func() error {
				v.format(fstype, uuid, d.Size)
				w.count(m.id, "make")
				return nil
			})
			return nil
		},
		until:  m.ended(name),
		result: m.outcome(name),
	})
}

func (f filesystems) Settle(ctx context.Context, d host.Disk) error {
	m := f.machine
	made, introduced, grown := m.ended(makeUnit(d)), m.ended(introduceUnit(d)), m.ended(growUnit(d))
	return f.call(ctx, "asks", "that no mkfs runs on "+d.Serial, effect{
		do:    func() error { return nil },
		until: func() bool { return made() && introduced() && grown() },
		result: func() error {
			delete(m.commands, makeUnit(d))
			delete(m.commands, introduceUnit(d))
			delete(m.commands, growUnit(d))
			return nil
		},
	})
}

func (f filesystems) Look(ctx context.Context, d host.Disk, fstype string, inside []host.Data) (seen host.Look, err error) {
	err = f.call(ctx, "asks", "what the filesystem on "+d.Serial+" says", effect{bound: 2 * time.Minute, do: func() error {
		disk, err := f.same(d)
		if err != nil {
			return err
		}
		place := disk.vol.place
		if place == nil || place.kind != fstype {
			return errStorage
		}
		seen.Ledger, seen.Names = []byte(place.ledger), sortedKeys(place.dirs)
		for range inside {
			seen.Inside = append(seen.Inside, host.DirectoryReport{State: host.Ready})
		}
		return nil
	}})
	return seen, err
}

func introduceUnit(d host.Disk) string { return "bootagent-introduce-" + d.Serial }

func (f filesystems) Introduce(ctx context.Context, d host.Disk, i host.Introduction) error {
	m := f.machine
	w := m.world
	name := introduceUnit(d)
	return f.call(ctx, "introduce", "the filesystem on "+d.Serial, effect{
		bound: 10 * time.Minute,
		do: func() error {
			disk, err := f.same(d)
			if err != nil {
				return err
			}
			v := disk.vol
			if v.live != nil && i.Instead != "" {
				w.breaks("the filesystem of %s is adopted on %s, while it is in use", v.ID, m.id)
			}
			if v.place == nil || v.place.kind != i.Filesystem || v.live != nil {
				return errStorage
			}
			write := func() {
				v.open()
				if ledger.Digest([]byte(v.live.ledger)) != i.Instead || i.Made && len(v.live.dirs) > 0 {
					return
				}
				w.checkIntroduce(m, v, i)
				v.change(func(f *filesystem) {
					f.ledger = string(i.Ledger)
					if i.Made {
						f.label = labelLike(i.Mount)
					}
				})
			}
			c := &command{about: "the ledger of " + d.Serial, dev: disk.dev(), cut: func() {
				if w.oneIn(2) {
					write()
					v.cut(w)
				}
			}}
			m.runCommand(name, c, w.between(50*time.Millisecond, 2*time.Second), func() error {
				write()
				v.close()
				w.count(m.id, "ledger")
				return nil
			})
			return nil
		},
		until:  m.ended(name),
		result: m.outcome(name),
	})
}

func (f filesystems) Check(ctx context.Context, d host.Disk, _ string) error {
	return f.call(ctx, "asks", "whether the filesystem on "+d.Serial+" is whole", effect{do: func() error {
		// Who closes a disk that was open for writing makes an event of it.
		if disk, err := f.same(d); err == nil {
			f.machine.diskEvent(disk.event())
		}
		f.machine.world.count(f.machine.id, "check")
		if v := f.machine.world.ofSerial(d.Serial); v != nil && v.unsound {
			return errors.New("it has errors that are not mended without being asked")
		}
		return nil
	}})
}

type ledgers struct{ *agent }

func (l ledgers) ReadLedger(ctx context.Context, root string) (ledger []byte, err error) {
	err = l.call(ctx, "asks", "for the ledger at "+root, effect{do: func() error {
		mt := l.machine.mounts[root]
		switch {
		case mt == nil || mt.dead || !mt.stopped.IsZero():
			return errStorage
		default:
			ledger = []byte(mt.vol.live.ledger)
		}
		return nil
	}})
	return ledger, err
}

func (l ledgers) WriteLedger(ctx context.Context, root string, ledger []byte) error {
	return l.write(ctx, root, ledger, true)
}

func (l ledgers) write(ctx context.Context, root string, ledger []byte, sync bool) error {
	return l.call(ctx, "write", "the ledger at "+root, effect{do: func() error {
		mt := l.machine.mounts[root]
		switch {
		case mt == nil || mt.dead || !mt.stopped.IsZero():
			return errStorage
		}
		mt.vol.change(func(f *filesystem) { f.ledger = string(ledger) })
		if sync {
			mt.vol.sync("-")
		}
		l.machine.world.count(l.machine.id, "ledger")
		return nil
	}})
}
