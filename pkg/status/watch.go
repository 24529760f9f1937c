package status

import (
	"context"
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
		w.Watcher = watcher
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

// A watch is the kernel's of a file's folder: the file is another one with each
// change.
type watch struct {
	*fsnotify.Watcher // nil where there is none to be had
	path              string
	tells             bool // the folder is there, and watched
}

func (w *watch) add() {
	if w.Watcher != nil && !w.tells {
		w.tells = w.Add(filepath.Dir(w.path)) == nil
	}
}

// next returns when it is time to look.
func (w *watch) next(ctx context.Context) {
	if !w.tells {
		sleep(ctx, lookEvery)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookAnyway)
	defer cancel()
	for {
		select {
		case e, ok := <-w.Events:
			if !ok || e.Name == w.path && e.Op.Has(fsnotify.Create) {
				return
			}
		case <-w.Errors: // some were lost
			return
		case <-ctx.Done():
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
