package sim

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ledger"
)

// The mistakes about volumes, their disks and filesystems.
var ofVolumes = []mutant{
	{name: "what holds something else is formatted", breaks: "a filesystem is made on", change: reads(func(c *host.Content) {
		if c.Filesystem == "" {
			*c = host.Content{Blank: true}
		}
	})},
	{name: "a blank volume of a snapshot is formatted", change: func(s *seams) {
		answers(&s.origin, func(_ name.VolumeID, o *host.Origin) { o.From = "" })
	}},
	{name: "a filesystem without a ledger is taken", change: func(s *seams) {
		uuid := ""
		reads(func(c *host.Content) { uuid = c.UUID })(s)
		answers(&s.intent, func(_ name.VolumeID, i *host.Intent) {
			if i.UUID == "" && uuid != "" {
				i.UUID = uuid
			}
		})
	}},
	{name: "what an intent names is taken for just made, whatever is in it", change: noNames},
	{name: "a filesystem that lost its ledger is introduced again", change: both(noNames, func(s *seams) {
		answers(&s.intent, func(_ name.VolumeID, i *host.Intent) { i.Made = false })
	})},
	{name: "an intent is closed once or never", change: func(s *seams) {
		s.step("volume data: intent", func(ctx context.Context, run graph.Func) error {
			_ = run(ctx)
			return nil
		})
	}},
	{name: "that an intent is closed is not noted, and EC2 is told each time", change: writesLedger(func(l *storage.Ledger) { l.Closed = false })},
	{name: "a disk that is blank again is formatted again", breaks: `was made on it before`, change: func(s *seams) {
		answers(&s.intent, func(_ name.VolumeID, i *host.Intent) {
			if i.Made {
				*i = host.Intent{}
			}
		})
	}},
	{name: "a copy is taken for the volume", change: func(s *seams) {
		disk := s.lastDisk()
		readsLedger(func(l *storage.Ledger) {
			if id, is := name.VolumeOfSerial(disk().Serial); is {
				l.Volume = string(id)
			}
		})(s)
	}},
	{name: "a copy that says so is taken for the volume", change: func(s *seams) {
		ids := regexp.MustCompile(`vol-[0-9a-f]{17}`)
		isCopy := func(err error) bool { return err != nil && strings.Contains(err.Error(), "is a copy of") }
		find, claim, attach := s.findVolume, s.claim, s.attach
		s.findVolume = func(ctx context.Context, of host.Find) (name.VolumeID, error) {
			id, err := find(ctx, of)
			if isCopy(err) {
				return name.VolumeID(ids.FindString(err.Error())), nil
			}
			return id, err
		}
		s.claim = func(ctx context.Context, id name.VolumeID) error {
			if err := claim(ctx, id); !isCopy(err) {
				return err
			}
			return nil
		}
		s.attach = func(ctx context.Context, id name.VolumeID) error {
			if err := attach(ctx, id); !isCopy(err) {
				return err
			}
			return ec2{s.agent}.Attach(ctx, id, s.agent.machine.id, "/dev/sdf")
		}
	}},
	{name: "a copy is adopted without a person", breaks: "and no person ordered it", change: func(s *seams) {
		look := s.look
		s.look = func(ctx context.Context, d host.Disk) (host.Look, error) {
			seen, err := look(ctx, d)
			l, wrong := ledger.Decode(seen.Ledger)
			id, is := name.VolumeOfSerial(d.Serial)
			if err != nil || wrong != nil || l == nil || !is || l.Volume == string(id) {
				return seen, err
			}
			l.Volume = string(id)
			src, _ := l.Encode()
			if err := s.introduce(ctx, d, host.Introduction{Filesystem: string(role.XFS), Ledger: src, Instead: ledger.Digest(seen.Ledger)}); err != nil {
				return host.Look{}, err
			}
			return look(ctx, d)
		}
	}},
	{name: "another ledger is replaced than the one that a person has seen", breaks: "and no person ordered it", change: func(s *seams) {
		introduce := s.introduce
		s.introduce = func(ctx context.Context, d host.Disk, i host.Introduction) error {
			if v := s.agent.machine.world.ofSerial(d.Serial); i.Instead != "" && v != nil {
				i.Instead = ledger.Digest([]byte(v.log.ledger))
			}
			return introduce(ctx, d, i)
		}
	}},
	{name: "a volume is adopted that is in use", breaks: ", while it is in use", change: func(s *seams) {
		disk := s.lastDisk()
		s.step("volume data: ledger", func(ctx context.Context, run graph.Func) error {
			src, err := s.readLedger(ctx, volumeAt)
			if err == nil {
				_ = s.introduce(ctx, disk(), host.Introduction{Filesystem: string(role.XFS), Ledger: src, Instead: ledger.Digest(src)})
			}
			return run(ctx)
		})
	}},
	{name: "what a person has adopted counts as made by bootagent", change: func(s *seams) {
		introduce := s.introduce
		s.introduce = func(ctx context.Context, d host.Disk, i host.Introduction) error {
			i.Ledger = edited(i.Ledger, func(l *storage.Ledger) {
				if l.Adopted != nil {
					l.Made = l.Adopted
				}
			})
			return introduce(ctx, d, i)
		}
	}},
	{name: "the volume of another role is taken", change: readsLedger(func(l *storage.Ledger) { l.Role = exampleRole().Name })},
	{name: "the intent is not noted before mkfs", change: func(s *seams) {
		intend := s.intend
		s.intend = func(ctx context.Context, id name.VolumeID, i host.Intent) error {
			if !i.Made {
				return nil
			}
			return intend(ctx, id, i)
		}
	}},
	{name: "a volume that another holds is not waited for", breaks: `to be detached from`, change: asksCloud(func(ask func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			err := ask(ctx)
			if isPending(err) {
				return fault.Permanent(errors.New(err.Error()))
			}
			return err
		}
	})},
	{name: "any of several volumes will do", change: func(s *seams) {
		ids := regexp.MustCompile(`vol-[0-9a-f]{17}`)
		find := s.findVolume
		s.findVolume = func(ctx context.Context, of host.Find) (name.VolumeID, error) {
			id, err := find(ctx, of)
			if err != nil && strings.Contains(err.Error(), "volumes have the tags") {
				return name.VolumeID(ids.FindString(err.Error())), nil
			}
			return id, err
		}
	}},
	{name: "what EC2 does not tell at once is taken for not so", change: func(s *seams) {
		known := make(map[name.VolumeID]host.Intent)
		ask, intend := s.intent, s.intend
		s.intent = func(ctx context.Context, id name.VolumeID) (host.Intent, error) {
			if i, ok := known[id]; ok {
				return i, nil
			}
			i, err := ask(ctx, id)
			if err == nil {
				known[id] = i
			}
			return i, err
		}
		s.intend = func(ctx context.Context, id name.VolumeID, i host.Intent) error {
			err := intend(ctx, id, i)
			if err == nil {
				known[id] = i
			}
			return err
		}
	}},
	{name: "whatever is mounted there passes for the disk that was proven", change: func(s *seams) {
		disk, at := s.lastDisk(), s.at
		s.at = func(where string) (uint64, bool, error) {
			dev, mounted, err := at(where)
			if mounted && where == volumeAt {
				dev = disk().Dev
			}
			return dev, mounted, err
		}
	}},
	{name: "a volume is mounted that was found mounted and not read", change: func(s *seams) {
		disk := s.lastDisk()
		s.step("volume data: mount", func(ctx context.Context, run graph.Func) error {
			if _, mounted, err := s.at(volumeAt); err == nil && !mounted {
				_ = s.mount(ctx, host.Mount{What: disk().Link, Where: volumeAt, Type: string(role.XFS), Options: []string{"nosuid", "nodev"}})
			}
			return run(ctx)
		})
	}},
	{name: "a disk is mounted whatever was read on it", breaks: `and was not read before`, change: func(s *seams) {
		for _, step := range []string{"volume data: prove", "volume data: prepare"} {
			s.step(step, func(context.Context, graph.Func) error { return nil })
		}
		disk := s.lastDisk()
		s.step("volume data: mount", func(ctx context.Context, run graph.Func) error {
			_ = s.mount(ctx, host.Mount{What: disk().Link, Where: volumeAt, Type: string(role.XFS), Options: []string{"nosuid", "nodev"}})
			return run(ctx)
		})
	}},
	{name: "an mkfs that an agent began before it died is not waited for", change: func(s *seams) {
		s.settle = func(context.Context, host.Disk) error { return nil }
	}},
	{name: "the filesystem is not checked before it is mounted", change: func(s *seams) {
		s.check = func(context.Context, host.Disk, string) error { return nil }
	}},
	{name: "the ledger is not written", change: func(s *seams) {
		s.writeLedger = func(context.Context, string, []byte) error { return nil }
	}},
	{name: "the ledger does not tell that the volume is in use", change: writesLedger(func(l *storage.Ledger) { l.BootID = "" })},
	{name: "the ledger does not tell how the services were stopped", change: writesLedger(func(l *storage.Ledger) { l.Stopped = nil })},
	{name: "which volume was mounted is not recorded", change: func(s *seams) {
		s.record = func(string, host.Find, name.VolumeID) error { return nil }
	}},
	{name: "the volume that was recorded is another", change: func(s *seams) {
		recorded := s.recorded
		s.recorded = func(volume string, find host.Find) (name.VolumeID, error) {
			id, err := recorded(volume, find)
			if id != "" {
				id = "vol-0000000000000beef"
			}
			return id, err
		}
	}},
	{name: "a volume counts as attached before it is", change: func(s *seams) {
		s.attach = func(context.Context, name.VolumeID) error { return nil }
	}},
	{name: "an attach that hangs is waited for, for ever", breaks: "the role is not up in the end", change: func(s *seams) {
		attach := s.attach
		var first time.Time
		s.attach = func(ctx context.Context, id name.VolumeID) error {
			if !first.IsZero() && time.Since(first) > 80*time.Second {
				return &fault.Pending{For: "volume " + string(id) + " to be attached as /dev/sdf"}
			}
			err := attach(ctx, id)
			if isPending(err) && first.IsZero() {
				first = time.Now()
			}
			return err
		}
	}},
	{name: "a volume that another instance holds is taken away", breaks: "another instance", change: func(s *seams) {
		holders := regexp.MustCompile(`to be detached from (i-[0-9a-f]{17})`)
		attach := s.attach
		s.attach = func(ctx context.Context, id name.VolumeID) error {
			err := attach(ctx, id)
			pending := (*fault.Pending)(nil)
			if errors.As(err, &pending) {
				if held := holders.FindStringSubmatch(pending.For); held != nil {
					_ = ec2{s.agent}.Detach(ctx, id, held[1], "/dev/sdf")
				}
			}
			return err
		}
	}},
	{name: "a volume that is attached is detached", breaks: "whose attach does not hang", change: func(s *seams) {
		attach := s.attach
		s.attach = func(ctx context.Context, id name.VolumeID) error {
			err := attach(ctx, id)
			if err == nil {
				_ = ec2{s.agent}.Detach(ctx, id, s.agent.machine.id, "/dev/sdf")
			}
			return err
		}
	}},
	{name: "the first ledger counts as written whatever became of it", change: func(s *seams) {
		s.introduce = func(context.Context, host.Disk, host.Introduction) error { return nil }
	}},
	{name: "a new filesystem is labelled like another directory", change: func(s *seams) {
		introduce := s.introduce
		s.introduce = func(ctx context.Context, d host.Disk, i host.Introduction) error {
			i.Mount = dataDir
			return introduce(ctx, d, i)
		}
	}},
	{name: "a new data directory is labelled like nothing", change: func(s *seams) {
		create := s.create
		s.create = func(ctx context.Context, d host.Data) error {
			d.Bind = ""
			return create(ctx, d)
		}
	}},
	{name: "a disk that is smaller than its filesystem is taken", breaks: "does not refuse the volume", change: reads(func(c *host.Content) { c.Size = 0 })},
	{name: "a filesystem is grown before EC2 is sure of the size", breaks: "EC2 has yet to be sure of its size", change: func(s *seams) {
		s.resized = func(context.Context, name.VolumeID, int64) error { return nil }
	}},
	{name: "that EC2 is sure once is enough", breaks: "EC2 has yet to be sure of its size", change: func(s *seams) {
		resized, sure := s.resized, new(atomic.Bool)
		s.resized = func(ctx context.Context, id name.VolumeID, size int64) error {
			if sure.Load() {
				return nil
			}
			err := resized(ctx, id, size)
			sure.Store(err == nil && s.agent.actor() == "volume data: grow")
			return err
		}
	}},
	{name: "a filesystem is made without asking EC2 for the size", breaks: "bytes, and the volume", change: func(s *seams) {
		resized := s.resized
		s.resized = func(ctx context.Context, id name.VolumeID, size int64) error {
			if s.agent.actor() == "volume data: prepare" {
				return nil
			}
			return resized(ctx, id, size)
		}
	}},
	{name: "a filesystem is made in the size that the kernel sees when it is made", breaks: "bytes, and the volume", change: func(s *seams) {
		format := s.format
		s.format = func(ctx context.Context, d host.Disk, fstype, uuid string) error {
			err := format(ctx, d, fstype, uuid)
			if now, there, _ := s.findDisk(ctx, d.Serial); err == nil && there {
				s.agent.machine.plugged[d.Serial].vol.format(fstype, uuid, now.Size)
			}
			return err
		}
	}},
	{name: "a filesystem is grown that nobody wants larger", breaks: "which nobody asked for", role: func(r *role.Role) {
		r.Volumes = slices.Clone(r.Volumes)
		r.Volumes[0].Grow = true
	}},
	{name: "a growth that failed is not tried again", breaks: "is not grown", change: func(s *seams) {
		s.step("volume data: grow", func(ctx context.Context, run graph.Func) error {
			_ = run(ctx)
			return nil
		})
	}},
	{name: "a disk that becomes larger is not looked at", breaks: "is not grown", misses: func(_ *agent, event string) bool { return event == diskEvent }},
	{name: "of two disks with the filesystem that is meant, any will do", breaks: `does not say "2 disks have`, change: marks(func(all []host.Disk, err error) ([]host.Disk, error) {
		return all[:min(1, len(all))], err
	})},
	{name: "a disk with the filesystem that is meant is not waited for", breaks: "the role is not up in the end", change: marks(func(all []host.Disk, err error) ([]host.Disk, error) {
		if err == nil && len(all) == 0 {
			err = fault.Permanent(errors.New("there is no disk with it"))
		}
		return all, err
	})},
	{name: "a disk that can't be looked at is none", breaks: "the role is not up in the end", change: marks(func(all []host.Disk, err error) ([]host.Disk, error) {
		if err != nil {
			err = fault.Permanent(err)
		}
		return all, err
	})},
	{name: "whether a volume can be written is asked at boot only", breaks: "and the agent does not say so", change: func(s *seams) {
		ask := s.stopped
		s.stopped = func(ctx context.Context, where string) (string, error) {
			why, err := ask(ctx, where)
			if s.agent.actor() == "health" {
				why = ""
			}
			return why, err
		}
	}},
	{name: "a mount of a disk that is gone passes for one that is there", change: func(s *seams) {
		says(&s.stale, func(_ string, stale *bool) { *stale = false })
	}},
}

// marks changes which disks have the filesystem that is meant.
func marks(change func([]host.Disk, error) ([]host.Disk, error)) func(*seams) {
	return func(s *seams) {
		marked := s.marked
		s.marked = func(ctx context.Context, mark host.Mark) ([]host.Disk, error) { return change(marked(ctx, mark)) }
	}
}

// noNames says of every filesystem without a ledger that it holds no file.
func noNames(s *seams) {
	answers(&s.look, func(_ host.Disk, seen *host.Look) { seen.Names = nil })
	introduce := s.introduce
	s.introduce = func(ctx context.Context, d host.Disk, i host.Introduction) error {
		i.Made = false
		return introduce(ctx, d, i)
	}
}
