package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"runtime/debug"

	"bootagent/pkg/command"
)

// version is set by the linker: -X main.version=1.2.3.
var version string

func versionCommand() command.Command {
	return command.Command{
		Name:     "version",
		Summary:  "print the version",
		About:    "Print the version of this program. bootagent --version does the same.",
		Examples: []string{"bootagent version"},
		Setup: func(*flag.FlagSet) command.Action {
			return func(_ context.Context, _ []string, out io.Writer) error {
				_, err := fmt.Fprintln(out, "bootagent", programVersion())
				return err
			}
		},
	}
}

// programVersion returns the version that the linker has set, or else what go
// build knows.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return versionOf(info)
}

// versionOf returns the version of the module, or else the revision that the
// program was built from.
func versionOf(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	var revision, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision != "" {
		revision += dirty
	}
	return cmp.Or(revision, "unknown")
}
