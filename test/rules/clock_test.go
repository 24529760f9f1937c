package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wallTimes are the places that make times of the clock on the wall: read from
// a text, or without their reading of the kernel's monotonic clock. They are
// told or kept, and never waited for: somebody may set the clock by a day while
// the machine boots.
var wallTimes = map[string]string{
	"pkg/secret/secrets.go Local":       "told: when the ciphertext was cached",
	"pkg/machine/disks.go Local":        "told: when a disk will have been read",
	"cmd/bootagent/timeline.go Local":   "told: when the machine was started",
	"pkg/agent/identify.go Local":       "told: when the answer was kept",
	"pkg/graph/clock.go Round":          "compared, to see that the clock was set",
	"pkg/storage/stop/stop.go Local":    "told: when services stopped",
	"cmd/bootagent/release.go Truncate": "kept: when the volumes were released",
	"cmd/bootagent/release.go UTC":      "kept: when the volumes were released",
	"pkg/bypass/byhand/byhand.go UTC":   "kept: when a bypass was given",
	"pkg/bypass/byhand/byhand.go Local": "told: when a bypass was given",
	"pkg/storage/whose.go Truncate":     "kept: in the ledger",
	"pkg/storage/whose.go UTC":          "kept: in the ledger",
	"pkg/aws/imds/credentials.go UTC":   "told: when credentials expired",
	"pkg/aws/imds/cache.go Truncate":    "kept: when the answer was",
	"pkg/aws/imds/cache.go UTC":         "kept: when the answer was",
	"pkg/report/report.go Round":        "compared, to see that the clock was set",
	"pkg/report/report.go UTC":          "told: since when",
	"pkg/status/process.go Truncate":    "told: when the agent was started",
	"pkg/status/process.go UTC":         "told: when the agent was started",
	"pkg/status/status.go Local":        "told",
	"pkg/storage/ebs/attach.go Local":   "told: since when another has the volume",
}

// stripping are the functions of package time, and the methods of its Time,
// whose results have no reading of the monotonic clock, or need not have one.
var (
	ofTime  = []string{"Unix", "UnixMilli", "UnixMicro", "Date", "Parse", "ParseInLocation"}
	ofATime = []string{"UTC", "Local", "In", "Round", "Truncate", "AddDate"}
)

func TestNoDeadlineComesOfTheClockOnTheWall(t *testing.T) {
	found := make(map[string]bool)
	for _, dir := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if f := wallTime(call); f != "" {
						found[name+" "+f] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for where := range found {
		if wallTimes[where] == "" {
			t.Errorf("%s makes a time of the clock on the wall: if it is only told or kept, say so in wallTimes; no deadline may come of it", where)
		}
	}
	for where := range wallTimes {
		if !found[where] {
			t.Errorf("%s makes no such time any more", where)
		}
	}
}

// wallTime is the function of a call that makes a time without a monotonic
// reading, or "". A duration is rounded and truncated to a unit as well, which
// stands in it.
func wallTime(call *ast.CallExpr) string {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if of, ok := f.X.(*ast.Ident); ok && of.Name == "time" {
		if slices.Contains(ofTime, f.Sel.Name) {
			return "time." + f.Sel.Name
		}
		return ""
	}
	switch f.Sel.Name {
	case "Round":
		if zero, ok := call.Args[0].(*ast.BasicLit); !ok || zero.Value != "0" {
			return "" // of a duration: a time is rounded to nothing but by 0
		}
	case "Truncate":
		if unit, ok := call.Args[0].(*ast.SelectorExpr); !ok || unit.Sel.Name != "Second" {
			return "" // of a file
		}
	}
	if slices.Contains(ofATime, f.Sel.Name) {
		return f.Sel.Name
	}
	return ""
}
