package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is a user that owns nothing.
const nobody = 65534

// listen serves HTTP to root on a socket that everybody may connect to.
func listen(t *testing.T) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bootagent") // a socket's path has room for 107 bytes, unix(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "control.sock")
	listener, err := net.Listen("unix", socket)
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.Chmod(socket, 0o777)); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "served") })}
	go server.Serve(rootOnly{listener})
	t.Cleanup(func() { server.Close() })
	return socket
}

// ask asks what listens at a socket, as a user, and returns the answer, or
// nothing where it hangs up.
func ask(t *testing.T, socket string, uid int) (answer string) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		if uid != os.Getuid() {
			runtime.LockOSThread() // and never unlocked: each thread has a user of its own, credentials(7)
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
				done <- errno
				return
			}
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
			done <- err
			return
		}
		unix.SendmsgN(fd, []byte("GET / HTTP/1.0\r\n\r\n"), nil, nil, unix.MSG_NOSIGNAL)
		for buf := make([]byte, 4096); ; {
			n, err := unix.Read(fd, buf)
			if n <= 0 || err != nil {
				break
			}
			answer += string(buf[:n])
		}
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("no answer, and no end")
	}
	return answer
}

func TestOrdersAreTakenFromRootOnly(t *testing.T) {
	socket := listen(t)
	if os.Getuid() != 0 {
		if answer := ask(t, socket, os.Getuid()); answer != "" {
			t.Errorf("user number %d is told %q", os.Getuid(), answer)
		}
		t.Skip("being root needs root")
	}
	for range 2 { // one that is refused keeps no other from being served
		if answer := ask(t, socket, nobody); answer != "" {
			t.Errorf("a user is told %q", answer)
		}
		if answer := ask(t, socket, 0); !strings.HasSuffix(answer, "served") {
			t.Errorf("root is told %q", answer)
		}
	}
}

func TestAcceptEndsWithItsListener(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { listener.Close() })
	if conn, err := (rootOnly{listener}).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, %v", conn, err)
	}
}

func TestRetryWithoutAnAgentSaysSo(t *testing.T) {
	if _, err := os.Stat(controlSocket); err == nil {
		t.Skip("an agent runs on this machine")
	}
	var out, errs strings.Builder
	code := run(context.Background(), []string{"retry"}, &out, &errs)
	want := "bootagent: cannot reach the agent: dial unix /run/bootagent/control.sock: connect: no such file or directory\n" +
		"hint: it takes orders from root only, while it runs: systemctl start bootagent; systemctl status --no-pager bootagent\n"
	if code != exitFailed || errs.String() != want || out.Len() > 0 {
		t.Errorf("exit %d, %s", code, errs.String())
	}
}

func TestTheSocketForOrdersIsThereAgainAfterItWasDeleted(t *testing.T) {
	dir, err := os.MkdirTemp("", "bootagent") // a socket's path has room for 107 bytes, unix(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "control.sock")
	c := newControl(slog.New(slog.DiscardHandler), path, nil)
	defer c.close()
	c.keep()
	first := c.bound
	c.keep()
	if !os.SameFile(first, c.bound) {
		t.Error("the socket was made again, and nobody had touched it")
	}
	for name, harm := range map[string]func() error{
		"deleted":          func() error { return os.Remove(path) },
		"made by somebody": func() error { return os.WriteFile(path+".x", nil, 0o600) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if name != "deleted" {
			if err := os.Rename(path+".x", path); err != nil {
				t.Fatal(err)
			}
		}
		c.keep()
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		conn.Close()
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: it is %v, %v", name, info, err)
		}
	}
}
