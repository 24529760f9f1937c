package sim

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/test/story"
)

var (
	seedFlag = flag.Int64("seed", -1, "run the schedule of this seed alone, and tell its story")
	seeds    = flag.Int("seeds", 300, "how many schedules to run")
	from     = flag.Int64("from", 0, "the seed to begin with; the first ones force each fault at each step once")
	most     = flag.Int("most", 5, "how many schedules that fail are told")
	lastFor  = flag.Duration("for", 0, "run schedules for so long, and not a number of them")
	update   = flag.Bool("update", false, "write the stories of the scenarios, which the virtual machine has to tell as well")
	twice    = flag.Int("twice", 50, "how many schedules to run twice, to compare their stories")
)

// A world is small and soon forgotten: memory is cheaper than its collection.
func TestMain(m *testing.M) {
	debug.SetGCPercent(800)
	os.Exit(m.Run())
}

// run runs a schedule in a bubble.
func run(t *testing.T, s Schedule) (r Result) {
	synctest.Test(t, func(*testing.T) { r = Run(s) })
	return r
}

// scheduleOf is the schedule of a seed: the first ones force each cell once.
func scheduleOf(seed uint64) Schedule {
	s := Schedule{Seed: seed, Limit: -1}
	if all := cells(); seed < uint64(len(all)) {
		s.Force = &all[seed]
	}
	return s
}

// shortest cuts a schedule that fails to its shortest beginning that fails.
func shortest(t *testing.T, r Result) Result {
	for limit := 0; limit < min(r.Acts, 400); limit++ {
		s := r.Schedule
		s.Limit = limit
		if s.Force != nil {
			force := *s.Force
			s.Force = &force
		}
		if cut := run(t, s); cut.Wrong != nil {
			return cut
		}
	}
	return r
}

func (r Result) tell() string {
	return fmt.Sprintf("seed %d: %v\nIt begins with %s, and this happens:\n%s\ngo test ./sim -seed %d tells it again",
		r.Seed, r.Wrong, r.Begins, r.Story, r.Seed)
}

// Mistakes that schedules have found, each of which has to be found again.
func TestWhatWasFoundStaysMended(t *testing.T) {
	for _, s := range slices.Concat(found, growing, making, local, launching, storing, adopting) {
		t.Run(s.name, func(t *testing.T) {
			var err error
			synctest.Test(t, func(*testing.T) { err = s.prove(nil) })
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSchedules(t *testing.T) {
	if *seedFlag >= 0 {
		r := run(t, scheduleOf(uint64(*seedFlag)))
		if r.Wrong == nil {
			t.Log(r.tell())
			return
		}
		t.Error(shortest(t, r).tell())
		return
	}
	began := time.Now()
	var next, boots atomic.Int64
	next.Store(*from)
	found := make(chan Result, 64)
	workers := runtime.GOMAXPROCS(0)
	ended := make(chan map[cell]int, workers)
	t.Run("all", func(t *testing.T) {
		for worker := range workers {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				struck := make(map[cell]int)
				defer func() { ended <- struck }()
				for len(found) < *most {
					seed := next.Add(1) - 1
					if *lastFor == 0 && seed >= *from+int64(*seeds) || *lastFor > 0 && time.Since(began) > *lastFor {
						return
					}
					r := run(t, scheduleOf(uint64(seed)))
					boots.Add(int64(r.Boots))
					for c, n := range r.Struck {
						struck[c] += n
					}
					if r.Wrong != nil {
						select {
						case found <- shortest(t, r):
						default:
						}
					}
				}
			})
		}
	})
	all := make(map[cell]int)
	for range workers {
		for c, n := range <-ended {
			all[c] += n
		}
	}
	close(found)
	for r := range found {
		t.Error(r.tell())
	}
	text, empty := table(all)
	took := time.Since(began)
	t.Logf("%d schedules, %d boots in %s: %.0f boots per second\n%s", next.Load()-*from, boots.Load(), took.Round(time.Millisecond),
		float64(boots.Load())/took.Seconds(), text)
	if len(empty) > 0 && *from == 0 && next.Load() >= int64(len(cells())) {
		t.Errorf("these faults never struck: %v", empty)
	}
}

func TestASeedTellsTheSameStoryEachTime(t *testing.T) {
	t.Parallel()
	for seed := range uint64(*twice) {
		seed += 1000
		a, b := run(t, scheduleOf(seed)), run(t, scheduleOf(seed))
		if a.Hash != b.Hash {
			t.Fatalf("seed %d tells two stories:\n%s\n%s", seed, a.Story, b.Story)
		}
		if !maps.Equal(a.Struck, b.Struck) {
			t.Fatalf("seed %d has two tables", seed)
		}
	}
}

// What is told here is told by virtual machines too: see the tests of test/e2e.
func TestScenariosAreToldAsTheyWere(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			var told string
			var err error
			synctest.Test(t, func(*testing.T) { told, err = s.tell() })
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile("../story/"+story.File(s.name), []byte(told), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if was, err := story.Told(s.name); err != nil || was != told {
				t.Errorf("%v; it was\n%s\nand is\n%s", err, was, told)
			}
		})
	}
}
