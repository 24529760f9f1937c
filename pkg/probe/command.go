package probe

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/systemd/pid1"
)

// A command is a program that tells whether a service serves. It runs in a transient
// unit, so that all that it starts ends with it. It can write to no file of the
// machine, and can't reach the metadata service.
type command struct {
	unit    string // bootagent-probe-....service
	service string // that is probed
	argv    []string
	user    string        // "" is root
	timeout time.Duration // after which systemd ends it, should the agent be gone
}

const (
	// printMax is how much is kept of what a probe prints, in bytes. All of it is
	// read, so that the probe can go on.
	printMax = 4 << 10

	// endWithin is how long a probe that is killed may take to end, and how long
	// the end of its output may take to arrive.
	endWithin = 5 * time.Second

	// acceptWithin is how long the agent may take to accept the output of a
	// program that has ended.
	acceptWithin = 200 * time.Millisecond
)

// runCommand runs a program once and returns how what it printed begins. The error says
// how the program ended, if that was not with the status 0. When ctx ends, the
// program is killed and the error is the cause of that.
func (h Host) runCommand(ctx context.Context, c command) (printed string, err error) {
	if err := h.end(ctx, c.unit); err != nil {
		return "", err
	}
	out, err := listenTo(filepath.Join(h.RunDir, strings.TrimSuffix(c.unit, ".service")+".out"))
	if err != nil {
		return "", err
	}
	defer func() { printed = out.close() }()
	err = h.Manager.StartTransientAndWait(ctx, c.unit, c.properties(out.path))
	if err == nil {
		return "", nil
	}
	ended := err
	if errors.As(err, new(*pid1.JobError)) {
		if how, askErr := h.Manager.Ended(ctx, c.unit); askErr == nil && how.Died != "" {
			ended = errors.New(c.howEnded(how.Died))
		}
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	if err := h.end(stop, c.unit); err != nil {
		h.Log.Warn("a probe can't be ended", "unit", c.unit, "error", err)
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return "", ended
}

// end ends a probe that still runs, and makes systemd forget it.
func (h Host) end(ctx context.Context, name string) error {
	state, err := h.Manager.State(ctx, name)
	if err != nil || state.Load == "not-found" {
		return err
	}
	return h.Manager.Forget(ctx, name)
}

// howEnded says how a probe ended. systemd exits with these statuses where it could
// not run the program (systemd.exec(5), "Process exit codes").
func (c command) howEnded(died string) string {
	died = strings.TrimPrefix(died, "it ")
	switch died {
	case "exited with status 203":
		return died + ", as " + c.argv[0] + " can't be run (EXEC)"
	case "exited with status 217":
		return died + ", as there is no user " + c.user + " (USER)"
	}
	return died
}

func (c command) properties(output string) []dbus.Property {
	argv := make([]string, len(c.argv))
	for i, word := range c.argv {
		argv[i] = strings.ReplaceAll(word, "$", "$$") // systemd would put in its environment
	}
	props := []dbus.Property{
		dbus.PropDescription("Probe of " + c.service),
		dbus.PropType("oneshot"),
		pid1.Property("ExecStart", []execCommand{{argv[0], argv, false}}),
		pid1.Property("TimeoutStartUSec", uint64((c.timeout + endWithin).Microseconds())),
		pid1.Property("KillSignal", int32(unix.SIGKILL)),
		pid1.Property("LogLevelMax", int32(0)), // the agent tells of each new answer
		pid1.Property("StandardInput", "null"),
		pid1.Property("StandardOutputFile", output),
		pid1.Property("StandardError", "inherit"),
		pid1.Property("Environment", []string{"LC_ALL=C"}),
		pid1.Property("ProtectSystem", "strict"),
		pid1.Property("ProtectHome", "yes"),
		pid1.Property("NoNewPrivileges", true),
		pid1.Property("LimitCORE", uint64(0)),
		pid1.Property("IPAddressDeny", metadataService()),
		pid1.Property("InaccessiblePaths", []string{"-" + guard.MetadataSocket}),
	}
	if c.user != "" {
		props = append(props, pid1.Property("User", c.user))
	}
	return props
}

// metadataService is IPAddressDeny on the bus, a(iayu).
func metadataService() (all []ipPrefix) {
	for _, address := range guard.MetadataAddresses() {
		family := int32(unix.AF_INET6)
		if address.Is4() {
			family = unix.AF_INET
		}
		all = append(all, ipPrefix{family, address.AsSlice(), uint32(address.BitLen())})
	}
	return all
}

// execCommand is an element of ExecStart on the bus, (sasb).
type execCommand struct {
	Path             string
	Args             []string
	UncleanIsFailure bool
}

type ipPrefix struct {
	Family  int32
	Address []byte
	Bits    uint32
}

// An output is what one run of a probe prints: systemd connects its standard output
// to a socket (systemd.exec(5), "file:path").
type output struct {
	path    string
	listens *net.UnixListener
	read    chan struct{} // closed when the program has printed all
	mu      sync.Mutex
	conn    net.Conn
	kept    []byte
}

func listenTo(path string) (*output, error) {
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	o := &output{path: path, listens: l, read: make(chan struct{})}
	go o.follow()
	return o, nil
}

// follow reads all that the program prints, and keeps the beginning.
func (o *output) follow() {
	defer close(o.read)
	conn, err := o.listens.Accept()
	if err != nil {
		return
	}
	o.mu.Lock()
	o.conn = conn
	o.mu.Unlock()
	buf := make([]byte, printMax)
	for {
		n, err := conn.Read(buf)
		o.mu.Lock()
		o.kept = append(o.kept, buf[:min(n, printMax-len(o.kept))]...)
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// close returns what was printed. The program has ended by then.
func (o *output) close() string {
	// What is connected already is still accepted.
	_ = o.listens.SetDeadline(time.Now().Add(acceptWithin))
	defer o.listens.Close()
	select {
	case <-o.read:
	case <-time.After(endWithin):
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn != nil {
		o.conn.Close()
	}
	return string(o.kept)
}
