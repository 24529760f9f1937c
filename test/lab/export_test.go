package lab

import "context"

// Freeze stops the CPUs of a machine, so that it hangs.
func (m *Machine) Freeze(ctx context.Context) error {
	return m.running().Monitor.Do(ctx, "stop", nil, nil)
}

var Up = (*Machine).up
