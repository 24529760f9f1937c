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

// control matches what is for terminals only: colours, movements of the cursor, carriage returns.
var control = regexp.MustCompile(`\x1b(\[[0-9;?]*[A-Za-z]|[A-Za-z])|\r`)

// Console returns what the kernel and systemd have written to the serial line since this boot began. The
// last line of a complete boot is "Power down" or "Restarting system". If the machine is off, Console
// returns the text of the last boot. systemd names units: "Stopped mariadb.service".
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

// WaitConsole waits until the console of this boot contains the text. It takes no time of the guest.
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
			return m.explain(fmt.Errorf("the console does not contain %q: %w", text, end))
		}
	}
}

// gone returns a channel that is closed when the machine is off.
func (m *Machine) gone() <-chan struct{} {
	if p := m.running(); p != nil {
		return p.Exited()
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// tailLines is how many lines of the console an error contains. console.log contains all of them.
const tailLines = 30

// ConsoleTail returns the last 30 lines of Console, for the report of a failure.
func (m *Machine) ConsoleTail() string {
	log, err := m.Console()
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// explain adds the end of the console to an error of the machine.
func (m *Machine) explain(err error) error {
	return fmt.Errorf("%w; the console (%s) ends with\n%s", err, m.path("console.log"), m.ConsoleTail())
}
