package sim

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
	volume "bootagent/pkg/storage/ebs"
)

// pooled gives the world a role whose volume may be any free one with the tags,
// and so many of these.
func (w *World) pooled(volumes int) {
	w.edit(func(v *role.Volume) { v.Find.Pick, v.Disposable = find.AnyFree, true })
	for len(w.cloud.volumes) < volumes {
		w.cloud.add()
	}
	for i, v := range w.cloud.volumes {
		v.Tags = map[string]string{"cluster": "orders", "holds": "mysql"}
		w.giveID(v, fmt.Sprint(100+i))
		if w.oneIn(2) {
			w.withRows(v)
		}
	}
}

// lookAtPool breaks where an instance has two volumes of the pool.
func (w *World) lookAtPool() {
	if w.role.Volumes[0].Find.Pick != find.AnyFree {
		return
	}
	has := map[string]*ebs{}
	for _, v := range w.cloud.volumes {
		a := v.holder()
		if a == nil || a.State == volume.Detaching {
			continue
		}
		if other := has[a.Instance]; other != nil {
			w.breaks("%s has two volumes of a pool, %s and %s", a.Instance, other.ID, v.ID)
		}
		has[a.Instance] = v
	}
}

// poolSettled tells whether as many machines are up as there are volumes for
// them, and all others say that none is free.
func (w *World) poolSettled() bool {
	up, alive := 0, 0
	for _, m := range w.machines {
		if m.gone {
			continue
		}
		alive++
		if m.isUp() {
			up++
		} else if words, _ := m.explained(); !strings.Contains(words, "a free volume with the tags") {
			return false
		}
	}
	return up == min(alive, len(w.cloud.volumes))
}

// runPool lets a pool of machines live through a schedule of faults, after which
// as many have to be up as there are volumes for them.
func runPool(seed uint64, as *mutant) (err error) {
	w := newWorld(seed)
	defer w.end()
	w.mutant, w.role, w.keys = as, exampleRole(), byFile
	volumes, machines := 1+int(seed%4), 2+int(seed/4%3)
	w.pooled(volumes)
	w.faults = faults{on: true, limit: math.MaxInt, oneIn: []int{0, 40, 80, 160}[w.chance.IntN(4)], struck: make(map[cell]int)}
	for range machines {
		w.in(w.between(0, 30*time.Second), "EC2", "an instance of the pool is launched", func() { w.cloud.launch(goodUserData) })
	}
	for _, v := range w.cloud.volumes {
		v.stuck = w.oneIn(10)
	}
	w.pass(w.between(time.Minute, 6*time.Minute))
	w.faults.on = false
	for _, m := range w.machines {
		m.services[database].crashes = 0
	}
	w.quiet = time.Now()
	for range 4 { // a person does what the hints say
		if w.run(10*time.Minute, w.poolSettled) || w.wrong != nil {
			break
		}
		for _, v := range w.cloud.volumes {
			v.mend()
			if a := v.holder(); a != nil && (a.State == volume.Attaching || a.State == volume.Detaching) {
				w.cloud.detach(v)
			}
		}
		for _, m := range w.machines {
			if m.up && !m.gone && !m.isUp() {
				s := m.services[database]
				s.stopped, s.sure, s.limited = false, false, false
				m.retry()
			}
		}
	}
	if w.wrong == nil && !w.poolSettled() {
		w.breaks("of %d machines and %d volumes of a pool not as many are up as can be: %s", len(w.machines), len(w.cloud.volumes), w.whyNot())
	}
	if w.wrong != nil {
		return fmt.Errorf("%w\n%s", w.wrong, w.Story())
	}
	return nil
}

func TestAPoolOfMachinesSharesItsVolumes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(max(*seeds/5, 1)) {
		var err error
		synctest.Test(t, func(*testing.T) { err = runPool(seed, nil) })
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// ofPools are mistakes that show only where several machines share volumes.
var ofPools = []mutant{
	{name: "a volume of a pool is taken beside the one that the instance has", breaks: "has two volumes of a pool", change: func(s *seams) {
		find := s.findVolume
		s.findVolume = func(ctx context.Context, of host.Find) (name.VolumeID, error) {
			id, err := find(ctx, of)
			for _, v := range s.agent.machine.world.cloud.volumes {
				if err == nil && v.holder() == nil && v.State == volume.Available {
					return v.ID, nil
				}
			}
			return id, err
		}
	}},
	{name: "a volume of a pool is taken from the instance that has it", breaks: "another instance", change: func(s *seams) {
		s.findVolume = func(context.Context, host.Find) (name.VolumeID, error) {
			return s.agent.machine.world.cloud.volumes[0].ID, nil
		}
		attach := s.attach
		s.attach = func(ctx context.Context, id name.VolumeID) error {
			if a := s.agent.machine.world.cloud.volume(id).holder(); a != nil && a.Instance != s.agent.machine.id {
				_ = ec2{s.agent}.Detach(ctx, id, a.Instance, a.Device)
			}
			return attach(ctx, id)
		}
	}},
	{name: "of a pool the first volume is waited for, whoever has it", breaks: "not as many are up as can be", change: func(s *seams) {
		s.findVolume = func(context.Context, host.Find) (name.VolumeID, error) {
			return s.agent.machine.world.cloud.volumes[0].ID, nil
		}
	}},
	{name: "that another has a volume of a pool is not seen", breaks: "", change: func(s *seams) {
		s.attach = func(context.Context, name.VolumeID) error { return nil }
	}},
}

func TestEachMutantOfPoolsIsFound(t *testing.T) {
	for _, m := range ofPools {
		t.Run(m.name, func(t *testing.T) {
			for seed := range uint64(200) {
				var wrong error
				synctest.Test(t, func(*testing.T) { wrong = runPool(seed, &m) })
				if m.broken(wrong) {
					what, _, _ := strings.Cut(wrong.Error(), "\n")
					t.Logf("found by seed %d: %s", seed, what)
					return
				}
			}
			t.Fatal("none of 200 schedules finds it")
		})
	}
}
