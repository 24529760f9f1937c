package boot

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/storage/health"
)

// What is read may go on for long while nothing can be written: people are told, and
// what runs is left alone.
func TestAFilesystemThatTakesNoWritesIsToldAndLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		r := start(t, plan(), m)
		defer r.stop()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.WatchHealth(ctx)
		r.isUp()
		r.is("volume data: health", graph.Done)

		before := len(m.effects)
		becomes := func(why string) {
			m.mu.Lock()
			m.stopped = map[string]string{"/srv/data": why}
			m.mu.Unlock()
			time.Sleep(health.Every + time.Second)
			synctest.Wait()
		}
		becomes("it has shut itself down after an error")
		r.is("volume data: health", graph.Failed, "nothing can be written any more to the xfs filesystem at /srv/data: it has shut itself down after an error", "systemctl stop --no-block srv-data.mount", "systemctl kill --signal=SIGKILL mariadb.service")
		becomes("it is read-only")
		r.is("volume data: health", graph.Failed, "it is read-only")
		r.isUp() // a service that only reads goes on
		if done := m.effects[before:]; len(done) > 0 {
			t.Errorf("it did %q", done)
		}
		becomes("")
		r.is("volume data: health", graph.Done)
	})
}
