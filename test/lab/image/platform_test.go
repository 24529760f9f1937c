package image

import (
	"strings"
	"testing"
)

func TestTheEnvironmentChoosesThePlatform(t *testing.T) {
	t.Setenv(Variable, "")
	if p, err := Chosen(); err != nil || p.Name != "bookworm" {
		t.Errorf("without a choice: got %+v, %v", p, err)
	}
	t.Setenv(Variable, "trixie")
	if p, err := Chosen(); err != nil || p.Systemd != 257 {
		t.Errorf("trixie: got %+v, %v", p, err)
	}
	t.Setenv(Variable, "potato")
	if _, err := Chosen(); err == nil || !strings.Contains(err.Error(), Variable+`: the lab has no platform "potato"`) {
		t.Errorf("potato: got %v", err)
	}
}

func TestEachPlatformHasABaseOfItsOwn(t *testing.T) {
	bases := map[string]string{}
	for _, p := range Platforms() {
		key := key(p.bootstrap("")...)
		if other := bases[key]; other != "" {
			t.Errorf("%s and %s have the same base", p.Name, other)
		}
		bases[key] = p.Name
	}
}
