package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A cache is a folder of folders, KIND-KEY, each made once and never changed. It is safe to delete
// at any time but while machines are made of it. Every entry in use is locked (shared) by its user;
// the builder holds the lock of the whole cache, so what is called build-* without that lock was
// left by a builder that died.
type cache struct{ dir string }

func openCache() (*cache, error) {
	home, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("cannot find a place for the lab's images: %w", err)
	}
	c := &cache{filepath.Join(home, "bootagent", "lab")}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a place for the lab's images: %w", err)
	}
	return c, nil
}

// entry returns the folder of an entry, locked until the closer is closed. If it is not there, build
// makes its content in a folder that gets the entry's name when build succeeds, and the oldest
// entries of the kind are dropped, but for the newest keep.
func (c *cache) entry(ctx context.Context, kind, key string, keep int, log *slog.Logger, build func(tmp string) error) (string, io.Closer, error) {
	dir := filepath.Join(c.dir, kind+"-"+key)
	if lock, err := c.use(dir); err == nil {
		return dir, lock, nil
	}

	// Kinds lock apart, since the builder of an image waits for the base that it needs.
	building, err := lockFile(ctx, filepath.Join(c.dir, kind+".lock"), log)
	if err != nil {
		return "", nil, fmt.Errorf("cannot build the lab's %s: %w", kind, err)
	}
	defer building.Close()
	if lock, err := c.use(dir); err == nil { // another built it while we waited
		return dir, lock, nil
	}

	tmp := filepath.Join(c.dir, "build-"+kind)
	if err := c.remove(ctx, tmp); err != nil {
		return "", nil, err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return "", nil, err
	}
	began := time.Now()
	log.Info("building", "what", kind, "key", key)
	if err := build(tmp); err != nil {
		err = fmt.Errorf("cannot build the lab's %s: %w", kind, err)
		return "", nil, errors.Join(err, c.remove(context.WithoutCancel(ctx), tmp))
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", nil, err
	}
	log.Info("built", "what", kind, "key", key, "took", time.Since(began).Round(time.Second/10))

	lock, err := c.use(dir)
	if err != nil {
		return "", nil, err
	}
	return dir, lock, c.prune(ctx, kind, keep)
}

// use locks an entry (shared) and makes it the newest of its kind.
func (c *cache) use(dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB),
		os.Chtimes(dir, time.Time{}, time.Now()),
	)
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// prune drops the oldest entries of a kind that nobody uses, until keep are left.
func (c *cache) prune(ctx context.Context, kind string, keep int) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var kinds []os.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() && strings.HasPrefix(e.Name(), kind+"-") {
			kinds = append(kinds, info)
		}
	}
	slices.SortFunc(kinds, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, old := range kinds[min(keep, len(kinds)):] {
		dir := filepath.Join(c.dir, old.Name())
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = c.remove(ctx, dir)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("cannot bound the lab's cache: %w", err)
		}
	}
	return nil
}

// remove removes a folder, with what a killed builder left of a root filesystem in it.
func (c *cache) remove(ctx context.Context, dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	return runAsRoot(ctx, "rm", "-rf", "--", dir)
}

// lockFile takes the lock for itself, and says so when it has to wait.
func lockFile(ctx context.Context, path string, log *slog.Logger) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for waiting := false; ; waiting = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, &os.PathError{Op: "flock", Path: path, Err: err}
		}
		if !waiting {
			log.Info("waiting for another build", "lock", path)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("another build holds %s: %w", path, context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
