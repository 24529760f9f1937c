package engine

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/datadir"
	"bootagent/pkg/host"
)

func TestADirectoryOfAnyFilesIsAsTheRoleFileSays(t *testing.T) {
	u, err := user.Current()
	ok(t, err)
	g, err := user.LookupGroupId(u.Gid)
	ok(t, err)
	for name, c := range map[string]struct {
		of    host.Data
		make  func(dir string) error
		state host.DirectoryState
		empty bool
		words []string
	}{
		"empty":           {state: host.Ready, empty: true},
		"only lost+found": {make: func(dir string) error { return os.Mkdir(filepath.Join(dir, "lost+found"), 0o700) }, state: host.Ready, empty: true},
		"anything":        {make: func(dir string) error { return os.Mkdir(filepath.Join(dir, ".topic"), 0o700) }, state: host.Ready},
		"as declared": {
			of: host.Data{Group: g.Name, Mode: "2750"}, make: func(dir string) error { return os.Chmod(dir, 0o750|os.ModeSetgid) }, state: host.Ready, empty: true,
		},
		"another mode": {
			of: host.Data{Mode: "0750"}, make: func(dir string) error { return os.Chmod(dir, 0o755) }, state: host.Unfit, empty: true,
			words: []string{"it has mode 0755, and the role file says 0750", "chmod 0750 -- "},
		},
		"a mode with a bit more": {
			of: host.Data{Mode: "0750"}, make: func(dir string) error { return os.Chmod(dir, 0o750|os.ModeSticky) }, state: host.Unfit, empty: true,
			words: []string{"it has mode 1750"},
		},
		"another group": {
			of: host.Data{Group: "nogroup"}, state: host.Unfit, empty: true, words: []string{"it belongs to group number " + u.Gid, "nogroup has number", "chgrp nogroup -- "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			ok(t, os.Mkdir(dir, 0o700))
			if c.make != nil {
				ok(t, c.make(dir))
			}
			c.of.Engine, c.of.Owner, c.of.Dir = none{}.Name(), u.Username, dir
			got, err := Examine(datadir.Host{}, c.of, host.EngineSettings{})
			ok(t, err)
			if got.State != c.state || got.Empty != c.empty {
				t.Errorf("got %+v", got)
			}
			for _, w := range c.words {
				if !strings.Contains(got.Reason+got.Hint, w) {
					t.Errorf("it does not say %q: %+v", w, got)
				}
			}
		})
	}
	if _, err := Examine(datadir.Host{}, host.Data{Engine: none{}.Name(), Owner: u.Username, Group: "nosuchgroup", Dir: t.TempDir()}, host.EngineSettings{}); err == nil || !strings.Contains(err.Error(), "cannot find the group of a data directory") {
		t.Errorf("got %v", err)
	}
}
