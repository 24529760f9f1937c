package imds

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace says that the test runs in a network of its own.
const inNamespace = "BOOTAGENT_TEST_IN_NAMESPACE"

// again runs the test again by a program that ends with it.
func again(t *testing.T, as string, argv ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")...)
	cmd.Env = append(os.Environ(), inNamespace+"="+as, "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("as %q: %v\n%s", as, err, out)
	}
}

func alone(t *testing.T) {
	t.Helper()
	again(t, "owner", "unshare", "--user", "--map-root-user", "--net", "--")
}

// locked makes what systemd-networkd makes of systemd.imds.network=locked, and a
// metadata service on the other end of the link.
func locked(t *testing.T, s *service) {
	t.Helper()
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %q: %v\n%s", args, err, out)
		}
	}
	runtime.LockOSThread() // so that the other thread is another
	defer runtime.UnlockOSThread()
	here := strconv.Itoa(unix.Gettid())
	ready, done := make(chan net.Listener), make(chan bool)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		defer close(ready)
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		ip("link", "add", "out", "type", "veth", "peer", "name", "eth0", "netns", here)
		ip("address", "add", "169.254.169.254/16", "dev", "out")
		ip("link", "set", "out", "up")
		l, err := net.Listen("tcp", "169.254.169.254:80")
		if err != nil {
			t.Error(err)
			return
		}
		ready <- l
		<-done
	}()
	l, ok := <-ready
	if !ok {
		t.FailNow()
	}
	t.Cleanup(func() { close(done) })
	server := &http.Server{Handler: s}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	ip("link", "set", "eth0", "up")
	ip("address", "add", "169.254.1.1/16", "dev", "eth0")
	ip("route", "add", "prohibit", "169.254.169.254")
	ip("rule", "add", "fwmark", "0x7FFF0815", "lookup", "100")
	ip("route", "add", "169.254.169.254", "dev", "eth0", "src", "169.254.1.1", "table", "100")
}

func TestTheAgentGetsThroughTheLockOfSystemd(t *testing.T) {
	const userData = "#bootagent\n"
	switch os.Getenv(inNamespace) {
	case "":
		alone(t)
		return
	case "owner":
		locked(t, newService(t, map[string]string{userDataPath: userData}))
		again(t, "agent", "setpriv", "--bounding-set=-all,+net_raw", "--inh-caps=-all", "--") // as its unit has it
		return
	}
	if _, err := net.Dial("tcp", "169.254.169.254:80"); !errors.Is(err, unix.EACCES) {
		t.Fatalf("the network is not locked: %v", err)
	}
	if data, err := New("").UserData(t.Context()); err != nil || string(data) != userData {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestALockThatTheAgentMayNotPassIsNamed(t *testing.T) {
	switch os.Getenv(inNamespace) {
	case "":
		alone(t)
		return
	case "owner":
		locked(t, newService(t, nil))
		again(t, "sealed", "setpriv", "--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin", "--")
		return
	}
	_, err := New("").UserData(t.Context())
	e := (*Error)(nil)
	if !errors.As(err, &e) || e.Kind != Barred || e.Permanent() {
		t.Fatalf("got %v", err)
	}
	for _, words := range []string{"this machine bars the way to it", "connect: permission denied", "systemd.imds.network=locked"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("it does not say %q: %v", words, err)
		}
	}
	for _, words := range []string{"ip route get 169.254.169.254", "CAP_NET_RAW", "systemd.imds.network=unlocked"} {
		if !strings.Contains(e.Hint(), words) {
			t.Errorf("the hint does not say %q: %s", words, e.Hint())
		}
	}
}
