package sim

import (
	"context"
	"encoding/json"
	"fmt"

	"bootagent/pkg/role"
)

// otherDir is where an engine of another image looks for its data.
const otherDir = "/var/lib/mariadb"

// places are where something may be mounted for the role.
var places = []string{volumeAt, dataDir, otherDir, spoolAt}

// isAuto tells whether the role binds its database to where its engine looks.
func (w *World) isAuto() bool { return w.role.Data[0].Auto }

// settles says where the engine of a new machine looks for its data: its image may
// have another engine than the one before.
func (m *machine) settles() {
	w := m.world
	if m.looks = dataDir; w.isAuto() && w.faults.on && w.faults.force == nil && w.oneIn(4) {
		m.looks = otherDir
	}
	m.serves = m.looks
}

// upgrade has a package of the engine be upgraded that looks elsewhere for its data.
// A server that runs, or is to start again on what is mounted, goes on where it was:
// a person upgrades like this for the next boot.
func (m *machine) upgrade() {
	if s := m.services[database]; !m.world.isAuto() || s.active != "active" || m.mounts[m.serves] == nil {
		return
	}
	m.looks = map[string]string{dataDir: otherDir, otherDir: dataDir}[m.looks]
}

// looksWhere is where a server that starts now looks for its data.
func (m *machine) looksWhere() string {
	if m.mounts[m.serves] == nil {
		m.serves = m.looks
	}
	return m.serves
}

// kept is the plan that an agent has kept in this boot of the machine, in /run.
func (k keeper) InForce() (plan *role.Plan, err error) {
	m := k.machine
	err = k.call(context.Background(), "asks", "for the plan in force", effect{do: func() error {
		m.world.mu.Lock()
		defer m.world.mu.Unlock()
		if m.inForce == "" || m.world.mutant != nil && m.world.mutant.forgets {
			return nil
		}
		plan = new(role.Plan)
		return json.Unmarshal([]byte(m.inForce), plan)
	}})
	if err != nil {
		return nil, err
	}
	return plan, nil
}

// lookAtBinds breaks where a data directory is to be seen in two places: two
// servers could use it.
func (w *World) lookAtBinds(m *machine) {
	at := map[string]string{}
	for _, where := range sortedKeys(m.mounts) {
		mt := m.mounts[where]
		if mt.dead || mt.dir == "" {
			continue
		}
		of := fmt.Sprintf("%s of %s", mt.dir, mt.vol.ID)
		if other := at[of]; other != "" {
			w.breaks("%s is bound to %s and to %s on %s", of, other, where, m.id)
		}
		at[of] = where
	}
}
