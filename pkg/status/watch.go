package status

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// lookEvery is how often to look where the file's folder is not there yet,
	// or the kernel has no watch to give (fs.inotify.max_user_instances).
	lookEvery = 200 * time.Millisecond

	// lookAnyway is the net below what the kernel tells.
	lookAnyway = 10 * time.Second
)

// Watch says when the status file may have changed, until ctx ends. It need not
// be there yet.
func Watch(ctx context.Context, path string) <-chan struct{} {
	changed := make(chan struct{}, 1)
	w := &watch{path: path}
	if watcher, err := fsnotify.NewWatcher(); err == nil {
		w.watchFolder, w.events, w.lost = watcher.Add, watcher.Events, watcher.Errors
		context.AfterFunc(ctx, func() { watcher.Close() })
	}
	go func() {
		for ctx.Err() == nil {
			w.add()
			select {
			case changed <- struct{}{}:
			default: // it is about to be looked at
			}
			w.next(ctx)
		}
	}()
	return changed
}

// Await returns the status as soon as it is final. It returns what it read last when
// ctx ends, or when for a time, absent, no agent ran or the status could not be read.
func Await(ctx context.Context, path string, absent time.Duration) (Status, error) {
	changed := Watch(ctx, path)
	var since time.Time // since when no running agent has written a status; zero while one has
	for {
		s, err := Current(path)
		if err == nil && s.State.Final() {
			return s, nil
		}
		late := make(<-chan time.Time)
		if unknown := err != nil && !errors.Is(err, ErrNone) || err == nil && s.State == Gone; unknown {
			if since.IsZero() {
				since = time.Now()
			}
			late = time.After(absent - time.Since(since))
		} else {
			since = time.Time{}
		}
		select {
		case <-changed:
			continue
		case <-late:
		case <-ctx.Done():
		}
		return s, err
	}
}

// A watch is the kernel's of a file's folder: the file is another one with each
// change.
type watch struct {
	path  string
	tells bool // the folder is there, and watched

	// What follows is nil where the kernel has no watch to give.
	watchFolder func(string) error
	events      <-chan fsnotify.Event
	lost        <-chan error
}

func (w *watch) add() {
	if w.watchFolder != nil && !w.tells {
		w.tells = w.watchFolder(filepath.Dir(w.path)) == nil
	}
}

// next returns when it is time to look.
func (w *watch) next(ctx context.Context) {
	within := lookEvery
	if w.tells {
		within = lookAnyway
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		select {
		case e, ok := <-w.events:
			if !ok || e.Name == w.path && e.Op.Has(fsnotify.Create) {
				return
			}
		case <-w.lost:
			return
		case <-ctx.Done():
			return
		}
	}
}
