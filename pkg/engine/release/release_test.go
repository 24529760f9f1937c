package release

import (
	"slices"
	"testing"
)

// The rules are those of MySQL's manual, "Upgrade Paths". MySQL 9.7.4 itself says
// for a newer dictionary: "Cannot downgrade from 90800 to 90704. Downgrade is only
// permitted between patch releases", and it opened one of 9.7.5.
func TestMySQLOpensTheDataThatItsManualSays(t *testing.T) {
	for _, c := range []struct {
		used, installed string
		opens           bool
		steps           []string
	}{
		{"8.0.36", "8.0.40", true, nil},
		{"8.0.40", "8.0.36", false, nil},
		{"8.0.36", "8.4.3", true, nil},
		{"8.0.36", "8.3.0", true, nil},
		{"8.3.0", "8.4.3", true, nil},
		{"8.4.5", "8.4.3", true, nil},
		{"8.4.3", "9.0.1", true, nil},
		{"8.4.3", "9.7.4", true, nil},
		{"9.0.1", "9.7.4", true, nil},
		{"9.7.5", "9.7.4", true, nil},
		{"9.8.0", "9.7.4", false, nil},
		{"9.1.1", "9.1.0", false, nil},
		{"8.0.36", "9.7.4", false, []string{"8.4"}},
		{"8.3.0", "9.7.4", false, []string{"8.4"}},
		{"8.4.3", "10.1.0", false, []string{"9.7"}},
		{"8.0.36", "10.1.0", false, []string{"8.4", "9.7"}},
		{"9.7.4", "10.1.0", true, nil},
		{"9.6.0", "10.1.0", false, []string{"9.7"}},
		{"9.7.4", "8.4.3", false, nil},
		{"5.7.44", "8.0.36", true, nil},
		{"5.7.44", "8.4.3", false, []string{"8.0"}},
		{"5.7.44", "9.7.4", false, []string{"8.0", "8.4"}},
		{"5.6.51", "9.7.4", false, []string{"5.7", "8.0", "8.4"}},
	} {
		used, errU := Parse(c.used)
		installed, errI := Parse(c.installed)
		if errU != nil || errI != nil {
			t.Fatal(errU, errI)
		}
		if got := MySQLOpens(used, installed); got != c.opens {
			t.Errorf("MySQL %s opens %s: %v", c.installed, c.used, got)
		}
		if got := MySQLSteps(used, installed); !slices.Equal(got, c.steps) {
			t.Errorf("from %s to %s: steps %q, want %q", c.used, c.installed, got, c.steps)
		}
	}
}

func TestVersionsAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"10.11.14-MariaDB-0+deb12u2": "10.11.14", "9.7.4-2": "9.7.4", "11.8": "11.8.0", "8.0.36-28 Percona": "8.0.36",
		"": "", "9": "", "<script>": "", ".5.2": "", "99999999999999999999.1": "",
	} {
		got := ""
		if r, err := Parse(text); err == nil {
			got = r.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
