package records

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
)

func newRecords(file, instance string) *Records {
	return New(file, instance, slog.New(slog.DiscardHandler))
}

func TestATagThatWasReadIsRecorded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "volumes.json")
	mine, find := newRecords(file, "i-1"), host.Find{ID: "vol-1"}
	if value, there, err := mine.RecordedTag("vol-1", "server-id"); value != "" || there || err != nil {
		t.Errorf("before anything: %q, %v, %v", value, there, err)
	}
	if err := errors.Join(mine.Record("data", find, "vol-1"), mine.RecordTag("vol-1", "server-id", "7"), mine.RecordTag("vol-2", "server-id", "8"),
		mine.RecordTag("vol-1", "server-id", "9"), mine.RecordTag("vol-1", "empty", "")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who       *Records
		id        name.VolumeID
		key, want string
		there     bool
	}{
		{mine, "vol-1", "server-id", "9", true},
		{mine, "vol-2", "server-id", "8", true},
		{mine, "vol-1", "empty", "", true},
		{mine, "vol-2", "empty", "", false},
		{mine, "vol-3", "server-id", "", false},
		{newRecords(file, "i-2"), "vol-1", "server-id", "", false}, // an image carries another's records
	} {
		if value, there, err := c.who.RecordedTag(c.id, c.key); value != c.want || there != c.there || err != nil {
			t.Errorf("%s of %s by %s: %q, %v, %v", c.key, c.id, c.who.instance, value, there, err)
		}
	}
	if id, err := mine.Recorded("data", find); id != "vol-1" || err != nil {
		t.Errorf("the volume is %q, %v", id, err)
	}
}

func TestWhatSeveralVolumesRecordAtOnceIsAllThere(t *testing.T) {
	mine := newRecords(filepath.Join(t.TempDir(), "volumes.json"), "i-1")
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := mine.RecordTag(name.VolumeID(fmt.Sprint("vol-", i)), "a", "b"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(mine.read().Tags); n != 20 {
		t.Errorf("%d of 20 are there", n)
	}
}

func TestWhatIsRecordedIsThisInstancesOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "volumes.json")
	mine, find := newRecords(file, "i-1"), host.Find{Tags: map[string]string{"cluster": "orders"}}
	if id, err := mine.Recorded("data", find); id != "" || err != nil {
		t.Errorf("before anything: %q, %v", id, err)
	}
	if err := errors.Join(mine.Record("data", find, "vol-1"), mine.Record("logs", host.Find{ID: "vol-2"}, "vol-2")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who  *Records
		name string
		find host.Find
		want name.VolumeID
	}{
		{mine, "data", find, "vol-1"},
		{mine, "logs", host.Find{ID: "vol-2"}, "vol-2"},
		{mine, "data", host.Find{Tags: map[string]string{"cluster": "other"}}, ""}, // the role means another now
		{mine, "more", find, ""},
		{newRecords(file, "i-2"), "data", find, ""}, // an image carries another's records
	} {
		if id, err := c.who.Recorded(c.name, c.find); id != c.want || err != nil {
			t.Errorf("%s of %s by %v: %q, %v; want %q", c.name, c.who.instance, c.find, id, err, c.want)
		}
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := mine.Recorded("data", find); id != "" || err != nil {
		t.Errorf("a broken file is as none: %q, %v", id, err)
	}
}
