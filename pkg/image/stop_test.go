package image

import (
	"os/exec"
	"strings"
	"testing"
)

// A database that is killed while it writes its cache is not lost, but recovers
// for long.
func TestALongerStopLimitIsSuggestedForADatabase(t *testing.T) {
	const unit, dropIn = "usr/lib/systemd/system/mariadb.service", "etc/systemd/system/mariadb.service.d/x.conf"
	for _, c := range []struct {
		name  string
		files map[string]string
		has   string // "" is no suggestion
	}{
		{"no setting", nil, "within the default of systemd, 1m30s;"},
		{"a default of the machine", map[string]string{"etc/systemd/system.conf.d/a.conf": "[Manager]\nDefaultTimeoutStopSec=5min\n"}, "within the default of systemd, 5m0s;"},
		{"a default that is enough", map[string]string{"etc/systemd/system.conf": "[Manager]\nDefaultTimeoutStopSec=20min\n"}, ""},
		{"a short limit", map[string]string{dropIn: "[Service]\nTimeoutStopSec=1min 30s\n"}, "within 1m30s (TimeoutStopSec=);"},
		{"a short limit of start and stop", map[string]string{dropIn: "[Service]\nTimeoutSec=600\n"}, "within 10m0s (TimeoutStopSec=);"},
		{"enough", map[string]string{dropIn: "[Service]\nTimeoutStopSec=900\n"}, ""},
		{"no limit", map[string]string{dropIn: "[Service]\nTimeoutStopSec=infinity\n"}, ""},
		{"0 is no limit", map[string]string{dropIn: "[Service]\nTimeoutSec=0\n"}, ""},
		{"no database", map[string]string{"etc/bootagent/roles.d/db.yaml": strings.Replace(dbRole, "mariadb.service: {", "mariadb.service: {needs: [secret.sql], ", 1)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PATH", t.TempDir())
			files := whole()
			files[unit] = strings.Replace(files[unit], "[Install]", "[Service]\n[Install]", 1)
			for name, text := range c.files {
				files[name] = text
			}
			got := check(t, load(t, build(t, files), true)).Suggested
			if c.has == "" {
				if len(got) > 0 {
					t.Errorf("suggests %q", got)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0], "mariadb.service runs a database, and systemd ends it when it has not stopped "+c.has) {
				t.Errorf("suggests %q", got)
			}
		})
	}
}

// The command of the suggestion, pasted, ends the suggestion.
func TestTheSuggestionOfAStopLimitCanBePasted(t *testing.T) {
	i := load(t, build(t, whole()), true)
	suggested := check(t, i).Suggested
	if len(suggested) != 1 {
		t.Fatalf("suggests %q", suggested)
	}
	_, command, _ := strings.Cut(suggested[0], "15 minutes: ")
	if out, err := exec.Command("/bin/sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	if again := check(t, i).Suggested; len(again) > 0 {
		t.Errorf("suggests %q", again)
	}
}
