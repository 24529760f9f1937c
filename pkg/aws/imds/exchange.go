package imds

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// deadlines bound one exchange with the service. It answers within
// milliseconds; a first packet that gets lost is sent again after a second.
type deadlines struct {
	connect time.Duration
	answer  time.Duration // until the answer begins, and again until it ends
}

// maxAnswer bounds an answer of the service, in bytes. The longest that it is
// asked for is the user-data.
const maxAnswer = 64 << 10

var errTooLong = fmt.Errorf("it has more than %d bytes", maxAnswer)

// An exchange is one request to the service, and what came of it.
type exchange struct {
	method, path string // "" where there was no request
	connected    bool
	status       int       // of the answer, 0 where there is none
	err          error     // why there is no answer, or no whole one
	date         time.Time // when, by the service's clock; zero if it does not tell
	body         []byte    // of the answer
}

type lastKey struct{}

// remember gives a context under which the last exchange is kept.
func remember(ctx context.Context) (context.Context, *exchange) {
	last := new(exchange)
	return context.WithValue(ctx, lastKey{}, last), last
}

// transport carries the requests of the SDK to the service. It knows no proxy,
// follows nowhere, and reads each answer to its end.
type transport struct {
	http   http.Transport
	within time.Duration // for a whole exchange
}

func newTransport(d deadlines) *transport {
	return &transport{
		http: http.Transport{
			Proxy:                  nil, // the service is on the link
			DialContext:            dialer(d.connect),
			ResponseHeaderTimeout:  d.answer,
			IdleConnTimeout:        time.Second, // long enough for a row of questions
			DisableCompression:     true,        // user-data is to come as it is
			MaxResponseHeaderBytes: maxAnswer,
		},
		within: d.connect + 2*d.answer,
	}
}

// Do is what the SDK calls.
func (t *transport) Do(req *http.Request) (*http.Response, error) {
	last, ok := req.Context().Value(lastKey{}).(*exchange)
	if !ok {
		last = new(exchange)
	}
	*last = exchange{method: req.Method, path: req.URL.Path}
	var connected atomic.Bool
	ctx, cancel := context.WithTimeout(req.Context(), t.within)
	defer cancel()
	resp, err := t.http.RoundTrip(req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})))
	last.connected, last.err = connected.Load(), err
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = errTooLong
	}
	last.status, last.err = resp.StatusCode, err
	last.date, _ = http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return nil, err
	}
	last.body = body
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
