package status

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// lookEvery is how often to look where the file's folder is not there yet.
	lookEvery = 200 * time.Millisecond

	// lookAnyway is the net below what the kernel tells.
	lookAnyway = 10 * time.Second
)

// Watch says when the status file may have changed, until ctx ends. It need not
// be there yet. An error means that the kernel has no watches left
// (fs.inotify.max_user_instances).
func Watch(ctx context.Context, path string) (<-chan struct{}, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	changed := make(chan struct{}, 1)
	go func() {
		defer watcher.Close()
		watched := false
		for {
			// The file is another one with each change: it is its folder that tells.
			if !watched {
				watched = watcher.Add(filepath.Dir(path)) == nil
			}
			select {
			case changed <- struct{}{}:
			default:
			}
			if !next(ctx, watcher, path, watched) {
				return
			}
		}
	}()
	return changed, nil
}

// next waits until it is time to look, and is false when ctx ended.
func next(ctx context.Context, watcher *fsnotify.Watcher, path string, watched bool) bool {
	every := lookEvery
	if watched {
		every = lookAnyway
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case e := <-watcher.Events:
			if e.Name == path && e.Op.Has(fsnotify.Create) {
				return true
			}
		case <-watcher.Errors: // events were lost
			return true
		case <-timer.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
}
