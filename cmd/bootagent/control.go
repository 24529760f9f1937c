package main

import (
	"bytes"
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
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/fault"
	"bootagent/pkg/secret"
)

// controlSocket is where the agent takes orders, by HTTP, from root alone.
var controlSocket = filepath.Join(runDir, "control.sock")

// A control takes orders at a socket.
type control struct {
	log    *slog.Logger
	path   string
	server *http.Server

	listener net.Listener
	bound    os.FileInfo // of the socket; nil before there is one
}

func newControl(log *slog.Logger, path string, handler http.Handler) *control {
	return &control{log: log, path: path, server: &http.Server{Handler: handler, ReadTimeout: 10 * time.Second}}
}

// keep takes orders, with a new socket where the one that was there is gone. An
// agent that can't take any goes on without.
func (c *control) keep() {
	if c.bound != nil && sameSocket(c.bound, c.path) {
		return
	}
	listener, bound, err := listenControl(c.path)
	if err != nil {
		c.log.Error("cannot take orders", "error", err)
		return
	}
	if c.listener != nil {
		c.log.Warn("the socket for orders was gone, and is there again", "socket", c.path)
		c.listener.Close()
	}
	c.listener, c.bound = listener, bound
	go func() {
		if err := c.server.Serve(rootOnly{listener}); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			c.log.Error("takes no more orders", "error", err)
		}
	}()
}

func (c *control) close() { c.server.Close() }

// sameSocket tells whether a socket is the very one that was bound.
func sameSocket(bound os.FileInfo, path string) bool {
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(bound, now)
}

// orders are what the agent can be told.
func orders(retry func(context.Context) (string, error), unlock func(context.Context, []byte) (string, error)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/retry", func(w http.ResponseWriter, r *http.Request) {
		answer, err := retry(r.Context())
		if err != nil {
			text := err.Error()
			if hint := fault.HintOf(err); hint != "" {
				text += "\nhint: " + hint
			}
			http.Error(w, text, http.StatusInternalServerError)
			return
		}
		io.WriteString(w, answer)
	})
	// The body is a secret: it is told to unlock and to nobody else.
	mux.HandleFunc("POST /v1/unlock", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, secret.KeysTextMax))
		defer clear(text)
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			http.Error(w, fmt.Sprintf("more than %d bytes, which is too much for keys", large.Limit), http.StatusRequestEntityTooLarge)
			return
		}
		if err != nil {
			http.Error(w, "the keys did not come whole", http.StatusBadRequest)
			return
		}
		answer, err := unlock(r.Context(), text)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		io.WriteString(w, answer)
	})
	return mux
}

func listenControl(path string) (net.Listener, os.FileInfo, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, nil, err
	}
	listener.SetUnlinkOnClose(false) // it may be another's by then
	err = os.Chmod(path, 0o600)
	bound, statErr := os.Lstat(path)
	if err := errors.Join(err, statErr); err != nil {
		listener.Close()
		return nil, nil, err
	}
	return listener, bound, nil
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

// retry has the running agent read everything again, and try again what failed.
func retry(ctx context.Context, args []string, out io.Writer) error {
	if err := parse("retry", args, nil, 0, 0); err != nil {
		return err
	}
	answer, err := order(ctx, controlSocket, "retry", nil)
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		return fmt.Errorf("the agent could not retry: %w", err)
	}
	if err == nil {
		fmt.Fprintln(out, answer)
	}
	return err
}

// refusedError is how an agent answers that does not do what it was told.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return e.why }

// order tells the running agent to do something, and returns what it answers.
func order(ctx context.Context, socket, what string, body []byte) (string, error) {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, // the program ends
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bootagent/v1/"+what, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		if cause := (*url.Error)(nil); errors.As(err, &cause) {
			err = cause.Err // without the address, which is none of a person's
		}
		return "", fault.WithHint(fmt.Errorf("cannot reach the agent: %w", err), "it takes orders from root only, while it runs: systemctl start bootagent; systemctl status --no-pager bootagent")
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return "", fmt.Errorf("the agent did not answer: %w", err)
	}
	text := strings.TrimSpace(string(answer))
	if resp.StatusCode != http.StatusOK {
		return "", &refusedError{text}
	}
	return text, nil
}

// answerMax is how much of an answer of the agent is shown, in bytes.
const answerMax = 16 << 10
