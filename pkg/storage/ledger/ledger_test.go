package ledger

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

func disk() Disk {
	return Disk{Name: "data", Role: "mysql", Serial: "vol1", Volume: "vol-1", Filesystem: "xfs", UUID: "u", Machine: "i-2", Exclusive: true, LookAt: "look"}
}

// What a ledger says is somebody's else: a hint that is pasted runs nothing of it.
func TestWhatALedgerNamesIsQuotedInCommands(t *testing.T) {
	for name, c := range map[string]struct {
		ledger Ledger
		want   string
	}{
		"a volume": {Ledger{Volume: "x; rm -rf /", UUID: "u", Role: "mysql"}, "bootagent adopt data --as-copy-of 'x; rm -rf /';"},
		"a role":   {Ledger{Volume: "vol-1", UUID: "u", Role: "$(reboot)"}, "bootagent adopt data --from-role '$(reboot)';"},
		"both":     {Ledger{Volume: "a b", UUID: "u", Role: "c'd"}, `bootagent adopt data --as-copy-of 'a b' --from-role 'c'\''d';`},
	} {
		src, err := c.ledger.Encode()
		if err != nil {
			t.Fatal(err)
		}
		l, doubt := disk().Judge(src)
		if l == nil || doubt == nil {
			t.Fatalf("%s: got %v, %v", name, l, doubt)
		}
		if hint := fault.HintOf(doubt.Err()); !strings.Contains(hint, c.want) || !strings.Contains(hint, "nothing was changed") {
			t.Errorf("%s: the hint is %q, want %q in it", name, hint, c.want)
		}
	}
}

// A ledger has to fit into what ext4 has room for, however often it is adopted.
func TestALedgerStaysSmall(t *testing.T) {
	at := time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)
	l := Ledger{Volume: "vol-0123456789abcdef0", UUID: strings.Repeat("u", 36), Role: "mysql", Made: &at}
	for n := range 20 {
		l.Volume = fmt.Sprintf("vol-%017x", n)
		src, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		d := disk()
		d.UUID = l.UUID
		_, doubt := d.Judge(src)
		order, err := doubt.Order(Claim{CopyOf: l.Volume}, strings.Repeat("somebody", 100))
		if err != nil || !order.Ends(doubt) {
			t.Fatal(err)
		}
		l = doubt.Adopted(order, at)
		if src, err := l.Encode(); err != nil || len(src) > 2500 {
			t.Errorf("after %d adoptions it has %d bytes: %v", n+1, len(src), err)
		}
		if last := l.Adoptions[len(l.Adoptions)-1]; last.Was.Volume != fmt.Sprintf("vol-%017x", n) || last.Why != "a copy of volume "+last.Was.Volume {
			t.Errorf("the last adoption is %+v", last)
		}
	}
}

// An adoption changes nothing of the ledger that it was made of, which is kept.
func TestAnAdoptionLeavesTheFormerLedger(t *testing.T) {
	was := Ledger{Volume: "vol-2", UUID: "u", Role: "mysql", Data: map[string]Data{"a": {Ready: true}}, Adoptions: make([]Adoption, 0, 5)}
	src, err := was.Encode()
	if err != nil {
		t.Fatal(err)
	}
	_, doubt := disk().Judge(src)
	order, err := doubt.Order(Claim{CopyOf: "vol-2"}, "alice")
	if err != nil {
		t.Fatal(err)
	}
	l := doubt.Adopted(order, time.Now())
	l.Data["b"] = Data{}
	if before, err := doubt.Ledger.Encode(); err != nil || !slices.Equal(before, src) || len(l.Data) != 2 || !l.Data["a"].Ready {
		t.Errorf("it is %s, %v", before, err)
	}
	if order.Ends(nil) || (*Order)(nil).Ends(doubt) {
		t.Error("no order ends no doubt")
	}
}

// docs/adopt.md shows what a person is told.
func TestTheReportIsAsTheGuideShowsIt(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/adopt.md")
	if err != nil {
		t.Fatal(err)
	}
	d := Disk{
		Name: "data", Role: "mysql", Serial: "vol0fedcba9876543210", Volume: "vol-0fedcba9876543210", Size: 100 << 30,
		Filesystem: "xfs", UUID: "6d2f6f1c-6a55-4f8c-9d3e-0b7f3c1a2b4d", Used: 100 << 30, Machine: "i-2", Exclusive: true,
	}
	was := Ledger{
		Volume: "vol-0123456789abcdef0", UUID: d.UUID, Role: "mysql", Instance: "i-0123456789abcdef0",
		Data: map[string]Data{"mysql": {Engine: "mariadb", Version: "10.11.6", Ready: true}},
	}
	src, err := was.Encode()
	if err != nil {
		t.Fatal(err)
	}
	_, doubt := d.Judge(src)
	report := doubt.Holding([]string{"mysql"}).Report(
		[]host.DirectoryReport{{State: host.Ready, Version: "10.11.6"}}, []host.Data{{Name: "mysql", Engine: "mariadb", Dir: "mysql"}}, "snapshot snap-0a1b2c3d4e5f60718")
	if !strings.Contains(string(guide), "```\n"+report+"Nothing was changed yet; to do it: ") {
		t.Errorf("the guide does not show this:\n%s", report)
	}
}
