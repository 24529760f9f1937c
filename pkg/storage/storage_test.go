package storage

import (
	"fmt"
	"strings"
	"testing"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
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
		"an EBS volume by its ID":          {find.Find{ID: "vol-0123456789abcdef0"}, " find claim attach" + above},
		"an EBS volume by its tags":        {find.Find{Tags: map[string]string{"cluster": "orders"}}, " find claim attach" + above},
		"an EBS volume by its device name": {find.Find{Attached: "/dev/sdf"}, " find claim attach" + above},
		"instance store":                   {find.Find{Store: find.OneStore}, above},
		"a disk by its serial":             {find.Find{Serial: "vol0123456789abcdef0"}, above},
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

// The model is looked at once more before a filesystem is made: a disk may have come in the
// place of the one that was found.
func TestNoDiskIsNewInThePlaceOfInstanceStore(t *testing.T) {
	v := &Volume{Volume: role.Volume{Find: find.Find{Store: find.OneStore}}}
	for model, want := range map[string]string{
		host.InstanceStore:           "<nil>",
		"Amazon Elastic Block Store": `disk vol1 is no instance store: it reports the model "Amazon Elastic Block Store", and nothing is made on it`,
		"":                           `disk vol1 is no instance store: it reports the model "", and nothing is made on it`,
	} {
		err := (&local{volume: v}).isNew(t.Context(), host.Disk{Serial: "vol1", Model: model})
		if fmt.Sprint(err) != want || err != nil && !fault.IsPermanent(err) {
			t.Errorf("%s: got %v", model, err)
		}
	}
}
