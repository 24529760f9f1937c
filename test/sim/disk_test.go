package sim

import (
	"maps"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/blankproof"
	"bootagent/pkg/block"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
)

// A filesystem is what is in one: its ledger and its directories.
type filesystem struct {
	kind   string
	uuid   string
	ledger string
	made   bool // by the agent
	size   int64
	label  string // the SELinux type that the agent gave to its root directory, "" where it gave none
	dirs   map[string]directory
}

func (f *filesystem) clone() *filesystem {
	if f == nil {
		return nil
	}
	c := *f
	c.dirs = maps.Clone(f.dirs)
	return &c
}

// blocks are what is on a disk. A filesystem is there three times: as it is in
// its place, which is what is seen without replaying the log; with its log;
// and in the memory of the machine that has it mounted.
type blocks struct {
	lvm  bool // the remains of LVM are on it
	half bool // mkfs was cut off

	scribbled bool // somebody wrote the remains of LVM to it after it was proven
	place     *filesystem
	log       *filesystem
	live      *filesystem   // nil where it is not mounted for writing
	since     []*filesystem // how live was since the last sync, the oldest first
	made      int           // filesystems that were made on it
}

func (b *blocks) blank() bool { return !b.lvm && !b.half && b.place == nil }

// format puts a filesystem on the disk.
func (b *blocks) format(kind, uuid string, size int64) {
	b.lvm, b.half = false, false
	b.place = &filesystem{kind: kind, uuid: uuid, made: true, size: size, dirs: map[string]directory{}}
	b.log, b.live = b.place.clone(), nil
	b.made++
}

// open mounts for writing: the log is replayed.
func (b *blocks) open() {
	b.place, b.live, b.since = b.log.clone(), b.log.clone(), nil
}

// change changes what is mounted, in memory.
func (b *blocks) change(do func(*filesystem)) {
	b.since = append(b.since, b.live.clone())
	do(b.live)
}

// sync brings the filesystem's own data, and what is in one directory or in
// all, to the disk.
func (b *blocks) sync(dir string) {
	for name, d := range b.live.dirs {
		if dir == "" || dir == name {
			d.synced = true
			b.live.dirs[name] = d
		}
	}
	b.log, b.since = b.live.clone(), nil
}

// close unmounts.
func (b *blocks) close() {
	if b.live == nil {
		return
	}
	b.sync("")
	b.place, b.live = b.log.clone(), nil
}

// cut is what a power cut, or a pull, makes of it: of what was not synced, only
// so much is there as has by chance been written. The order in which the
// filesystem's own data changed is kept; what is in a directory may be missing, but
// for a dump of Redis, which gets its name when it is on the disk.
func (b *blocks) cut(w *World) {
	if b.live == nil {
		return
	}
	states := append(append([]*filesystem{b.log}, b.since...), b.live)
	b.log = states[w.chance.IntN(len(states))].clone()
	for _, name := range sortedKeys(b.log.dirs) {
		if d := b.log.dirs[name]; !d.synced && d.state == host.Ready && !takesEmpty(d.engine) && w.oneIn(2) {
			d.state = host.Damaged
			b.log.dirs[name] = d
		}
	}
	if w.oneIn(2) {
		b.place = b.log.clone()
	}
	b.live, b.since = nil, nil
}

// now is the filesystem as it is where it is used, or with its log.
func (b *blocks) now() *filesystem {
	if b.live != nil {
		return b.live
	}
	return b.log
}

// report is what the proof reads.
func (b *blocks) report(d block.Disk) blankproof.Report {
	r := blankproof.Report{Path: d.Path, Serial: d.Serial, Major: d.Major, Minor: d.Minor, Size: d.Size, Read: 4 << 30, Stride: 1 << 20}
	data := block.Offset(0)
	switch {
	case b.lvm:
		r.Found = []blankproof.Signature{{Name: "LVM2", Offset: 0x218}}
	case b.half:
	case b.place != nil:
		r.Found = []blankproof.Signature{{Name: b.place.kind, Offset: 0}}
		r.Filesystem = &blankproof.Filesystem{Type: b.place.kind, UUID: b.place.uuid, Size: block.Bytes(b.place.size)}
	default:
		r.Blank = true
		return r
	}
	r.FirstData = &data
	return r
}

// ours puts on the disk what a former instance of the role left.
func (b *blocks) ours(id name.VolumeID, uuid string, rows int) {
	b.format(string(role.XFS), uuid, 8<<30)
	b.made = 0
	ledger := storage.Ledger{
		Volume: string(id), UUID: uuid, Role: "mysql-ec2", Generation: 3, Instance: "i-before", BootID: "before",
		Data: map[string]storage.LedgerData{"mysql": {Engine: "mariadb", Version: "10.11", Ready: true}},
	}
	src, err := ledger.Encode()
	if err != nil {
		panic(err)
	}
	b.place.ledger = string(src)
	b.place.dirs["mysql"] = directory{state: host.Ready, engine: "mariadb", owner: "mysql", rows: rows, synced: true}
	b.log = b.place.clone()
}
