// Package probe asks a service of this machine whether it serves: by a connection,
// by a request of HTTP, by a program in a transient unit, or by a unit. It asks the
// loopback device and sockets of the machine only, uses no proxy, and asks no name
// server.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// AnswerMax is how many bytes of an answer are kept: it goes into the status.
const AnswerMax = 200

// connects is the answer of a service that accepts a connection.
const connects = "it accepts a connection"

// Connect connects to an address of the network "tcp" or "unix", and closes the
// connection at once. An error says in few words why that was not possible; the
// caller knows what was asked.
func Connect(ctx context.Context, network, address string) error {
	conn, err := dial(ctx, network, address)
	if err != nil {
		return brief(ctx, err)
	}
	return conn.Close()
}

// dial connects. The name localhost is this machine, whatever a resolver says
// (RFC 6761, section 6.3).
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	port, local := strings.CutPrefix(address, "localhost:")
	if network != "tcp" || !local {
		return d.DialContext(ctx, network, address)
	}
	conn, err := d.DialContext(ctx, network, "127.0.0.1:"+port)
	if err == nil {
		return conn, nil
	}
	if conn, err6 := d.DialContext(ctx, network, "[::1]:"+port); err6 == nil {
		return conn, nil
	}
	return nil, err
}

// headerMax bounds the header of an answer, in bytes.
const headerMax = 64 << 10

// Get asks by HTTP, and returns the status line without the version: "200 OK". Any
// status but 200 to 299 is an error that says the status and how the body begins;
// so is a redirect, which is not followed.
func Get(ctx context.Context, url string) (answer string, err error) {
	transport := &http.Transport{
		DialContext: dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: headerMax,
	}
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("User-Agent", "bootagent")
	got, err := client.Do(request)
	if err != nil {
		return "", brief(ctx, err)
	}
	defer got.Body.Close()
	answer = Clip(got.Status)
	switch {
	case got.StatusCode >= 200 && got.StatusCode < 300:
		return answer, nil
	case got.Header.Get("Location") != "":
		return "", errors.New(Clip(answer + ", a redirect to " + got.Header.Get("Location")))
	}
	body, err := io.ReadAll(io.LimitReader(got.Body, AnswerMax)) // as much as comes in time
	if text := Clip(string(body)); text != "" {
		return "", errors.New(Clip(answer + ": " + text))
	}
	if err != nil && ctx.Err() != nil {
		return "", fmt.Errorf("%s, and %w of its body", answer, context.Cause(ctx))
	}
	return "", errors.New(answer)
}

// brief is an error without what the caller knows: the address, and which call
// failed.
func brief(ctx context.Context, err error) error {
	var errno syscall.Errno
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &errno):
		return errno
	}
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(err) {
		err = cause
	}
	return errors.New(Clip(err.Error()))
}

// Clip makes one line of a text of at most AnswerMax bytes.
func Clip(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	text = strings.TrimSpace(text)
	if len(text) > AnswerMax {
		text = strings.ToValidUTF8(text[:AnswerMax-len("…")], "") + "…"
	}
	return text
}
