package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bootagent/test/lab/image"
	"bootagent/test/lab/qemu"
)

// A Config says what one machine has in addition to its image.
type Config struct {
	Dir   string                // the machine's folder, made if necessary; console.log and qemu.log stay in it
	Files map[string]image.File // by absolute path; on the disk before the first boot

	Cache qemu.WriteCache // of the root disk

	// The rest is for QEMU: see [qemu.Config].
	Ports          []int             // TCP ports of the guest that clients on this host can reach, at Addr
	Servers        map[string]string // Unix sockets of this host, by the address at which the guest reaches them
	UUID, AssetTag string            // of the firmware, as on EC2
	Capture        string            // file for a pcap(5) of the guest's network
}

// A Machine is a computer with a root disk of its own. It is on or off. Several goroutines may call its
// methods at the same time.
type Machine struct {
	config Config
	on     image.Platform
	kernel string
	log    *slog.Logger

	plugging sync.Mutex // held while disks change; guards disks
	disks    [qemu.Slots]*qemu.Disk

	mu      sync.Mutex
	process *qemu.Process // of the last run; nil before the first
	console int64         // offset in console.log where this boot begins
}

// RootSerial is the serial number of the root disk of every machine.
const RootSerial = "vol00000000000000000"

// New makes a machine, which is off. Its root disk is a copy of the image's disk with the files of cfg.
// Call Close when you no longer need the machine.
func New(ctx context.Context, img *image.Image, cfg Config, log *slog.Logger) (*Machine, error) {
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a machine: %w", err)
	}
	m := &Machine{config: cfg, on: img.Platform, kernel: img.Kernel(), log: log.With("machine", filepath.Base(cfg.Dir))}
	m.disks[0] = &qemu.Disk{Path: m.path("disk.raw"), Serial: RootSerial, Cache: cfg.Cache}
	if err := img.Copy(ctx, m.DiskPath(), cfg.Files); err != nil {
		return nil, fmt.Errorf("cannot make a machine: %w", err)
	}
	return m, nil
}

// Platform returns what the machine runs.
func (m *Machine) Platform() image.Platform { return m.on }

// Dir returns the machine's folder.
func (m *Machine) Dir() string { return m.config.Dir }

// DiskPath returns the file of the root disk.
func (m *Machine) DiskPath() string { return m.disks[0].Path }

func (m *Machine) path(name string) string { return filepath.Join(m.config.Dir, name) }

// bootDeadline is when a machine that does not answer is taken to hang. The slowest boot seen took 72 s,
// on a busy host with two CPUs.
const bootDeadline = 5 * time.Minute

// In about one of several hundred boots the emulation fails before anything that is tested has begun: it
// stops 2 s after its start, while the kernel calibrates its clocks and before PID 1 runs, or the kernel
// panics while udev loads modules. PID 1 usually writes its first line after 4 s, and after 15 s on a busy
// host.
const (
	kernelDeadline = time.Minute
	kernelStarts   = 3

	ofPID1  = "systemd[1]: "
	ofAgent = "bootagent.service"
	ofPanic = "Kernel panic - not syncing"
)

// Boot starts the machine and waits until it can run commands, for 5 minutes at most. If the kernel hangs
// before PID 1 runs, or panics before the agent begins, Boot starts the machine again, up to 3 starts in all.
// What the agent could have caused is an error.
func (m *Machine) Boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootDeadline, fmt.Errorf("not up after %v", bootDeadline))
	defer cancel()
	began := time.Now()
	if err := m.Start(ctx); err != nil {
		return err
	}
	if err := m.up(ctx, kernelDeadline); err != nil {
		return err
	}
	m.log.Info("up", "took", since(began))
	return nil
}

// up waits until the machine can run commands, and starts it again as Boot does. PID 1 has to write to the
// console within the given time.
func (m *Machine) up(ctx context.Context, within time.Duration) error {
	for start := 1; ; start++ {
		err := m.answers(ctx, within)
		if err == nil || ctx.Err() != nil || start == kernelStarts {
			return err
		}
		if console, _ := m.Console(); !kernelFailed(console, m.running() != nil) {
			return err
		}
		m.log.Warn("the emulated kernel has failed; starting the machine again", "start", start, "error", err)
		m.Kill()
		if err := m.Start(ctx); err != nil {
			return err
		}
	}
}

func (m *Machine) answers(ctx context.Context, within time.Duration) error {
	short, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := m.WaitConsole(short, ofPID1); err != nil {
		return err
	}
	return m.WaitGuest(ctx)
}

// kernelFailed tells by the console of a boot that the kernel has panicked before the agent began, or that it
// hangs, which is that the machine is on, and PID 1 has written nothing.
func kernelFailed(console string, on bool) bool {
	if strings.Contains(console, ofPanic) {
		return !strings.Contains(console, ofAgent)
	}
	return on && !strings.Contains(console, ofPID1)
}

// commandLine is the kernel's. There is no initrd: the kernel has NVMe and ext4 built in.
func (m *Machine) commandLine() string {
	words := []string{
		"root=" + image.Root(), "rw", "rootwait",
		"console=" + qemu.Console(m.on.Architecture),
		"panic=-1",        // reboots at once, and -no-reboot makes QEMU exit then
		"mitigations=off", // they cost emulated time, and protect nobody here
		// The emulated counter is the host's, which is reliable. On a busy host, the kernel's check marked
		// it as unstable. When that happened while the kernel compared the counters of its two CPUs, the
		// kernel hung: one CPU skipped the comparison, and the other waited for it.
		"tsc=reliable",
		// On a busy host, the emulated timer's interrupts come too late for the kernel's test of the IO-APIC,
		// and the kernel panics. As on all virtual machines, there is nothing to test.
		"no_timer_check",
		// A getty would hang up other programs that write to the line. The base masks that of amd64.
		"systemd.mask=serial-getty@ttyAMA0.service",
		// systemd writes the name of each unit that it starts or stops to the console.
		"systemd.show_status=yes", "systemd.status_unit_format=name",
	}
	if m.on.SELinux {
		words = append(words, "security=selinux", "selinux=1", "enforcing=1")
	}
	return strings.Join(words, " ")
}

// Start turns the machine on.
func (m *Machine) Start(ctx context.Context) error {
	m.plugging.Lock()
	defer m.plugging.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil && m.process.Alive() {
		return errors.New("cannot start the machine: it is on")
	}
	log, err := os.Create(m.path("qemu.log"))
	if err != nil {
		return fmt.Errorf("cannot start the machine: %w", err)
	}
	defer log.Close()
	if m.console, err = size(m.path("console.log")); err != nil {
		return fmt.Errorf("cannot start the machine: %w", err)
	}
	p, err := qemu.Start(ctx, qemu.Config{
		Architecture: m.on.Architecture,
		Kernel:       m.kernel, CommandLine: m.commandLine(), Console: m.path("console.log"), Disks: m.disks,
		Ports: m.config.Ports, Servers: m.config.Servers, Capture: m.config.Capture,
		UUID: m.config.UUID, AssetTag: m.config.AssetTag,
	}, log)
	if err != nil {
		output, _ := os.ReadFile(log.Name())
		return fmt.Errorf("cannot start the machine: %w\n%s", err, output)
	}
	m.process = p
	m.log.Info("on", "pid", p.PID(), "console", m.path("console.log"))
	return nil
}

func size(file string) (int64, error) {
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// running returns QEMU's process, or nil if the machine is off.
func (m *Machine) running() *qemu.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil && m.process.Alive() {
		return m.process
	}
	return nil
}

// Addr returns the address at which clients on this host reach a TCP port of the guest, one of
// Config.Ports. Each Start changes it. It is empty if the machine is off.
func (m *Machine) Addr(port int) string {
	if p := m.running(); p != nil {
		return p.Addr(port)
	}
	return ""
}

// PowerOff presses the power button, and waits until the machine is off. Call it when network.target is
// reached: logind handles the button, and runs from then on.
func (m *Machine) PowerOff(ctx context.Context) error {
	p := m.running()
	if p == nil {
		return fmt.Errorf("cannot power off: %w", errOff)
	}
	began := time.Now()
	if err := p.Monitor.Do(ctx, "system_powerdown", nil, nil); err != nil {
		return fmt.Errorf("cannot power off: %w", err)
	}
	if err := m.waitOff(ctx, p); err != nil {
		return err
	}
	m.log.Info("off", "took", since(began))
	return nil
}

// Reboot lets the machine go down, see GoDown, and boots it. It starts a new QEMU, because the second kernel
// in a QEMU boots half as fast as the first.
func (m *Machine) Reboot(ctx context.Context) error {
	if err := m.GoDown(ctx); err != nil {
		return err
	}
	return m.Boot(ctx)
}

// GoDown runs "systemctl reboot", and waits until the machine has gone down, for as long as ctx allows. It is
// off then: call Boot.
func (m *Machine) GoDown(ctx context.Context) error {
	p := m.running()
	if p == nil {
		return fmt.Errorf("cannot reboot: %w", errOff)
	}
	began := time.Now()
	// Run would wait for the end of the command, but the guest agent may stop before it.
	if err := p.Guest.Do(ctx, "guest-exec", map[string]any{"path": "systemctl", "arg": []string{"reboot"}}, nil); err != nil {
		return fmt.Errorf("cannot reboot: %w", err)
	}
	if err := m.waitOff(ctx, p); err != nil {
		return err
	}
	m.log.Info("down", "took", since(began))
	return nil
}

// waitOff waits until QEMU exits because the guest has shut down.
func (m *Machine) waitOff(ctx context.Context, p *qemu.Process) error {
	select {
	case <-p.Exited():
	case <-ctx.Done():
		return m.explain(fmt.Errorf("the machine has not gone down: %w", context.Cause(ctx)))
	}
	if err := p.Err(); err != nil {
		return m.explain(fmt.Errorf("the machine has not gone down: QEMU: %w", err))
	}
	return nil
}

// Kill turns the machine off at once. On disks with a [qemu.Volatile] cache it is a power cut: what the
// guest has not flushed is lost. On others nothing is lost that was written.
func (m *Machine) Kill() {
	if p := m.running(); p != nil {
		p.Stop()
		m.log.Info("killed")
	}
}

// Close kills the machine if it is on, and removes its root disk. The logs stay.
func (m *Machine) Close() error {
	m.Kill()
	return os.Remove(m.disks[0].Path)
}

func since(began time.Time) time.Duration { return time.Since(began).Round(10 * time.Millisecond) }
