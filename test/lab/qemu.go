package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A qemu is one run of QEMU, from power on to power off.
type qemu struct {
	monitor *monitor
	agent   *agent
	ports   map[int]int // guest's to host's
	process *os.Process
	exited  chan struct{}
	err     error // of the process, once exited is closed
}

// commandLine of the kernel. It has no initrd: NVMe and ext4 are built in.
var commandLine = strings.Join([]string{
	fmt.Sprintf("root=PARTUUID=%08x-01", diskSignature), "rw", "rootwait",
	"console=ttyS0",
	"panic=-1",        // ends QEMU, by -no-reboot
	"mitigations=off", // they cost emulated time, and protect nobody
	// The emulated counter is the host's, and good. A kernel that measures it on a busy host marks it
	// unstable; one that did so while it compared the counters of its two CPUs hung (one CPU skips the
	// comparison then, and the other waits for it).
	"tsc=reliable",
	// For those who read the console: systemd tells of every unit, by its name.
	"systemd.show_status=yes", "systemd.status_unit_format=name",
}, " ")

// arguments of QEMU. The monitor is its descriptor 3, the line to the guest agent 4.
func (m *Machine) arguments() ([]string, error) {
	accel := os.Getenv("BOOTAGENT_LAB_ACCEL")
	if accel == "" {
		accel = "tcg,thread=multi"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		// Each device that is left out is a driver that udev need not load, emulated.
		"-machine", "q35,sata=off,smbus=off,vmport=off,hpet=off",
		"-accel", accel, "-cpu", "Nehalem", "-smp", "2", "-m", "1024",
		"-kernel", m.kernel, "-append", commandLine,
		"-netdev", m.network(), "-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci",
		"-chardev", "file,id=console,append=on,path=" + strings.ReplaceAll(m.path("console.log"), ",", ",,"), "-serial", "chardev:console",
		"-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control",
		"-chardev", "socket,id=agent,fd=4", "-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
	}
	if m.config.Capture != "" {
		args = append(args, "-object", "filter-dump,id=capture,netdev=net,file="+strings.ReplaceAll(m.config.Capture, ",", ",,"))
	}
	if m.config.UUID != "" {
		args = append(args, "-smbios", "type=1,manufacturer=Amazon EC2,uuid="+m.config.UUID)
	}
	if m.config.AssetTag != "" {
		args = append(args, "-smbios", "type=2,manufacturer=Amazon EC2,asset="+m.config.AssetTag)
	}
	for port, disk := range m.disks {
		args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=%s,chassis=%d,slot=%d", portName(port), port, port))
		if disk == nil {
			continue
		}
		blockdev, err := json.Marshal(disk.blockdev(port))
		if err != nil {
			return nil, err
		}
		device, err := json.Marshal(disk.device(port))
		if err != nil {
			return nil, err
		}
		args = append(args, "-blockdev", string(blockdev), "-device", string(device))
	}
	return args, nil
}

// network of the guest: it reaches its servers and the clients of its ports, and nothing else. A
// server's every connection is a socat of its own, as QEMU's own forwarding takes one for ever.
func (m *Machine) network() string {
	network := "user,id=net,restrict=on"
	if len(m.config.Servers) > 0 {
		network += ",net=169.254.169.0/24,host=169.254.169.2,dns=169.254.169.3,dhcpstart=169.254.169.15"
	}
	for _, port := range m.config.Ports {
		network += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:0-:%d", port)
	}
	for _, addr := range slices.Sorted(maps.Keys(m.config.Servers)) {
		network += fmt.Sprintf(",guestfwd=tcp:%s-cmd:socat STDIO UNIX-CONNECT:%s", addr, m.config.Servers[addr])
	}
	return network
}

// launch starts QEMU, which dies with this process.
func launch(ctx context.Context, args []string, log *os.File) (*qemu, error) {
	program, err := lookPath("qemu-system-x86_64")
	if err != nil {
		return nil, err
	}
	monitorConn, monitorFile, err := socketpair()
	if err != nil {
		return nil, err
	}
	defer monitorFile.Close()
	agentConn, agentFile, err := socketpair()
	if err != nil {
		monitorConn.Close()
		return nil, err
	}
	defer agentFile.Close()

	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{monitorFile, agentFile}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	q := &qemu{agent: newAgent(agentConn), exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The signal is sent when the thread that started the process ends (prctl(2)): keep it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			q.err = cmd.Wait()
			monitorConn.Close()
			agentConn.Close()
			close(q.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(err, monitorConn.Close(), agentConn.Close())
	}
	q.process = cmd.Process

	q.monitor, err = newMonitor(ctx, monitorConn)
	if err == nil {
		q.ports, err = q.forwarded(ctx)
	}
	if err != nil {
		q.stop()
		return nil, err
	}
	return q, nil
}

// stop kills QEMU; it has ended when stop returns.
func (q *qemu) stop() {
	_ = q.process.Kill() // fails only if it has ended
	<-q.exited
}

// TCP[HOST_FORWARD]   3       127.0.0.1 43799       10.0.2.15  3306     0     0
var forward = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)\s+\S+\s+(\d+)`)

// forwarded asks which ports of the host the kernel chose: QMP has no words for it, the monitor for
// people has.
func (q *qemu) forwarded(ctx context.Context) (map[int]int, error) {
	var text string
	if err := q.monitor.do(ctx, "human-monitor-command", map[string]any{"command-line": "info usernet"}, &text); err != nil {
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

// socketpair is a connection, and the other end of it for a child. Unlike a socket in a folder it
// needs no short path, no waiting until it is there, and no removal.
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
