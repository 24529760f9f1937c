package main

import (
	"slices"
	"testing"
	"time"
)

func TestTimesOfAProcessWhoseNameHasBlanks(t *testing.T) {
	u, err := parseStat("214 (a) b) R 1 336 336 0 -1 4194560 290 0 0 0 38 39 7 5 20 0 1 0 18785")
	if err != nil || u.own != 770*time.Millisecond || u.children != 120*time.Millisecond {
		t.Errorf("got %v, %v", u, err)
	}
	for _, line := range []string{"", "1 (cat) R 1", "1 (cat) R 1 2 3 4 5 6 7 8 9 10 11 x 13 14 15 16 17"} {
		if u, err := parseStat(line); err == nil {
			t.Errorf("%q: got %v", line, u)
		}
	}
}

func TestUeventIsThatOfTheOneDisk(t *testing.T) {
	const head = "KERNEL - the kernel uevent\n\n"
	const disk = "KERNEL[52.123456] add      /devices/pci0000:00/0000:02:00.0/nvme/nvme1/nvme1n1 (block)\n"
	at, err := parseUevent(head + "KERNEL[40.000001] remove   /devices/pci0000:00/0000:02:00.0/nvme/nvme1/nvme1n1 (block)\n" + disk)
	if err != nil || at != 52123456*time.Microsecond {
		t.Errorf("got %v, %v", at, err)
	}
	for _, out := range []string{head, disk + disk} {
		if at, err := parseUevent(out); err == nil {
			t.Errorf("%q: got %v", out, at)
		}
	}
}

func TestStepsEndWhenTheAgentSaidSo(t *testing.T) {
	// journald read the message of step b 2 s late, and before that of step a.
	ends, err := parseSteps(`{"MESSAGE":"b: finished; took: 1ms","STEP":"b","_SOURCE_REALTIME_TIMESTAMP":"1005000000","__REALTIME_TIMESTAMP":"1007000000","__MONOTONIC_TIMESTAMP":"9000000"}
{"MESSAGE":"the role is waiting","_SOURCE_REALTIME_TIMESTAMP":"1","__REALTIME_TIMESTAMP":"1","__MONOTONIC_TIMESTAMP":"1"}
{"MESSAGE":"a: started","STEP":"a","_SOURCE_REALTIME_TIMESTAMP":"1","__REALTIME_TIMESTAMP":"1","__MONOTONIC_TIMESTAMP":"1"}
{"MESSAGE":"a: finished; took: 1ms","STEP":"a","_SOURCE_REALTIME_TIMESTAMP":"1004000000","__REALTIME_TIMESTAMP":"1004000000","__MONOTONIC_TIMESTAMP":"6000000"}
`)
	if want := []end{{"a", 6 * time.Second}, {"b", 7 * time.Second}}; err != nil || !slices.Equal(ends, want) {
		t.Errorf("got %v, %v", ends, err)
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		all            []int64
		low, mid, high int64
	}{
		{[]int64{5}, 5, 5, 5},
		{[]int64{9, 1}, 1, 5, 9},
		{[]int64{8, 1, 3}, 1, 3, 8},
	} {
		if low, mid, high := spread(c.all); low != c.low || mid != c.mid || high != c.high {
			t.Errorf("%v: got %d, %d, %d", c.all, low, mid, high)
		}
	}
}
