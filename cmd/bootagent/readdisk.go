package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"bootagent/pkg/block"
	"bootagent/pkg/graph"
)

// A proof is what a child tells the agent while it reads a disk: how far it has
// come, and in the end what is there.
type proof struct {
	Read   block.Bytes   `json:"read,omitempty"`
	Of     block.Bytes   `json:"of,omitempty"`
	Report *block.Report `json:"report,omitempty"`
}

// writeProof puts a proof into a file that is there.
func writeProof(path string, p proof) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// readProof reads what a child wrote last. It may be in the middle of that.
func readProof(path string) (p proof, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	return p, err
}

const (
	// tellEvery is how often the status tells how far a disk is read, and
	// tellAfter how long that has to take before it does; a gp3 volume's first
	// proof takes 20 s. All of a disk takes long, which is told at once.
	tellEvery = 10 * time.Second
	tellAfter = 30 * time.Second

	noAnswer = "journalctl --dmesg --priority warning --no-pager tells of a disk that does not answer"
)

// readDisk has a child read a disk, and tells how far it is in the status.
func readDisk(ctx context.Context, c *children, disk block.Disk, whole bool) (block.Report, error) {
	file, err := os.CreateTemp(runDir, "proof-*")
	if err != nil {
		return block.Report{}, err
	}
	file.Close()
	defer os.Remove(file.Name())

	within := block.ReadWithin(disk.Size, whole)
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
	_, err = c.run(ctx, about{key: "disk " + disk.Serial}, nil, "/proc/self/exe", append(args, "--", disk.Path)...)
	close(over)
	<-left
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != exitNotBlank && exit.ExitCode() != exitInUse) {
		return block.Report{}, err
	}
	p, err := readProof(file.Name())
	if err == nil && p.Report == nil {
		err = errors.New("it holds no report")
	}
	if err != nil {
		return block.Report{}, fmt.Errorf("cannot understand what was read on %s: %w", disk.Path, err)
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
	var last proof
	since := w.began
	for {
		if p, err := readProof(path); err == nil && p.Read != last.Read {
			last, since = p, time.Now()
		}
		if time.Since(since) >= block.StallsAfter {
			stalled(fmt.Errorf("disk %s gave no further byte for %s, after %v", w.serial, block.StallsAfter, last.Read))
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
func (w watch) words(p proof, now time.Time) string {
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
