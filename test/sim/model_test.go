package sim

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/engine"
	"bootagent/pkg/host"
)

// A shelf is files that hold one directory, /data.
type shelf struct{ directory }

func (s shelf) Lstat(p string) (fs.FileMode, uint32, error) {
	m := models[s.engine]
	switch name := strings.TrimPrefix(p, "/data/"); {
	case p == "/data" || slices.Contains(m.dirs, name) && slices.Contains(s.names(), name):
		return fs.ModeDir | 0o700, m.uid, nil
	case slices.Contains(s.names(), name):
		return 0, m.uid, nil
	}
	return 0, 0, fs.ErrNotExist
}

func (s shelf) Names(p string) (names []string, err error) {
	if p != "/data" && !slices.Contains(models[s.engine].dirs, strings.TrimPrefix(p, "/data/")) {
		return nil, fs.ErrNotExist
	}
	for _, name := range s.names() {
		if path.Dir("/data/"+name) == p {
			names = append(names, path.Base(name))
		}
	}
	return names, nil
}

func (s shelf) Head(p string, _ int) []byte       { return s.head(strings.TrimPrefix(p, "/data/")) }
func (s shelf) Link(string) string                { return "" }
func (s shelf) Modified(string) time.Time         { return time.Time{} }
func (s shelf) Group(string) (uint32, error)      { return 5, nil }
func (s shelf) GroupOf(string) (uint32, error)    { return 5, nil }
func (s shelf) Owner(name string) (uint32, error) { return models[s.engine].uid, nil }

// What the world takes for a state of a directory, its engine says of it.
func TestEachStateOfEachModelIsWhatItsEngineSays(t *testing.T) {
	for name, m := range models {
		for _, c := range []struct {
			directory
			skip  bool
			state host.DirectoryState
			says  string
		}{
			{directory{state: host.Ready}, false, host.Ready, ""},
			{directory{state: host.Damaged}, m.damaged == nil, host.Damaged, ""},
			{directory{state: host.Damaged, begun: true}, m.unfinished == nil, host.Damaged, "did not finish"},
			{directory{state: host.Ready, newer: true}, m.newer == "", host.Unfit, strings.TrimSpace(m.newer)},
			{directory{state: host.Ready, older: true}, m.older == "", host.Unfit, strings.TrimSpace(m.older)},
		} {
			if c.skip {
				continue
			}
			c.engine = name
			got, err := engine.Examine(shelf{c.directory}, host.Data{Engine: name, Owner: m.owner, Dir: "/data"}, m.settings)
			if err != nil || got.State != c.state || !strings.Contains(got.Reason, c.says) {
				t.Errorf("%s, %+v: got %+v, %v", name, c.directory, got, err)
			}
		}
	}
}
