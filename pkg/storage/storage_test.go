package storage

import (
	"strings"
	"testing"

	"bootagent/pkg/graph"
	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
)

// An EBS volume has one name in ledgers, whichever way the role finds it.
func TestALedgerNamesAnEBSVolumeByItsID(t *testing.T) {
	for serial, want := range map[string]string{
		"vol0123456789abcdef0": "vol-0123456789abcdef0",
		"vol01234567":          "vol-01234567",
		"vol1":                 "vol1",
		"S2-7@x+y#z":           "S2-7@x+y#z",
	} {
		if got := ledgerVolume(serial); got != want {
			t.Errorf("the ledger of disk %s names %q, want %q", serial, got, want)
		}
	}
}

// Where the disk comes from decides about the first steps, and nothing else.
func TestASourceAddsWhatBringsTheDisk(t *testing.T) {
	const above = " device prove prepare mount ledger intent"
	for name, c := range map[string]struct {
		find  find.Find
		steps string
	}{
		"an EBS volume by its ID":   {find.Find{ID: "vol-0123456789abcdef0"}, " find claim attach" + above},
		"an EBS volume by its tags": {find.Find{Tags: map[string]string{"cluster": "orders"}}, " find claim attach" + above},
		"a disk by its serial":      {find.Find{Serial: "vol0123456789abcdef0"}, above},
	} {
		t.Run(name, func(t *testing.T) {
			g := graph.New()
			v := Add(Config{Graph: g}, role.Volume{Name: "data", Find: c.find})
			var steps string
			for line := range strings.Lines(g.String()) {
				if step, ok := strings.CutPrefix(line, "volume data: "); ok {
					steps += " " + strings.TrimSpace(step)
				}
			}
			if steps != c.steps {
				t.Errorf("the steps are%s, want%s", steps, c.steps)
			}
			if v.Device().Name() != "volume data: device" || v.Ready().Name() != "volume data: ledger" {
				t.Errorf("all starts over from %q, and %q is the last that others need", v.Device().Name(), v.Ready().Name())
			}
		})
	}
}
