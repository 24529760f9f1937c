package service

import (
	"testing"
	"time"
)

func TestFaultsComeInOrderAndEnd(t *testing.T) {
	var f Faults
	a, b := Fault{Status: 500}, Fault{Status: 503}
	f.Fail("Attach*", a, 2)
	f.Fail("AttachVolume", b, 1)
	f.Fail("*", Fault{Delay: time.Second}, Always)
	late := func(fault Fault) Fault {
		fault.Delay = time.Second
		return fault
	}
	for n, want := range []Fault{late(a), late(a), late(b), late(Fault{})} {
		if got := f.next("AttachVolume"); got != want {
			t.Errorf("call %d: %+v, want %+v", n+1, got, want)
		}
	}
	f.Fail("*", a, Always)
	f.Blackhole()
	if got := f.next("DetachVolume"); got != Silence {
		t.Errorf("in a black hole: %+v", got)
	}
	f.Heal()
	if got := f.next("DetachVolume"); got != (Fault{}) {
		t.Errorf("healed: %+v", got)
	}
}
