package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestAPlainBuildKnowsItsVersion(t *testing.T) {
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for want, info := range map[string]debug.BuildInfo{
		"v1.2.3":                 {Main: debug.Module{Version: "v1.2.3"}, Settings: vcs},
		"0123456789abcdef+dirty": {Main: debug.Module{Version: "(devel)"}, Settings: vcs},
		"0123456789abcdef":       {Settings: vcs[:1]},
		"unknown":                {Main: debug.Module{Version: "(devel)"}, Settings: vcs[1:]},
	} {
		if got := versionOf(&info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
