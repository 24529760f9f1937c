package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is a user that owns nothing.
const nobody = 65534

// socketDir returns a directory with a short name: a socket's path has at most
// 107 bytes, unix(7).
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bootagent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve serves commands on a socket.
func serve(t *testing.T, commands Commands) (socket string) {
	t.Helper()
	socket = filepath.Join(socketDir(t), "control.sock")
	server := NewServer(slog.New(slog.DiscardHandler), socket, commands)
	server.Keep()
	t.Cleanup(server.Close)
	return socket
}

// ask sends a request as a user, and returns the answer, or "" if the server
// closes the connection.
func ask(t *testing.T, socket string, uid int, request string) (answer string) {
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
		unix.SendmsgN(fd, []byte(request), nil, nil, unix.MSG_NOSIGNAL)
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

func TestOnlyRootIsAnswered(t *testing.T) {
	var retried atomic.Int64
	socket := serve(t, Commands{Retry: func(context.Context) (string, error) { retried.Add(1); return "retried", nil }})
	// The socket's mode is not what keeps others out.
	if err := errors.Join(os.Chmod(filepath.Dir(socket), 0o755), os.Chmod(socket, 0o777)); err != nil {
		t.Fatal(err)
	}
	const request = "POST /v1/retry HTTP/1.0\r\n\r\n"
	if os.Getuid() != 0 {
		if answer := ask(t, socket, os.Getuid(), request); answer != "" {
			t.Errorf("user ID %d is answered %q", os.Getuid(), answer)
		}
		if _, err := (Client{socket}).Retry(t.Context()); err == nil || retried.Load() > 0 {
			t.Errorf("the client of another user gets %v", err)
		}
		t.Skip("being root needs root")
	}
	for range 2 { // a peer that is refused does not keep another from being served
		if answer := ask(t, socket, nobody, request); answer != "" {
			t.Errorf("a user is answered %q", answer)
		}
		if answer := ask(t, socket, 0, request); !strings.HasSuffix(answer, "{\"message\":\"retried\"}\n") {
			t.Errorf("root is answered %q", answer)
		}
	}
	if n := retried.Load(); n != 2 {
		t.Errorf("the agent retried %d times, want 2", n)
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

func TestTheSocketIsCreatedAgainAfterItWasDeleted(t *testing.T) {
	path := filepath.Join(socketDir(t), "control.sock")
	s := NewServer(slog.New(slog.DiscardHandler), path, Commands{})
	defer s.Close()
	s.Keep()
	first := s.bound
	s.Keep()
	if !os.SameFile(first, s.bound) {
		t.Error("the socket was created again, and nobody had touched it")
	}
	for name, harm := range map[string]func() error{
		"deleted":             func() error { return os.Remove(path) },
		"replaced by another": func() error { return os.WriteFile(path+".x", nil, 0o600) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		if name != "deleted" {
			if err := os.Rename(path+".x", path); err != nil {
				t.Fatal(err)
			}
		}
		s.Keep()
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
