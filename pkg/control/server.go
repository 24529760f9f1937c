package control

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Server answers the control API on a socket. Keep and Close are called from
// one goroutine.
type Server struct {
	log    *slog.Logger
	path   string
	server *http.Server

	listener net.Listener
	bound    os.FileInfo // of the socket; nil before there is one
}

// NewServer returns a server for a socket. It listens when Keep is called.
func NewServer(log *slog.Logger, path string, commands Commands) *Server {
	return &Server{log: log, path: path, server: &http.Server{
		Handler:     handler{commands},
		ReadTimeout: 10 * time.Second,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
}

// Keep makes the server listen, with a new socket if somebody deleted or
// replaced the old one. If that fails, it logs the error, and the agent goes on
// without the API.
func (s *Server) Keep() {
	if s.bound != nil && sameSocket(s.bound, s.path) {
		return
	}
	listener, bound, err := listen(s.path)
	if err != nil {
		s.log.Error("cannot listen on the control socket", "error", err)
		return
	}
	if s.listener != nil {
		s.log.Warn("the control socket was gone, and was created again", "socket", s.path)
		s.listener.Close()
	}
	s.listener, s.bound = listener, bound
	go func() {
		if err := s.server.Serve(rootOnly{listener}); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Error("the control API has stopped", "error", err)
		}
	}()
}

// Close stops the server, and closes its connections.
func (s *Server) Close() { s.server.Close() }

// sameSocket reports whether path is still the socket that was bound.
func sameSocket(bound os.FileInfo, path string) bool {
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(bound, now)
}

func listen(path string) (net.Listener, os.FileInfo, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, nil, err
	}
	listener.SetUnlinkOnClose(false) // by then, the path may be the socket of another agent
	err = os.Chmod(path, 0o600)
	bound, statErr := os.Lstat(path)
	if err := errors.Join(err, statErr); err != nil {
		listener.Close()
		return nil, nil, err
	}
	return listener, bound, nil
}

// rootOnly closes the connection of each peer that is not root, whatever the
// mode of the socket.
type rootOnly struct{ net.Listener }

func (l rootOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(conn.(*net.UnixConn)); err == nil && uid == 0 {
			return conn, nil
		}
		conn.Close()
	}
}

// peer returns the user ID of the process that connected, see SO_PEERCRED in
// unix(7).
func peer(conn *net.UnixConn) (uid uint32, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	ctlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(ctlErr, err); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
