// Package settings reads /etc/bootagent/agent.yaml, what the agent itself is
// set to. Everything in it may be left out, and so may the file.
package settings

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bootagent/pkg/strictyaml"
)

// Settings are those of the agent.
type Settings struct {
	UserDataFile string        // absolute path of the file that holds the user-data
	ReadyWithin  time.Duration // the longest that the boot is held up for the role
	DefaultRole  string        // role of an instance whose user-data selects none, or ""
}

// longestReadyWithin bounds how long an instance may hold up its boot: whoever
// waits for it should hear by then.
const longestReadyWithin = time.Hour

// Default gives the settings of an agent that nobody has set.
func Default() Settings {
	return Settings{UserDataFile: "/etc/bootagent/user-data", ReadyWithin: time.Minute}
}

// Load reads the settings from a file. A file that does not exist leaves the
// defaults. What is wrong in the file is told as strictyaml.Errors.
func Load(path string) (Settings, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return Settings{}, err
	}
	return decode(path, src)
}

func decode(file string, src []byte) (Settings, error) {
	doc := strictyaml.Parse(file, src)
	root := doc.Root("the settings")
	settings := Default()
	if v := root.Take("user-data"); v.Given() {
		userData := v.Map("user-data")
		file := userData.Take("file")
		if path, ok := file.Text(); ok {
			settings.UserDataFile = path
			if !filepath.IsAbs(path) || filepath.Clean(path) != path {
				file.Failf("the file of user-data has to be an absolute path without . and .., not %s", strictyaml.Quote(path))
			}
		}
		userData.Done()
	}
	if within, ok := root.Take("ready-within").Duration(longestReadyWithin); ok {
		settings.ReadyWithin = within
	}
	if role, ok := root.Take("default-role").Name(); ok {
		settings.DefaultRole = role
	}
	root.Done()
	if err := doc.Err(); err != nil {
		return Settings{}, err
	}
	return settings, nil
}
