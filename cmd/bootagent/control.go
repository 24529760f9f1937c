package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/boot"
)

// controlSocket is where the agent takes orders, by HTTP, from root alone.
var controlSocket = filepath.Join(runDir, "control.sock")

// serveControl takes orders until ctx ends. An agent that can't goes on without.
func serveControl(ctx context.Context, log *slog.Logger, retry func(context.Context) error) {
	listener, err := listenControl()
	if err != nil {
		log.Error("cannot take orders", "error", err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/retry", func(w http.ResponseWriter, r *http.Request) {
		if err := retry(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	server := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(rootOnly{listener}); !errors.Is(err, http.ErrServerClosed) {
		log.Error("takes no more orders", "error", err)
	}
}

func listenControl() (net.Listener, error) {
	if err := os.Remove(controlSocket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", controlSocket)
	if err != nil {
		return nil, err
	}
	return listener, os.Chmod(controlSocket, 0o600)
}

// rootOnly hangs up on every peer but root, whatever the mode of the socket.
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

// peer returns the user number of who connected, unix(7).
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

// retry has the running agent try again what failed.
func retry(ctx context.Context, args []string, _ io.Writer) error {
	if err := parse("retry", args, nil, 0, 0); err != nil {
		return err
	}
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", controlSocket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bootagent/v1/retry", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		if cause := (*url.Error)(nil); errors.As(err, &cause) {
			err = cause.Err // without the address, which is none of a person's
		}
		return boot.WithHint(fmt.Errorf("cannot reach the agent: %w", err), "it takes orders from root only, while it runs: systemctl status bootagent")
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("the agent could not retry: %s", why)
	}
	return nil
}
