package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"bootagent/test/lab/program"
)

// A cache is a folder of folders, KIND-KEY, each built once and never changed. A person may delete it
// while no machine is made. A user of an entry holds a shared lock of it. A builder holds the lock of
// the kind, so if nobody holds that lock, the folder build-KIND is left of a builder that died.
type cache struct{ dir string }

func openCache() (*cache, error) {
	home, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("cannot find a folder for the lab's images: %w", err)
	}
	c := &cache{filepath.Join(home, "bootagent", "lab")}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the folder for the lab's images: %w", err)
	}
	return c, nil
}

// entry returns the folder of an entry, locked until the closer is closed. If the entry does not exist,
// build makes its content in a folder that is renamed when build succeeds. The cache then removes the
// oldest entries of the kind until keep are left, and entries of any kind that nobody has used for long.
func (c *cache) entry(ctx context.Context, kind, key string, keep int, log *slog.Logger, build func(tmp string) error) (string, io.Closer, error) {
	dir := filepath.Join(c.dir, kind+"-"+key)
	if lock, err := c.use(dir); err == nil {
		return dir, lock, nil
	}

	// Each kind has a lock of its own, because the builder of an image waits for the base.
	building, err := lockFile(ctx, filepath.Join(c.dir, kind+".lock"), log)
	if err != nil {
		return "", nil, fmt.Errorf("cannot build the lab's %s: %w", kind, err)
	}
	defer building.Close()
	if lock, err := c.use(dir); err == nil { // another process has built it meanwhile
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

// unusedFor is how long an entry is kept that nobody uses: that of a platform that is tested seldom, or
// of a kind that the lab has no more.
const unusedFor = 30 * 24 * time.Hour

// isEntry matches the name of an entry of any kind: KIND-KEY, with the keys that the lab makes.
var isEntry = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*-[0-9a-f]{16}$`)

// prune removes the oldest entries of a kind until keep are left, and entries of any kind that nobody
// has used for long. It skips entries in use, and what is no entry.
func (c *cache) prune(ctx context.Context, kind string, keep int) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var kinds, unused []os.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil || !e.IsDir():
		case strings.HasPrefix(e.Name(), kind+"-"):
			kinds = append(kinds, info)
		case isEntry.MatchString(e.Name()) && time.Since(info.ModTime()) > unusedFor:
			unused = append(unused, info)
		}
	}
	slices.SortFunc(kinds, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, old := range append(unused, kinds[min(keep, len(kinds)):]...) {
		dir := filepath.Join(c.dir, old.Name())
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = c.remove(ctx, dir)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("cannot remove an old entry of the lab's cache: %w", err)
		}
	}
	return nil
}

// remove removes a folder. It may contain files of other users, left of a root filesystem.
func (c *cache) remove(ctx context.Context, dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	return program.RunAsRoot(ctx, "rm", "-rf", "--", dir)
}

// lockFile takes an exclusive lock, and logs it if it has to wait.
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
