package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Config is what one machine has beside its image.
type Config struct {
	Dir   string          // the machine's own; made if need be. console.log and qemu.log stay in it
	Files map[string]File // by absolute path, on the disk before the first boot
	Ports []int           // TCP ports of the guest that clients on this host may reach, at Addr

	// Servers that the guest reaches, by address and TCP port ("169.254.169.254:80"), each a Unix
	// socket of this host, whose path has letters, digits and - _ . / only. With any, the guest's network is 169.254.169.0/24 and not 10.0.2.0/24.
	Servers map[string]string

	// What the firmware says of the machine, as EC2's does: product_uuid and board_asset_tag in
	// /sys/class/dmi/id. QEMU's own where they are empty.
	UUID, AssetTag string

	Capture string // file for all that goes over the guest's network, as pcap(5); none where it is empty
}

// A Machine is a computer with a disk of its own, on or off. Its methods may be called from several
// goroutines.
type Machine struct {
	config Config
	kernel string
	log    *slog.Logger

	plugging sync.Mutex // held while disks change; guards disks
	disks    [ports]*Disk

	mu      sync.Mutex
	qemu    *qemu // the last run, nil before the first
	console int64 // where in console.log this boot begins
}

// RootSerial is the serial number of every machine's own disk.
const RootSerial = "vol00000000000000000"

// Machine makes a machine of the image: a copy of its disk with cfg's files on it. Close it.
func (i *Image) Machine(ctx context.Context, cfg Config, log *slog.Logger) (*Machine, error) {
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make a machine: %w", err)
	}
	m := &Machine{config: cfg, kernel: i.kernel(), log: log.With("machine", filepath.Base(cfg.Dir))}
	root := &Disk{Path: m.path("disk.raw"), Serial: RootSerial}
	m.disks[0] = root
	if err := run(ctx, "cp", "--reflink=auto", "--sparse=auto", "--", i.disk(), root.Path); err != nil {
		return nil, fmt.Errorf("cannot make a machine: %w", err)
	}
	if err := m.putFiles(ctx, root.Path); err != nil {
		return nil, fmt.Errorf("cannot make a machine: %w", errors.Join(err, os.Remove(root.Path)))
	}
	return m, nil
}

// Dir is the machine's own folder.
func (m *Machine) Dir() string { return m.config.Dir }

// DiskPath is the file of the machine's own disk.
func (m *Machine) DiskPath() string { return m.disks[0].Path }

func (m *Machine) path(name string) string { return filepath.Join(m.config.Dir, name) }

// putFiles writes the machine's files into its filesystem, which is not mounted.
func (m *Machine) putFiles(ctx context.Context, disk string) error {
	if len(m.config.Files) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp(m.config.Dir, "files-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var write, read strings.Builder
	made := map[string]bool{}
	names := slices.Sorted(maps.Keys(m.config.Files))
	for n, name := range names {
		if !path.IsAbs(name) || strings.ContainsAny(name, "\"\n") {
			return fmt.Errorf("cannot put %q on the disk: the path has to be absolute, without quotes", name)
		}
		file := m.config.Files[name]
		source := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(source, file.Data, 0o600); err != nil {
			return err
		}
		for _, parent := range parents(name) {
			if !made[parent] {
				fmt.Fprintf(&write, "mkdir %q\n", parent) // fails where it is there
				made[parent] = true
			}
		}
		fmt.Fprintf(&write, "rm %q\n", name) // fails where it is not
		fmt.Fprintf(&write, "write %q %q\n", source, name)
		fmt.Fprintf(&write, "set_inode_field %q mode 0%o\n", name, 0o100000|file.perm())
		fmt.Fprintf(&write, "set_inode_field %q uid 0\nset_inode_field %q gid 0\n", name, name)
		fmt.Fprintf(&read, "dump %q %q\n", name, source)
	}
	filesystem := fmt.Sprintf("%s?offset=%d", disk, partition)
	if err := debugfs(ctx, filepath.Join(dir, "write"), write.String(), "-w", filesystem); err != nil {
		return err
	}

	// debugfs does not tell by its exit code that a command failed: read back what it wrote.
	if err := debugfs(ctx, filepath.Join(dir, "read"), read.String(), filesystem); err != nil {
		return err
	}
	for n, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(n)))
		if err != nil {
			return err
		}
		if !bytes.Equal(data, m.config.Files[name].Data) {
			return fmt.Errorf("cannot put %s on the disk: debugfs has not written it", name)
		}
	}
	return nil
}

func debugfs(ctx context.Context, script, commands string, args ...string) error {
	if err := os.WriteFile(script, []byte(commands), 0o600); err != nil {
		return err
	}
	return run(ctx, append([]string{"debugfs", "-f", script}, args...)...)
}

// parents of an absolute path, the root's children first.
func parents(name string) []string {
	var up []string
	for dir := path.Dir(path.Clean(name)); dir != "/"; dir = path.Dir(dir) {
		up = append(up, dir)
	}
	slices.Reverse(up)
	return up
}

// A machine that does not answer after this long hangs: the slowest seen, beside much else on two
// CPUs, took 72 s.
const bootDeadline = 5 * time.Minute

// Once in some hundred boots the emulation stops 2 s after its start, while the kernel calibrates its
// clocks, and nothing of the guest has run yet. PID 1 usually speaks after 4 s, beside much else after 15.
const (
	kernelDeadline = time.Minute
	kernelStarts   = 3
)

// Boot starts the machine and waits until commands can be run in it, for 5 minutes at most. One whose
// kernel hangs before it has started PID 1 is started again.
func (m *Machine) Boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bootDeadline, fmt.Errorf("not up after %v", bootDeadline))
	defer cancel()
	began := time.Now()
	if err := m.Start(ctx); err != nil {
		return err
	}
	if err := m.untilPID1(ctx, kernelDeadline); err != nil {
		return err
	}
	if err := m.WaitGuest(ctx); err != nil {
		return err
	}
	m.log.Info("up", "took", since(began))
	return nil
}

// untilPID1 waits until PID 1 speaks, and starts the machine again where it does not.
func (m *Machine) untilPID1(ctx context.Context, within time.Duration) error {
	for start := 1; ; start++ {
		short, cancel := context.WithTimeout(ctx, within)
		err := m.WaitConsole(short, "systemd[1]: ")
		cancel()
		if err == nil || ctx.Err() != nil || start == kernelStarts || m.running() == nil {
			return err
		}
		m.log.Warn("the kernel hangs; starting the machine again", "start", start, "error", err)
		m.Kill()
		if err := m.Start(ctx); err != nil {
			return err
		}
	}
}

// Start turns the machine on.
func (m *Machine) Start(ctx context.Context) error {
	m.plugging.Lock()
	defer m.plugging.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.qemu.alive() {
		return errors.New("cannot start the machine: it is on")
	}
	args, err := m.arguments()
	if err != nil {
		return fmt.Errorf("cannot start the machine: %w", err)
	}
	log, err := os.Create(m.path("qemu.log"))
	if err != nil {
		return fmt.Errorf("cannot start the machine: %w", err)
	}
	defer log.Close()
	if m.console, err = size(m.path("console.log")); err != nil {
		return fmt.Errorf("cannot start the machine: %w", err)
	}
	q, err := launch(ctx, args, log)
	if err != nil {
		words, _ := os.ReadFile(log.Name())
		return fmt.Errorf("cannot start the machine: %w\n%s", err, words)
	}
	m.qemu = q
	m.log.Info("on", "pid", q.process.Pid, "console", m.path("console.log"))
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

// alive also takes the qemu that there was none of.
func (q *qemu) alive() bool {
	if q == nil {
		return false
	}
	select {
	case <-q.exited:
		return false
	default:
		return true
	}
}

// running is nil if the machine is off.
func (m *Machine) running() *qemu {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.qemu.alive() {
		return m.qemu
	}
	return nil
}

// Addr is where clients on this host reach a TCP port of the guest, one of Config.Ports; it is
// another after each Start. It is empty if the machine is off.
func (m *Machine) Addr(port int) string {
	q := m.running()
	if q == nil || q.ports[port] == 0 {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", q.ports[port])
}

// PowerOff presses the power button, and waits until the machine is off. logind has to run to hear
// it: it does when network.target is reached.
func (m *Machine) PowerOff(ctx context.Context) error {
	q := m.running()
	if q == nil {
		return fmt.Errorf("cannot power off: %w", errOff)
	}
	began := time.Now()
	if err := q.monitor.do(ctx, "system_powerdown", nil, nil); err != nil {
		return fmt.Errorf("cannot power off: %w", err)
	}
	if err := m.waitOff(ctx, q); err != nil {
		return err
	}
	m.log.Info("off", "took", since(began))
	return nil
}

// Reboot has systemd reboot the machine, and waits until commands can be run in it again, for 5
// minutes at most; how long it may take to go down is for ctx to say. QEMU is started anew: in one
// that has run a kernel the next takes twice as long.
func (m *Machine) Reboot(ctx context.Context) error {
	q := m.running()
	if q == nil {
		return fmt.Errorf("cannot reboot: %w", errOff)
	}
	began := time.Now()
	// Its end can't be waited for: the agent goes down as well.
	if err := q.agent.do(ctx, "guest-exec", map[string]any{"path": "systemctl", "arg": []string{"reboot"}}, nil); err != nil {
		return fmt.Errorf("cannot reboot: %w", err)
	}
	if err := m.waitOff(ctx, q); err != nil {
		return err
	}
	m.log.Info("down", "took", since(began))
	return m.Boot(ctx)
}

// waitOff waits until QEMU ends because the guest has ended.
func (m *Machine) waitOff(ctx context.Context, q *qemu) error {
	select {
	case <-q.exited:
	case <-ctx.Done():
		return m.explain(fmt.Errorf("the machine has not gone down: %w", context.Cause(ctx)))
	}
	if q.err != nil {
		return m.explain(fmt.Errorf("the machine has not gone down: QEMU: %w", q.err))
	}
	return nil
}

// Kill ends the machine at once. What the guest wrote to its disks, flushed or not, is in their
// files: for a power cut that is too kind.
func (m *Machine) Kill() {
	if q := m.running(); q != nil {
		q.stop()
		m.log.Info("killed")
	}
}

// Close kills the machine if it is on, and removes its own disk; the logs stay.
func (m *Machine) Close() error {
	m.Kill()
	return os.Remove(m.disks[0].Path)
}

func since(began time.Time) time.Duration { return time.Since(began).Round(10 * time.Millisecond) }
