package machine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"bootagent/pkg/child"
	"bootagent/pkg/filesystem"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
)

func newChildren(t *testing.T) *child.Group {
	c := &child.Group{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Sentinels: sentinels}
	t.Cleanup(c.Close)
	return c
}

// What a hand answers is what the call itself would.
func TestAHandDoesWhatItIsToldAndTellsWhatWentWrong(t *testing.T) {
	c := newChildren(t)
	dir := t.TempDir()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	d := directories{c}
	if err := d.Create(t.Context(), host.Data{Owner: me.Username, Dir: filepath.Join(dir, "data")}); err != nil {
		t.Error(err)
	}
	if found, err := d.Names(t.Context(), dir); err != nil || !reflect.DeepEqual(found, []string{"data"}) {
		t.Errorf("there is %q, %v", found, err)
	}
	if same, err := d.SameDirectory(t.Context(), dir, dir+"/data/.."); !same || err != nil {
		t.Errorf("%t, %v", same, err)
	}
	of := host.Data{Engine: "mariadb", Owner: me.Username, Dir: filepath.Join(dir, "data")}
	if found, err := d.Examine(t.Context(), of, host.EngineSettings{}); err != nil || found.State != host.Foreign || found.Hint == "" {
		t.Errorf("got %+v, %v", found, err)
	}
	if err := d.Publish(t.Context(), filepath.Join(dir, "data"), filepath.Join(dir, "published")); err != nil {
		t.Error(err)
	}
	if err := d.Publish(t.Context(), filepath.Join(dir, "data"), filepath.Join(dir, "published")); err == nil || !strings.Contains(err.Error(), "cannot rename "+dir+"/data to "+dir+"/published") {
		t.Errorf("got %v", err)
	}
	if _, err := (ledgers{c}).ReadLedger(t.Context(), "/absent"); err == nil || !strings.Contains(err.Error(), "cannot read the ledger of the filesystem at /absent") {
		t.Errorf("got %v", err)
	}
	if err := reach(t.Context(), c, task{Do: "nothing"}, nil); err == nil || !strings.Contains(err.Error(), `there is no task "nothing"`) {
		t.Errorf("got %v", err)
	}
	err = reach(t.Context(), c, task{Do: lookAt, Path: "/absent", Filesystem: "xfs"}, nil)
	if !errors.Is(err, filesystem.ErrUnmountable) || !strings.Contains(err.Error(), "cannot mount the xfs filesystem on /absent") {
		t.Errorf("got %v", err)
	}
	if _, there, err := (disks{children: c}).Find(t.Context(), "absent"); there || err != nil {
		t.Errorf("a disk that is not there: %t, %v", there, err)
	}
}

// frozen is a mounted filesystem in which nothing can be written: who writes
// there waits in the kernel, and can't be killed.
func frozen(t *testing.T) (root string, thaw func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	for _, tool := range []string{"mkfs.ext4", "fsfreeze"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	do := func(argv ...string) {
		t.Helper()
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", argv, err, out)
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	root = t.TempDir()
	do("truncate", "--size=16M", image)
	do("mkfs.ext4", "-q", image)
	do("mount", "-o", "loop", image, root)
	do("fsfreeze", "--freeze", root)
	var once sync.Once
	thaw = func() { once.Do(func() { do("fsfreeze", "--unfreeze", root) }) }
	t.Cleanup(func() {
		thaw()
		do("umount", root)
	})
	return root, thaw
}

// A filesystem that hangs keeps the agent from nothing: it says what it waits
// for and until when, its stop does not wait, and no more than one child hangs.
func TestAFilesystemThatHangsHoldsUpNothing(t *testing.T) {
	root, thaw := frozen(t)
	c := newChildren(t)
	c.SayAfter = time.Second
	var mu sync.Mutex
	left := make(map[int]int)
	c.Leave = func(_ context.Context, pid int) error {
		mu.Lock()
		defer mu.Unlock()
		left[pid]++
		return nil
	}
	write := func(ctx context.Context) error { return ledgers{c}.WriteLedger(ctx, root, []byte("ledger")) }

	// The status says so.
	ctx, stop := context.WithCancel(t.Context())
	story := graph.New()
	story.Add("ledger", write)
	told := make(chan graph.Progress, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		story.Run(ctx, slog.New(slog.DiscardHandler), func(p []graph.Progress) { told <- p[0] })
	}()
	for p := range told {
		if p.State != graph.Waiting {
			continue
		}
		if text := p.String(); !strings.Contains(text, "until ") || !strings.Contains(text, "for the ledger of the filesystem at "+root+" to be written") ||
			!strings.Contains(p.Wait.Hint, "fsfreeze --unfreeze "+root) {
			t.Errorf("it says %q, hint %q", text, p.Wait.Hint)
		}
		break
	}

	// The agent is stopped in time.
	began := time.Now()
	stop()
	<-ended
	if took := time.Since(began); took > time.Second {
		t.Errorf("its stop took %s", took)
	}

	// Who tries again waits for the child that hangs, which systemd has been
	// given, and starts no other.
	late := errors.New("it took too long")
	for range 3 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, late)
		if err := write(ctx); !errors.Is(err, late) {
			t.Errorf("got %v", err)
		}
		cancel()
	}
	mu.Lock()
	if len(left) != 1 {
		t.Errorf("systemd was given the children %v", left)
	}
	mu.Unlock()

	// What does not touch it goes on.
	if _, err := (directories{c}).Names(t.Context(), t.TempDir()); err != nil {
		t.Error(err)
	}
	thaw()
	if err := write(t.Context()); err != nil {
		t.Errorf("when it answers again: %v", err)
	}
	if ledger, err := (ledgers{c}).ReadLedger(t.Context(), root); err != nil || string(ledger) != "ledger" {
		t.Errorf("the ledger is %q, %v", ledger, err)
	}
}
