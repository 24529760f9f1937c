package guard

import (
	"slices"
	"testing"

	"bootagent/pkg/systemd/unitfile/unitfiletest"
)

// Every instance of a template that is held with an instance waits for the grant of
// that instance; one that is a service of the role waits for its own.
func TestATemplateIsHeldWhole(t *testing.T) {
	dir := machine{
		"usr/lib/systemd/system/mariadb@.service": service,
		"usr/lib/systemd/system/mariadb@.socket":  "[Socket]\nListenStream=/run/%i.sock\n",
	}.root(t)
	holds := []Hold{hold("mariadb@orders.service"), hold("mariadb@log.service"), {Unit: "mariadb@.service", Service: "mariadb@orders.service"}}
	install_(t, dir, holds...)
	problems, err := Check(dir, holds)
	if err != nil || len(problems) > 0 {
		t.Fatalf("got %v, %v", problems, err)
	}
	tree, err := readTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	units, said := unitfiletest.Analyze(t, "LC_ALL=C", "--root="+dir, "mariadb@orders.service", "mariadb@log.service", "mariadb@other.service", "mariadb@other.socket")
	for name, by := range map[string]string{
		"mariadb@orders.service": "mariadb@orders.service", "mariadb@log.service": "mariadb@log.service",
		"mariadb@other.service": "mariadb@.service", "mariadb@other.socket": "mariadb@.socket",
	} {
		if units[name] == nil {
			t.Fatalf("systemd did not load %s:\n%s", name, said)
		}
		want := []string{tree.Join(Path(by))}
		if got := units.Values(name, "DropIn Path"); !slices.Equal(got, want) {
			t.Errorf("systemd has the drop-ins %v of %s, not %v", got, name, want)
		}
		file := ""
		for _, s := range tree.Settings(name) {
			if s.Key == "AssertPathExists" {
				file = s.Value
			}
		}
		granted := "mariadb@orders.service"
		if by == "mariadb@log.service" {
			granted = by
		}
		if file != GrantFile(granted) {
			t.Errorf("%s waits for %s", name, file)
		}
	}
}
