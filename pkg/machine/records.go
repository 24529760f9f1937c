package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"

	"github.com/google/renameio/v2"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
)

// records are files of this machine's own disk, of this very instance.
type records struct {
	file     string
	instance string // id of the instance
	log      *slog.Logger
}

// recordsOf is what the file holds.
type recordsOf struct {
	Instance string                   `json:"instance"`
	Volumes  map[string]host.Recorded `json:"volumes"` // by name
}

// read gives what is recorded of this instance. An image may carry the records
// of another. What can't be read is as nothing: then EC2 is asked.
func (r records) read() recordsOf {
	var all recordsOf
	src, err := os.ReadFile(r.file)
	if err == nil {
		err = json.Unmarshal(src, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("cannot tell which volumes were mounted before, and asks EC2", "error", err)
	}
	if err != nil || all.Instance != r.instance || all.Volumes == nil {
		return recordsOf{r.instance, make(map[string]host.Recorded)}
	}
	return all
}

func (r records) Recorded(volume string, find host.Find) (name.VolumeID, error) {
	if known := r.read().Volumes[volume]; reflect.DeepEqual(known.Find, find) {
		return known.ID, nil
	}
	return "", nil
}

func (r records) Record(volume string, find host.Find, id name.VolumeID) error {
	all := r.read()
	all.Volumes[volume] = host.Recorded{Find: find, ID: id}
	src, err := json.Marshal(all)
	if err == nil {
		err = renameio.WriteFile(r.file, append(src, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot record which volume is mounted: %w", err)
	}
	return nil
}

func (r records) All() map[string]host.Recorded { return r.read().Volumes }

// intents are files of this machine's own disk.
type intents struct{ dir string }

func (i intents) file(serial string) string { return filepath.Join(i.dir, serial+".json") }

func (i intents) Intent(_ context.Context, serial string) (intent host.Intent, err error) {
	src, err := os.ReadFile(i.file(serial))
	if errors.Is(err, fs.ErrNotExist) {
		return intent, nil
	}
	if err == nil {
		err = json.Unmarshal(src, &intent)
	}
	if err != nil {
		err = fmt.Errorf("cannot tell whether a filesystem was made on disk %s before: %w", serial, err)
	}
	return intent, err
}

func (i intents) Intend(_ context.Context, serial string, intent host.Intent) error {
	src, err := json.Marshal(intent)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(i.file(serial), src, 0o600); err != nil {
		return fmt.Errorf("cannot note that a filesystem is made on disk %s: %w", serial, err)
	}
	// The name has to be on the disk before the filesystem is.
	dir, err := os.Open(i.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
