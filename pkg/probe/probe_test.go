package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var errLate = errors.New("no answer within a moment")

// within is a context that ends soon.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errLate)
	t.Cleanup(cancel)
	return ctx
}

// listen accepts connections, and does with each what serve does.
func listen(t *testing.T, network, address string, serve func(net.Conn)) net.Listener {
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); serve(conn) }()
		}
	}()
	return l
}

func TestAServiceServesThatAcceptsAConnection(t *testing.T) {
	dir := t.TempDir()
	wait := func(net.Conn) { time.Sleep(time.Second) }
	tcp := listen(t, "tcp", "127.0.0.1:0", wait).Addr().(*net.TCPAddr)
	listen(t, "unix", filepath.Join(dir, "socket"), wait)
	for address, network := range map[string]string{
		tcp.String(): "tcp", fmt.Sprintf("localhost:%d", tcp.Port): "tcp", filepath.Join(dir, "socket"): "unix",
	} {
		if err := Connect(within(t), network, address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAnAddressThatAcceptsNothingSaysWhy(t *testing.T) {
	dir := t.TempDir()
	closed := listen(t, "tcp", "127.0.0.1:0", nil)
	closed.Close()
	stale := filepath.Join(dir, "stale")
	l := listen(t, "unix", stale, nil).(*net.UnixListener)
	l.SetUnlinkOnClose(false)
	l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ network, address, want string }{
		{"tcp", closed.Addr().String(), "connection refused"},
		{"tcp", strings.Replace(closed.Addr().String(), "127.0.0.1", "localhost", 1), "connection refused"},
		{"unix", stale, "connection refused"},
		{"unix", filepath.Join(dir, "none"), "no such file or directory"},
		{"unix", file, "connection refused"},
	} {
		if err := Connect(within(t), c.network, c.address); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.address, err, c.want)
		}
	}
}

func TestAStatusTellsWhetherAServiceServes(t *testing.T) {
	elsewhere := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprint(w, strings.Repeat("x", 1<<20))
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/elsewhere":
			elsewhere = true
		case "/starting":
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "starting:\nreplays its journal\n")
		case "/endless":
			w.WriteHeader(http.StatusInternalServerError)
			for r.Context().Err() == nil {
				fmt.Fprint(w, strings.Repeat("noise ", 1000))
			}
		case "/silent":
			w.WriteHeader(http.StatusInternalServerError)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	for path, want := range map[string]struct{ answer, err string }{
		"/ok":       {"200 OK", ""},
		"/none":     {"204 No Content", ""},
		"/redirect": {"", "302 Found, a redirect to /elsewhere"},
		"/starting": {"", "503 Service Unavailable: starting:; replays its journal"},
		"/endless":  {"", "500 Internal Server Error: noise noise"},
		"/silent":   {"", "500 Internal Server Error, and no answer within a moment of its body"},
		"/absent":   {"", "404 Not Found"},
	} {
		answer, err := Get(within(t), server.URL+path)
		if answer != want.answer || (err == nil) != (want.err == "") || err != nil && !strings.HasPrefix(err.Error(), want.err) {
			t.Errorf("%s: got %q, %v", path, answer, err)
		}
		if err != nil && len(err.Error()) > AnswerMax {
			t.Errorf("%s: the answer has %d bytes", path, len(err.Error()))
		}
	}
	if elsewhere {
		t.Error("it followed a redirect")
	}
	port := server.Listener.Addr().(*net.TCPAddr).Port
	if answer, err := Get(within(t), fmt.Sprintf("http://localhost:%d/ok", port)); err != nil || answer != "200 OK" {
		t.Errorf("localhost: got %q, %v", answer, err)
	}
}

func TestAServerOfNoHTTPIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(net.Conn)
		want  string
	}{
		"says nothing": {func(net.Conn) { time.Sleep(time.Second) }, errLate.Error()},
		"hangs up":     {func(net.Conn) {}, "EOF"},
		"says hello":   {func(c net.Conn) { fmt.Fprint(c, "5.5.5-10.11 MariaDB\n\n") }, "malformed HTTP"},
		"has a header without end": {func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := fmt.Fprint(c, "X: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}, "server response headers exceeded"},
	} {
		l := listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
			if _, err := conn.Read(make([]byte, 4096)); err == nil {
				c.serve(conn)
			}
		})
		answer, err := Get(within(t), "http://"+l.Addr().String()+"/")
		if answer != "" || err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > AnswerMax {
			t.Errorf("%s: got %q, %v; want %s", name, answer, err, c.want)
		}
	}
}

func TestAnAnswerIsOneShortLine(t *testing.T) {
	for text, want := range map[string]string{
		"": "", " up \n\n": "up", "a\r\nb\n": "a; b", strings.Repeat("ä", 200): strings.Repeat("ä", 98) + "…",
	} {
		if got := Clip(text); got != want {
			t.Errorf("%q: got %q", text, got)
		}
	}
}
