package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// Mutants are mistakes that somebody could make in the agent, each of which
// breaks a promise.
func mutants() []mutant {
	return slices.Concat(ofVolumes, ofLaunches, ofStores, ofData, ofFiles, ofServices, ofSteps, ofStops, ofBypasses)
}

// MutantSeeds is how many schedules a mutant may go through without being found.
const mutantSeeds = 3000

// TestEachMutantIsFound runs the world with agents that make one mistake, until
// a promise is broken. Which schedule or scenario breaks it is told by -v.
func TestEachMutantIsFound(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			by, wrong := findMutant(t, &m)
			if wrong == nil {
				t.Fatalf("No scenario and none of %d schedules finds it. Either the mistake breaks no promise any more: "+
					"let the mutant break it at another seam. Or the world does not see it: add what it has to check to truth.go, "+
					"or a scenario in which it shows to scenario_test.go.", mutantSeeds)
			}
			what, _, _ := strings.Cut(wrong.Error(), "\n")
			t.Logf("found by %s: %s", by, what)
		})
	}
}

// broken reports whether what is wrong is the promise that the mutant breaks.
func (m *mutant) broken(wrong error) bool {
	return wrong != nil && strings.Contains(wrong.Error(), m.breaks)
}

// findMutant returns what breaks the promise first, and how: a scenario, then a
// schedule with each beginning, then a fault that is forced in a step, then any
// schedule.
func findMutant(t *testing.T, m *mutant) (by string, wrong error) {
	for _, s := range slices.Concat(found, growing, making, local, launching, storing, adopting) {
		synctest.Test(t, func(*testing.T) { wrong = s.prove(m) })
		if m.broken(wrong) {
			return fmt.Sprintf("the scenario %q", s.name), wrong
		}
	}
	for i := range beginnings {
		s := Schedule{Seed: uint64(i), Limit: -1, begins: &beginnings[i], mutant: m}
		if r := run(t, s); m.broken(r.Wrong) {
			return fmt.Sprintf("a schedule that begins with %s", r.Begins), r.Wrong
		}
	}
	for seed := range uint64(mutantSeeds) {
		s := scheduleOf(seed)
		s.mutant = m
		if r := run(t, s); m.broken(r.Wrong) {
			return fmt.Sprintf("seed %d (%s)", seed, r.Begins), r.Wrong
		}
	}
	return "", nil
}

// TestAMutantWithoutAMistakeIsTheAgent holds that the seams change nothing:
// with them, each schedule tells the same story.
func TestAMutantWithoutAMistakeIsTheAgent(t *testing.T) {
	honest := &mutant{name: "none", change: func(*seams) {}}
	for _, s := range slices.Concat(found, growing, making, local, launching, storing, adopting) {
		synctest.Test(t, func(*testing.T) {
			if err := s.prove(honest); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
		})
	}
	for seed := range uint64(400) {
		s := scheduleOf(seed)
		as := scheduleOf(seed)
		as.mutant = honest
		if was, is := run(t, s), run(t, as); was.Hash != is.Hash || is.Wrong != nil {
			t.Fatalf("seed %d: %v; it tells\n%s\nand without seams\n%s", seed, is.Wrong, is.Story, was.Story)
		}
	}
}
