package disks

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/block"
	"bootagent/pkg/host"
)

// A kernel is one that tells of disks, as long as it does.
type kernel struct {
	mu       sync.Mutex
	refuses  error
	events   chan block.Event
	listened int
	told     []host.DiskEvent
	said     []string
}

func (k *kernel) listen(context.Context) (<-chan block.Event, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.listened++
	k.events = make(chan block.Event)
	return k.events, k.refuses
}

// is changes the kernel, or looks at it, once all is at rest.
func (k *kernel) is(do func()) {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	do()
}

// sends has something happen to a disk.
func (k *kernel) sends(events ...block.Event) {
	var to chan block.Event
	k.is(func() { to = k.events })
	for _, e := range events {
		to <- e
	}
}

// took is what was told since the last call.
func (k *kernel) took() (told []host.DiskEvent) {
	k.is(func() { told, k.told = k.told, nil })
	return told
}

// ails is what was said last of what does not work.
func (k *kernel) ails() (why string) {
	k.is(func() { why = k.said[len(k.said)-1] })
	return why
}

// followed follows the disks of a kernel until the test ends.
func followed(t *testing.T) *kernel {
	k := &kernel{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		changed := func(_ context.Context, e host.DiskEvent) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.told = append(k.told, e)
		}
		ails := func(why string) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.said = append(k.said, why)
		}
		Follow(ctx, k.listen, changed, ails, slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return k
}

func TestEventsOfADiskAreToldOnceForABurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := followed(t)
		if got := k.took(); !slices.Equal(got, []host.DiskEvent{{}}) {
			t.Errorf("at first it looks at %+v", got)
		}
		k.sends(
			block.Event{Action: "add", Name: "nvme1n1", Disk: "nvme1n1"}, // the kernel's own
			block.Event{Action: "add", Name: "nvme1n1", Disk: "nvme1n1", Serial: "vol1", Holds: "holds ", Udev: true},
			block.Event{Action: "change", Name: "nvme1n1", Disk: "nvme1n1", Serial: "vol1", Holds: "holds xfs", Udev: true},
			block.Event{Action: "add", Name: "nvme2n1p1", Disk: "nvme2n1", Type: "partition", Udev: true},
		)
		if got := k.took(); len(got) > 0 {
			t.Errorf("it did not wait for the end of the burst: %+v", got)
		}
		time.Sleep(burst)
		got := k.took()
		slices.SortFunc(got, func(a, b host.DiskEvent) int { return strings.Compare(a.Name, b.Name) })
		if want := []host.DiskEvent{{Name: "nvme1n1", Serial: "vol1", Holds: "holds xfs"}, {Name: "nvme2n1"}}; !slices.Equal(got, want) {
			t.Errorf("it told %+v", got)
		}
		k.sends(block.Event{Lost: true})
		time.Sleep(burst)
		if got := k.took(); !slices.Equal(got, []host.DiskEvent{{}}) {
			t.Errorf("after events were lost it looks at %+v", got)
		}
	})
}

// Whoever is deaf says so, looks, and listens again.
func TestAListenerThatEndsIsStartedAgainAndSaid(t *testing.T) {
	for name, c := range map[string]struct {
		end   block.Event // none: the channel is closed
		long  error       // why nobody can listen for a while
		words string
	}{
		"the socket fails":  {block.Event{Lost: true, Err: errors.New("no buffer")}, nil, "no buffer"},
		"the channel ends":  {block.Event{}, nil, "the events ended"},
		"it can't listen":   {block.Event{}, errors.New("not permitted"), "not permitted"},
		"it says what then": {block.Event{}, errors.New("not permitted"), "looks every 10s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := followed(t)
				k.took()
				if c.end.Err != nil {
					k.sends(c.end)
				} else {
					k.is(func() { k.refuses = c.long; close(k.events) })
				}
				if c.long != nil {
					time.Sleep(10 * time.Minute)
					if got := len(k.took()); got < 55 || got > 75 {
						t.Errorf("it looked %d times in 10 minutes", got)
					}
					k.is(func() {
						if k.listened < 5 || k.listened > 20 {
							t.Errorf("it listened %d times in 10 minutes", k.listened)
						}
					})
				}
				if got := k.ails(); !strings.Contains(got, c.words) {
					t.Errorf("it says %q", got)
				}
				k.is(func() { k.refuses = nil })
				time.Sleep(listenAgainMost)
				k.took()
				if got := k.ails(); got != "" {
					t.Errorf("it still says %q", got)
				}
				k.sends(block.Event{Name: "nvme1n1", Disk: "nvme1n1", Udev: true})
				time.Sleep(burst)
				if got := k.took(); !slices.Equal(got, []host.DiskEvent{{Name: "nvme1n1"}}) {
					t.Errorf("it told %+v", got)
				}
			})
		})
	}
}
