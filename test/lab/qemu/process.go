// Package qemu runs QEMU: a machine with a kernel and NVMe disks that are plugged and unplugged while
// it runs. It speaks QMP to QEMU and JSON to qemu-guest-agent in the guest. It needs the programs
// qemu-system-x86_64 or qemu-system-aarch64, and socat, and reads BOOTAGENT_LAB_ACCEL from the environment.
package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"bootagent/test/lab/program"
)

// A Process is one run of QEMU, from power on to power off.
type Process struct {
	Monitor *Monitor
	Guest   *Guest

	process *os.Process
	ports   map[int]int // the guest's TCP ports, and the ports of this host that lead there

	mu      sync.Mutex
	servers [Slots]*server // of the disks that are not in the host's cache

	exited chan struct{}
	err    error // of the process, once exited is closed
}

// Start starts QEMU, which writes its messages to log and is killed when this process ends.
func Start(ctx context.Context, c Config, log *os.File) (*Process, error) {
	var servers [Slots]*server
	var err error
	for slot, disk := range c.Disks {
		if disk != nil && err == nil {
			servers[slot], err = disk.serve()
		}
	}
	var args []string
	if err == nil {
		args, err = c.arguments(servers)
	}
	var p *Process
	if err == nil {
		p, err = start(ctx, computers[c.Architecture].program, args, servers, log)
	}
	if err != nil {
		for _, s := range servers {
			s.drop()
		}
	}
	return p, err
}

func start(ctx context.Context, name string, args []string, servers [Slots]*server, log *os.File) (*Process, error) {
	path, err := program.Path(name)
	if err != nil {
		return nil, err
	}
	monitorConn, monitorFile, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer monitorFile.Close()
	guestConn, guestFile, err := socketpair()
	if err != nil {
		monitorConn.Close()
		return nil, err
	}
	defer guestFile.Close()

	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{monitorFile, guestFile}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	p := &Process{Guest: newGuest(guestConn), servers: servers, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the signal when the thread that started the process ends (prctl(2)), so
		// this thread has to live as long as QEMU.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			monitorConn.Close()
			guestConn.Close()
			for slot := range p.servers {
				p.keep(slot, nil)
			}
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(err, monitorConn.Close(), guestConn.Close())
	}
	p.process = cmd.Process

	p.Monitor, err = newMonitor(ctx, monitorConn)
	if err == nil {
		p.ports, err = p.forwarded(ctx)
	}
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// keep drops the server of the disk that was in a slot, and keeps that of the disk that is there now.
func (p *Process) keep(slot int, s *server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers[slot].drop()
	p.servers[slot] = s
}

// PID returns the process ID of QEMU.
func (p *Process) PID() int { return p.process.Pid }

// Exited returns a channel that is closed when QEMU has exited.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err returns the error of QEMU as a process. Call it after Exited is closed.
func (p *Process) Err() error { return p.err }

// Alive reports whether QEMU runs.
func (p *Process) Alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Stop kills QEMU and returns when it has exited. Disks in a cache of their own lose what was not
// flushed.
func (p *Process) Stop() {
	_ = p.process.Kill() // fails only if QEMU has exited
	<-p.exited
}

// Addr returns the address on this host that leads to a TCP port of the guest. It is empty if the
// port is not one of [Config.Ports].
func (p *Process) Addr(port int) string {
	if p.ports[port] == 0 {
		return ""
	}
	return fmt.Sprintf("127.0.0.1:%d", p.ports[port])
}

// TCP[HOST_FORWARD]   3       127.0.0.1 43799       10.0.2.15  3306     0     0
var forward = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)`)

// forwarded asks QEMU which ports of this host the kernel chose. QMP has no command for that, so it
// parses the output of a command of the human monitor.
func (p *Process) forwarded(ctx context.Context) (map[int]int, error) {
	var text string
	if err := p.Monitor.Do(ctx, "human-monitor-command", map[string]any{"command-line": "info usernet"}, &text); err != nil {
		return nil, err
	}
	ports := map[int]int{}
	for _, match := range forward.FindAllStringSubmatch(text, -1) {
		host, err := strconv.Atoi(match[1])
		if err != nil {
			return nil, err
		}
		guest, err := strconv.Atoi(match[2])
		if err != nil {
			return nil, err
		}
		ports[guest] = host
	}
	return ports, nil
}

// socketpair returns a connection, and its other end for a child process. A socket in a folder would
// need a short path, a wait until it exists, and a removal.
func socketpair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close() // FileConn duplicates it
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}
