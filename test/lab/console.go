package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// What a terminal would obey and a reader has no use for: colours, cursor movements, returns.
var control = regexp.MustCompile(`\x1b(\[[0-9;?]*[A-Za-z]|[A-Za-z])|\r`)

// Console is what the kernel and systemd have written to the serial line since this boot began, in
// order, up to "Power down" or "Restarting system" at its end. After PowerOff or Kill it is that of
// the last boot. Units are named: "Stopped mariadb.service".
func (m *Machine) Console() (string, error) {
	m.mu.Lock()
	from := m.console
	m.mu.Unlock()
	f, err := os.Open(m.path("console.log"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return "", err
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return "", err
	}
	return control.ReplaceAllString(string(raw), ""), nil
}

// WaitConsole waits until the console of this boot has the text. It costs the guest nothing.
func (m *Machine) WaitConsole(ctx context.Context, text string) error {
	for gone := m.gone(); ; {
		var end error
		select {
		case <-ctx.Done():
			end = context.Cause(ctx)
		case <-gone:
			end = errOff
		case <-time.After(50 * time.Millisecond):
		}
		log, err := m.Console()
		if err != nil {
			return err
		}
		if strings.Contains(log, text) {
			return nil
		}
		if end != nil {
			return m.explain(fmt.Errorf("the console has not said %q: %w", text, end))
		}
	}
}

// gone is closed when the machine is off.
func (m *Machine) gone() <-chan struct{} {
	if q := m.running(); q != nil {
		return q.exited
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// How much of the console a person is shown of a failure: the whole is in console.log.
const tailLines = 30

// ConsoleTail is the end of Console, for a person who asks what happened.
func (m *Machine) ConsoleTail() string {
	log, err := m.Console()
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// explain adds the end of the console to an error about the machine as a whole.
func (m *Machine) explain(err error) error {
	return fmt.Errorf("%w; the console (%s) ends with\n%s", err, m.path("console.log"), m.ConsoleTail())
}
