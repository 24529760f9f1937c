// Package records keeps what an instance has to know of its volumes in its next boot:
// which EBS volumes it had mounted, their tags that were read, and the filesystems that
// it made on other disks. These are files of the machine's own disk.
package records

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
	"sync"

	"github.com/google/renameio/v2"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
)

// Records are those of one instance, in one file.
type Records struct {
	file     string
	instance string // id of the instance
	log      *slog.Logger

	changing sync.Mutex // steps of several volumes record at once
}

// New returns the records in a file of the instance with an ID.
func New(file, instance string, log *slog.Logger) *Records {
	return &Records{file: file, instance: instance, log: log}
}

var _ host.Records = (*Records)(nil)

// recordsOf is what the file holds.
type recordsOf struct {
	Instance string                   `json:"instance"`
	Volumes  map[string]host.Recorded `json:"volumes"` // by name

	Tags map[name.VolumeID]map[string]string `json:"tags,omitempty"` // that were read
}

// read gives what is recorded of this instance. An image may carry the records
// of another. What can't be read is as nothing: then EC2 is asked.
func (r *Records) read() recordsOf {
	var all recordsOf
	src, err := os.ReadFile(r.file)
	if err == nil {
		err = json.Unmarshal(src, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("cannot tell which volumes were mounted before, and asks EC2", "error", err)
	}
	if err != nil || all.Instance != r.instance || all.Volumes == nil {
		return recordsOf{Instance: r.instance, Volumes: make(map[string]host.Recorded)}
	}
	return all
}

// All returns all that are recorded of this instance.
func (r *Records) All() map[string]host.Recorded { return r.read().Volumes }

// Recorded returns which EBS volume the instance had mounted for a volume that was
// found like this, or "".
func (r *Records) Recorded(volume string, find host.Find) (name.VolumeID, error) {
	if known := r.read().Volumes[volume]; reflect.DeepEqual(known.Find, find) {
		return known.ID, nil
	}
	return "", nil
}

// Record keeps which EBS volume is mounted for a volume.
func (r *Records) Record(volume string, find host.Find, id name.VolumeID) error {
	err := r.change(func(all *recordsOf) { all.Volumes[volume] = host.Recorded{Find: find, ID: id} })
	if err != nil {
		return fmt.Errorf("cannot record which volume is mounted: %w", err)
	}
	return nil
}

// RecordedTag returns a tag of an EBS volume as it was read last.
func (r *Records) RecordedTag(id name.VolumeID, key string) (value string, there bool, err error) {
	value, there = r.read().Tags[id][key]
	return value, there, nil
}

// RecordTag keeps a tag of an EBS volume.
func (r *Records) RecordTag(id name.VolumeID, key, value string) error {
	err := r.change(func(all *recordsOf) {
		if all.Tags == nil {
			all.Tags = make(map[name.VolumeID]map[string]string)
		}
		if all.Tags[id] == nil {
			all.Tags[id] = make(map[string]string)
		}
		all.Tags[id][key] = value
	})
	if err != nil {
		return fmt.Errorf("cannot record a tag that was read: %w", err)
	}
	return nil
}

func (r *Records) change(do func(*recordsOf)) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	all := r.read()
	do(&all)
	src, err := json.Marshal(all)
	if err == nil {
		err = renameio.WriteFile(r.file, append(src, '\n'), 0o600)
	}
	return err
}

// Intents is a directory with the intents of disks that are not EBS volumes.
type Intents string

var _ host.Intents = Intents("")

func (i Intents) file(serial string) string { return filepath.Join(string(i), serial+".json") }

// Intent returns the intent of a disk, or the zero Intent.
func (i Intents) Intent(_ context.Context, serial string) (intent host.Intent, err error) {
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

// Intend keeps the intent of a disk. When it returns, that is on the machine's disk.
func (i Intents) Intend(_ context.Context, serial string, intent host.Intent) error {
	src, err := json.Marshal(intent)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(i), 0o700); err != nil {
		return err
	}
	if err := renameio.WriteFile(i.file(serial), src, 0o600); err != nil {
		return fmt.Errorf("cannot note that a filesystem is made on disk %s: %w", serial, err)
	}
	// The name has to be on the disk before the filesystem is.
	dir, err := os.Open(string(i))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
