package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"bootagent/pkg/blankproof"
	"bootagent/pkg/block"
	"bootagent/pkg/child"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/diskinfo"
)

// disks are the disks of the machine.
type disks struct {
	block.System
	children *child.Group
	runDir   string
}

func (d disks) Find(ctx context.Context, serial string) (host.Disk, bool, error) {
	disk, err := d.find(ctx, serial)
	if errors.Is(err, block.ErrAbsent) || err == nil && disk.Link == "" {
		return host.Disk{}, false, nil
	}
	return diskinfo.Of(disk), err == nil, err
}

// find asks the disk itself who it is, and a controller that is stuck takes its
// time to answer.
func (d disks) find(ctx context.Context, serial string) (disk block.Disk, err error) {
	err = reach(ctx, d.children, task{Do: findDisk, Path: serial}, &disk)
	return disk, err
}

func (d disks) Marked(ctx context.Context, mark host.Mark) (all []host.Disk, err error) {
	err = reach(ctx, d.children, task{Do: findMarked, Path: mark.String(), Mark: mark}, &all)
	return all, err
}

func (d disks) Appear(ctx context.Context, serial string) (host.Disk, error) {
	disk, err := d.WaitFor(ctx, serial)
	return diskinfo.Of(disk), err
}

// same finds the disk again, and refuses another that has come in its place.
func (d disks) same(ctx context.Context, want host.Disk) (block.Disk, error) {
	disk, err := d.find(ctx, want.Serial)
	if err == nil {
		err = diskinfo.Same(want, disk)
	}
	return disk, err
}

func (d disks) Read(ctx context.Context, want host.Disk, as host.Reading) (host.Content, error) {
	disk, err := d.same(ctx, want)
	if err != nil {
		return host.Content{}, err
	}
	report, err := readDisk(ctx, d.children, d.runDir, disk, as.Whole)
	if err != nil {
		return host.Content{}, err
	}
	content, err := diskinfo.Content(disk, report, as.Filesystem)
	if err == nil {
		_, err = d.same(ctx, want) // it may have been pulled meanwhile
	}
	return content, err
}

// Exit codes of bootagent inspect, besides 0 for a disk that is proven blank. As
// ExecCondition= of a unit, each but 0 makes systemd skip the unit
// (systemd.service(5): 1 to 254).
const (
	ExitNotBlank  = 3 // it holds something
	ExitInUse     = 4
	ExitOtherDisk = 5 // than --serial and --sequence say
)

const (
	// tellEvery is how often the status tells how far a disk is read, and
	// tellAfter how long that has to take before it does; a gp3 volume's first
	// proof takes 20 s. All of a disk takes long, which is told at once.
	tellEvery = 10 * time.Second
	tellAfter = 30 * time.Second

	noAnswer = "journalctl --dmesg --priority warning --no-pager tells of a disk that does not answer"
)

// readDisk has a child read a disk, and tells how far it is in the status.
func readDisk(ctx context.Context, c *child.Group, runDir string, disk block.Disk, whole bool) (blankproof.Report, error) {
	file, err := os.CreateTemp(runDir, "proof-*")
	if err != nil {
		return blankproof.Report{}, err
	}
	file.Close()
	defer os.Remove(file.Name())

	within := blankproof.ReadWithin(disk.Size, whole)
	until := time.Now().Add(within)
	step := ctx
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("reading disk %s took longer than %s", disk.Serial, within))
	defer cancel()
	ctx, stalled := context.WithCancelCause(ctx)
	defer stalled(nil)
	w := watch{serial: disk.Serial, whole: whole, began: time.Now(), until: until}
	over, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		w.run(step, file.Name(), stalled, over)
	}()

	args := []string{"inspect", "--report", file.Name()}
	if whole {
		args = append(args, "--whole")
	}
	_, err = c.Run(ctx, child.Task{Key: "disk " + disk.Serial}, nil, "/proc/self/exe", append(args, "--", disk.Path)...)
	close(over)
	<-left
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != ExitNotBlank && exit.ExitCode() != ExitInUse) {
		return blankproof.Report{}, err
	}
	p, err := blankproof.ReadProof(file.Name())
	if err == nil && p.Report == nil {
		err = errors.New("it holds no report")
	}
	if err != nil {
		return blankproof.Report{}, fmt.Errorf("cannot understand what was read on %s: %w", disk.Path, err)
	}
	return *p.Report, nil
}

// A watch follows the reading of a disk.
type watch struct {
	serial string
	whole  bool
	began  time.Time
	until  time.Time
}

// run tells how far the reading is until it is over, and ends it where the disk
// gives no more bytes.
func (w watch) run(step context.Context, path string, stalled context.CancelCauseFunc, over <-chan struct{}) {
	done := func() {}
	defer func() { done() }()
	var last blankproof.Proof
	since := w.began
	for {
		if p, err := blankproof.ReadProof(path); err == nil && p.Read != last.Read {
			last, since = p, time.Now()
		}
		if time.Since(since) >= blankproof.StallsAfter {
			stalled(fmt.Errorf("disk %s gave no further byte for %s, after %v", w.serial, blankproof.StallsAfter, last.Read))
		}
		if w.whole || time.Since(w.began) >= tellAfter {
			done = graph.SetWaiting(step, graph.Wait{For: w.words(last, time.Now()), Until: w.until, Hint: noAnswer})
		}
		select {
		case <-time.After(tellEvery):
		case <-over:
			return
		}
	}
}

// words say how far the reading is, and when it will be over if it goes on so.
func (w watch) words(p blankproof.Proof, now time.Time) string {
	what := "disk " + w.serial
	if w.whole {
		what = "all of disk " + w.serial
	}
	if p.Read <= 0 || p.Of <= p.Read {
		return what + " to be read"
	}
	rest := time.Duration(float64(now.Sub(w.began)) * (float64(p.Of)/float64(p.Read) - 1))
	return fmt.Sprintf("%s to be read, %v of %v so far; at this speed until %s", what, p.Read, p.Of, now.Add(rest).Local().Format(time.DateTime))
}
