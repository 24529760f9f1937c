package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"bootagent/pkg/fault"
)

const (
	// askWithin is how long the agent may take to answer. It asks the metadata
	// service meanwhile, for 10 s at most.
	askWithin = 30 * time.Second

	// answerMax is the most bytes of an answer that the client reads.
	answerMax = 1 << 20
)

// A Client asks the agent that listens on a socket. Its errors are those of the
// agent, with their hint and whether they are permanent (package fault), or say
// that the agent cannot be reached, and how to start it.
type Client struct {
	Socket string // the path
}

// Retry lets the agent read everything again, and try failed steps again.
func (c Client) Retry(ctx context.Context) (Answer, error) {
	return c.ask(ctx, "retry", nil)
}

// Unlock gives the agent private keys, as age-keygen writes them. The caller
// clears keys.
func (c Client) Unlock(ctx context.Context, keys []byte) (Answer, error) {
	body := unlockRequest{keys}.encode()
	defer clear(body)
	return c.ask(ctx, "unlock", body)
}

// Bypass starts a held service although not all that it needs is there. ErrNoPlan and
// ErrUnreachable say that the agent cannot do it.
func (c Client) Bypass(ctx context.Context, want BypassRequest) (Answer, error) {
	return c.askJSON(ctx, "bypass", want)
}

// Grow has the agent grow the filesystem of a volume, or say what it would do.
func (c Client) Grow(ctx context.Context, want GrowRequest) (Answer, error) {
	return c.askJSON(ctx, "grow", want)
}

// Adopt has the agent take a filesystem for a volume that it refuses for its ledger, or
// say what it would do.
func (c Client) Adopt(ctx context.Context, want AdoptRequest) (Answer, error) {
	return c.askJSON(ctx, "adopt", want)
}

// EndBypass ends a bypass. ErrNoPlan and ErrUnreachable say that the agent cannot do it.
func (c Client) EndBypass(ctx context.Context, unit string) (Answer, error) {
	return c.askJSON(ctx, "end-bypass", BypassRequest{Unit: unit})
}

// ErrUnreachable says that no agent answers.
var ErrUnreachable = errors.New("cannot reach the agent")

func (c Client) askJSON(ctx context.Context, name string, body any) (Answer, error) {
	src, err := json.Marshal(body)
	if err != nil {
		return Answer{}, err
	}
	return c.ask(ctx, name, src)
}

func (c Client) ask(ctx context.Context, name string, body []byte) (Answer, error) {
	client := http.Client{Timeout: askWithin, Transport: &http.Transport{
		DisableKeepAlives: true, // the command ends after one answer
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		},
	}}
	path := fmt.Sprintf("http://bootagent/v%d/%s", version, name)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return Answer{}, unreachable(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerMax))
	if err != nil {
		return Answer{}, fmt.Errorf("cannot read the agent's answer: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		var answer Answer
		if json.Unmarshal(text, &answer) != nil || answer.Message == "" {
			return Answer{}, notUnderstood(response.StatusCode)
		}
		return answer, nil
	}
	var p problem
	if json.Unmarshal(text, &p) != nil || p.Message == "" {
		return Answer{}, notUnderstood(response.StatusCode)
	}
	return Answer{}, fmt.Errorf("cannot %s: %w", name, p.err())
}

// unreachable says why there is no answer, without the URL, which means nothing
// to a person.
func unreachable(err error) error {
	if wrapper := (*url.Error)(nil); errors.As(err, &wrapper) {
		err = wrapper.Err
	}
	hint := "start the agent: systemctl start bootagent; if that fails: systemctl status --no-pager bootagent"
	dial := (*net.OpError)(nil)
	connected := !errors.As(err, &dial) || dial.Op != "dial" // the agent closed the connection: how net/http says that differs by the moment
	if connected && !os.IsTimeout(err) || errors.Is(err, fs.ErrPermission) {
		hint = "run this as root: the agent answers root only"
	}
	return fault.WithHint(fmt.Errorf("%w: %w", ErrUnreachable, err), hint)
}

// notUnderstood is the error for an answer that is not of this API.
func notUnderstood(code int) error {
	return fault.WithHint(fmt.Errorf("cannot understand the agent's answer (HTTP status %d)", code),
		"the agent is of another version than this command; restart it: systemctl restart bootagent")
}
