package machine

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
)

func TestWhatIsRecordedIsThisInstancesOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "volumes.json")
	mine, find := records{file, "i-1", slog.New(slog.DiscardHandler)}, host.Find{Tags: map[string]string{"cluster": "orders"}}
	if id, err := mine.Recorded("data", find); id != "" || err != nil {
		t.Errorf("before anything: %q, %v", id, err)
	}
	if err := errors.Join(mine.Record("data", find, "vol-1"), mine.Record("logs", host.Find{ID: "vol-2"}, "vol-2")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who  records
		name string
		find host.Find
		want name.VolumeID
	}{
		{mine, "data", find, "vol-1"},
		{mine, "logs", host.Find{ID: "vol-2"}, "vol-2"},
		{mine, "data", host.Find{Tags: map[string]string{"cluster": "other"}}, ""}, // the role means another now
		{mine, "more", find, ""},
		{records{file, "i-2", slog.New(slog.DiscardHandler)}, "data", find, ""}, // an image carries another's records
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
