package imdsd

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bootagent/pkg/systemd/guard"
)

// inNamespace says that the test runs in a network and with mounts of its own.
const inNamespace = "BOOTAGENT_TEST_IN_NAMESPACE"

func alone(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("not root: BPF programs are not loaded into the kernel")
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "--", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=yes", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// group makes a control group whose processes have the pinned programs, and returns
// the file that takes a process.
func group(t *testing.T, pins string) (procs string) {
	t.Helper()
	top := t.TempDir()
	ok(t, unix.Mount("none", top, "cgroup2", 0, ""))
	dir := filepath.Join(top, "bootagent-test-"+strconv.Itoa(os.Getpid()))
	ok(t, os.Mkdir(dir, 0o755))
	cgroup, err := os.Open(dir)
	ok(t, err)
	t.Cleanup(func() {
		ok(t, os.WriteFile(filepath.Join(top, "cgroup.procs"), []byte("0"), 0))
		cgroup.Close()
		ok(t, os.Remove(dir))
		ok(t, unix.Unmount(top, unix.MNT_DETACH))
	})
	for _, h := range hooks() {
		name := append([]byte(filepath.Join(pins, h.name)), 0)
		get := struct {
			path           uint64
			program, flags uint32
		}{path: address(name)}
		program, err := bpf(unix.BPF_OBJ_GET, unsafe.Pointer(&get), unsafe.Sizeof(get))
		ok(t, err)
		attach := struct{ target, program, attach, flags uint32 }{uint32(cgroup.Fd()), uint32(program), h.attach, unix.BPF_F_ALLOW_MULTI}
		_, err = bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attach), unsafe.Sizeof(attach))
		ok(t, err)
		unix.Close(program)
	}
	return filepath.Join(dir, "cgroup.procs")
}

// connect begins to connect, and returns the mark that the socket has then.
func connect(t *testing.T, address string) (mark int, err error) {
	t.Helper()
	addr := netip.MustParseAddrPort(address)
	family, to := unix.AF_INET, unix.Sockaddr(nil)
	if addr.Addr().Is6() {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	} else {
		to = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	ok(t, err)
	defer unix.Close(fd)
	if err = unix.Connect(fd, to); errors.Is(err, unix.EINPROGRESS) {
		err = nil
	}
	mark, getting := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK)
	ok(t, getting)
	return mark, err
}

// The network is as systemd-networkd makes it of systemd.imds.network=locked.
func TestAServicePassesTheLockToTheMetadataServiceAndNoOtherSocketIsMarked(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		alone(t)
		return
	}
	for _, line := range []string{
		"link set lo up", "link add eth0 type veth peer name out", "link set out up", "link set eth0 up",
		"address add 169.254.1.1/16 dev eth0", "address add fd00:ec2::1/32 dev eth0 nodad",
		"route add prohibit 169.254.169.254", "route add prohibit fd00:ec2::254",
		"rule add fwmark 0x7FFF0815 lookup 100", "-6 rule add fwmark 0x7FFF0815 lookup 100",
		"route add 169.254.169.254 dev eth0 table 100", "route add fd00:ec2::254 dev eth0 table 100",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", line, err, out)
		}
	}
	pins := t.TempDir()
	ok(t, unix.Mount("none", pins, "bpf", 0, ""))
	defer unix.Unmount(pins, unix.MNT_DETACH)
	dir := filepath.Join(pins, "bootagent")
	ok(t, pin(dir))
	ok(t, pin(dir)) // an upgrade of the package

	metadata := []string{"169.254.169.254:80", "[fd00:ec2::254]:80"}
	for _, address := range metadata {
		if _, err := connect(t, address); !errors.Is(err, unix.EACCES) {
			t.Fatalf("the way to %s is not locked: %v", address, err)
		}
	}
	ok(t, os.WriteFile(group(t, dir), []byte("0"), 0))
	for _, address := range metadata {
		if mark, err := connect(t, address); mark != guard.PassMark || err != nil {
			t.Errorf("%s: the mark is %#x, and connect says %v", address, mark, err)
		}
	}
	for _, address := range []string{
		"169.254.169.253:80", "169.254.1.1:80", "[fd00:ec2::253]:80", "[fd00:ec2:1::254]:80", "[fd00:ec3::254]:80", "[fd00:ec2::1:0:254]:80", "[::1]:80",
	} {
		if mark, _ := connect(t, address); mark != 0 {
			t.Errorf("%s: the mark is %#x", address, mark)
		}
	}
}
