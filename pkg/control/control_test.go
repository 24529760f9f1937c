package control

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/fault"
)

const keysMax = 1000

// serveAnyone serves a handler on a socket to every user.
func serveAnyone(t *testing.T, h http.Handler) (socket string) {
	t.Helper()
	socket = filepath.Join(socketDir(t), "control.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return socket
}

func retrying(message string, err error) Commands {
	return Commands{Retry: func(context.Context) (string, error) { return message, err }}
}

func TestAnswersReachTheClient(t *testing.T) {
	c := Client{serveAnyone(t, handler{retrying("all was read again", nil)})}
	if answer, err := c.Retry(t.Context()); err != nil || answer.Message != "all was read again" {
		t.Errorf("got %+v, %v", answer, err)
	}
}

// An error arrives with all that a person needs: nothing of it is lost on the
// way.
func TestErrorsKeepTheirHintAndWhetherTheyArePermanent(t *testing.T) {
	broken := errors.New("roles.d/web.yaml:3:1: unknown key\nroles.d/web.yaml:4:1: unknown key")
	for name, err := range map[string]error{
		"plain":                    broken,
		"with a hint":              fault.WithHint(broken, "correct it, then: bootagent retry"),
		"permanent":                fault.Permanent(broken),
		"permanent with a hint":    fault.Refuse("correct it", "%w", broken),
		"a hint around permanence": fault.WithHint(fault.Permanent(broken), "correct it"),
		"pending":                  fault.WithHint(&fault.Pending{For: "a key"}, "bring it"),
	} {
		fail := func() (string, error) { return "", err }
		commands := Commands{
			Retry:     func(context.Context) (string, error) { return fail() },
			Unlock:    func(context.Context, []byte) (string, error) { return fail() },
			Bypass:    func(context.Context, BypassRequest) (string, error) { return fail() },
			EndBypass: func(context.Context, string) (string, error) { return fail() },
			Grow:      func(context.Context, GrowRequest) (string, error) { return fail() },
			Adopt:     func(context.Context, AdoptRequest) (string, error) { return fail() },
			KeysMax:   keysMax,
		}
		c := Client{serveAnyone(t, handler{commands})}
		_, retryErr := c.Retry(t.Context())
		_, unlockErr := c.Unlock(t.Context(), []byte("key"))
		_, bypassErr := c.Bypass(t.Context(), BypassRequest{Unit: "mariadb.service"})
		_, endErr := c.EndBypass(t.Context(), "mariadb.service")
		_, growErr := c.Grow(t.Context(), GrowRequest{Volume: "data"})
		_, adoptErr := c.Adopt(t.Context(), AdoptRequest{Volume: "data"})
		for command, got := range map[string]error{"retry": retryErr, "unlock": unlockErr, "bypass": bypassErr, "end-bypass": endErr, "grow": growErr, "adopt": adoptErr} {
			if got == nil || got.Error() != "cannot "+command+": "+err.Error() ||
				fault.HintOf(got) != fault.HintOf(err) || fault.IsPermanent(got) != fault.IsPermanent(err) {
				t.Errorf("%s: %s gets %v, hint %q, permanent: %v", name, command, got, fault.HintOf(got), fault.IsPermanent(got))
			}
		}
	}
}

func TestRequestsThatAreNotOfTheAPIAreRefused(t *testing.T) {
	commands := Commands{
		Retry:     func(context.Context) (string, error) { t.Error("it ran"); return "", nil },
		Unlock:    func(context.Context, []byte) (string, error) { t.Error("it ran"); return "", nil },
		Bypass:    func(context.Context, BypassRequest) (string, error) { t.Error("it ran"); return "", nil },
		EndBypass: func(context.Context, string) (string, error) { t.Error("it ran"); return "", nil },
		Grow:      func(context.Context, GrowRequest) (string, error) { t.Error("it ran"); return "", nil },
		Adopt:     func(context.Context, AdoptRequest) (string, error) { t.Error("it ran"); return "", nil },
		KeysMax:   keysMax,
	}
	long := base64.StdEncoding.EncodeToString(make([]byte, keysMax+1))
	for name, c := range map[string]struct {
		method, path, body string
		code               int
		message, hint      string
	}{
		"an unknown path":      {"POST", "/", "", 404, `the control API has no path "/": it has /v1/ followed by retry, unlock, bypass, end-bypass, grow, adopt`, ""},
		"no version":           {"POST", "/retry", "", 404, `no path "/retry"`, ""},
		"no number":            {"POST", "/v1x/retry", "", 404, `no path "/v1x/retry"`, ""},
		"an unknown command":   {"POST", "/v1/lock", "", 404, `has no command "lock": it has retry, unlock, bypass, end-bypass, grow, adopt`, ""},
		"no command":           {"POST", "/v1/", "", 404, `has no command ""`, ""},
		"a wrong method":       {"GET", "/v1/unlock", "", 405, "the method GET is not allowed for /v1/unlock: use POST", ""},
		"a newer version":      {"POST", "/v2/retry", "", 404, "the agent speaks version 1 of the control API, and the request is version 2", "systemctl restart bootagent"},
		"an older version":     {"POST", "/v0/retry", "", 404, "the agent speaks version 1 of the control API, and the request is version 0", "/usr/bin/bootagent"},
		"no body":              {"POST", "/v1/unlock", "", 400, `the body is not {"keys": "BASE64"}`, ""},
		"no keys":              {"POST", "/v1/unlock", `{"keys":""}`, 400, "the body is not", ""},
		"a body of text":       {"POST", "/v1/unlock", "AGE-SECRET-KEY-1", 400, "the body is not", ""},
		"keys that are text":   {"POST", "/v1/unlock", `{"keys":"AGE-SECRET-KEY-1"}`, 400, "the body is not", ""},
		"keys that are long":   {"POST", "/v1/unlock", `{"keys":"` + long + `"}`, 413, "the keys have more than 1000 bytes", ""},
		"a bypass of no unit":  {"POST", "/v1/bypass", `{"reason": "down"}`, 400, "it names no unit", ""},
		"a bypass with more":   {"POST", "/v1/bypass", `{"unit": "a.service", "force": true}`, 400, `unknown field "force"`, ""},
		"an end of no bypass":  {"POST", "/v1/end-bypass", "", 400, "the body is not that of end-bypass", ""},
		"an adoption by force": {"POST", "/v1/adopt", `{"volume": "data", "force": true}`, 400, `unknown field "force"`, ""},
		"a growth with more":   {"POST", "/v1/grow", `{"volume": "data", "force": true}`, 400, `unknown field "force"`, ""},
		"a body that is large": {"POST", "/v1/unlock", strings.Repeat("x", 1<<16), 413, "the body has more than", ""},
	} {
		w := httptest.NewRecorder()
		handler{commands}.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: the answer is not JSON: %s", name, w.Body)
		}
		if w.Code != c.code || !strings.Contains(p.Message, c.message) || !strings.Contains(p.Hint, c.hint) || !p.Permanent {
			t.Errorf("%s: status %d, %+v", name, w.Code, p)
		}
		if strings.Contains(w.Body.String(), "SECRET") {
			t.Errorf("%s: the answer quotes the body: %s", name, w.Body)
		}
	}
	w := httptest.NewRecorder()
	body := io.MultiReader(strings.NewReader(`{"keys":`), brokenReader{})
	handler{commands}.ServeHTTP(w, httptest.NewRequest("POST", "/v1/unlock", body))
	if w.Code != 400 || !strings.Contains(w.Body.String(), "the body is incomplete") {
		t.Errorf("a body that breaks off: status %d, %s", w.Code, w.Body)
	}
}

func TestAnAdoptionReachesTheAgentAsItWasAsked(t *testing.T) {
	for _, want := range []AdoptRequest{
		{Volume: "data", By: "alice"}, {Volume: "data", AsCopyOf: "vol-1", FromRole: "orders", Yes: "vol-2", By: "alice"}, {Volume: "data", LostLedger: true, Yes: "vol-2"},
	} {
		c := Client{serveAnyone(t, handler{Commands{Adopt: func(_ context.Context, got AdoptRequest) (string, error) {
			if got != want {
				t.Errorf("the agent is asked for %+v, and %+v was wanted", got, want)
			}
			return "it is adopted", nil
		}}})}
		if answer, err := c.Adopt(t.Context(), want); err != nil || answer.Message != "it is adopted" {
			t.Errorf("got %q, %v", answer, err)
		}
	}
}

func TestAGrowthReachesTheAgentAsItWasAsked(t *testing.T) {
	for _, want := range []GrowRequest{{Volume: "data"}, {Volume: "data", DryRun: true}} {
		c := Client{serveAnyone(t, handler{Commands{Grow: func(_ context.Context, got GrowRequest) (string, error) {
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			return "it is grown", nil
		}}})}
		if answer, err := c.Grow(t.Context(), want); err != nil || answer.Message != "it is grown" {
			t.Errorf("got %+v, %v", answer, err)
		}
	}
}

func TestABypassReachesTheAgentAsItWasAsked(t *testing.T) {
	want := BypassRequest{Unit: "mariadb.service", Reason: "the secrets are away", By: "alice", WithoutProof: true}
	noPlan := fmt.Errorf("%w for nginx.service", ErrNoPlan)
	c := Client{serveAnyone(t, handler{Commands{
		Bypass: func(_ context.Context, got BypassRequest) (string, error) {
			if got != want {
				t.Errorf("got %+v", got)
			}
			return "it is granted", nil
		},
		EndBypass: func(_ context.Context, unit string) (string, error) { return "", noPlan },
	}})}
	if answer, err := c.Bypass(t.Context(), want); err != nil || answer.Message != "it is granted" {
		t.Errorf("got %+v, %v", answer, err)
	}
	if _, err := c.EndBypass(t.Context(), "nginx.service"); !errors.Is(err, ErrNoPlan) || !strings.Contains(err.Error(), noPlan.Error()) {
		t.Errorf("got %v, want %v", err, noPlan)
	}
	if _, err := (Client{filepath.Join(t.TempDir(), "none")}).Bypass(t.Context(), want); !errors.Is(err, ErrUnreachable) {
		t.Errorf("without an agent: got %v", err)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("it broke off") }

// The client shows what to do where the server is not of its version: one that
// answers in text, and one that answers with another kind of JSON.
func TestAnAnswerThatIsNotOfTheAPIIsAnErrorWithAHint(t *testing.T) {
	for _, c := range []struct {
		code int
		body string
	}{{200, "retried"}, {200, `{"state":"ready"}`}, {500, "this instance has no role"}, {404, `{"error":"not found"}`}} {
		client := Client{serveAnyone(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.code)
			io.WriteString(w, c.body)
		}))}
		_, err := client.Retry(t.Context())
		want := fmt.Sprintf("cannot understand the agent's answer (HTTP status %d)", c.code)
		if err == nil || err.Error() != want || !strings.Contains(fault.HintOf(err), "systemctl restart bootagent") {
			t.Errorf("%q: got %v, hint %q", c.body, err, fault.HintOf(err))
		}
	}
}

func TestAnAgentThatCannotBeReachedIsAnErrorWithAHint(t *testing.T) {
	_, err := Client{"/nonexistent/control.sock"}.Unlock(t.Context(), []byte("key"))
	if err == nil || err.Error() != "cannot reach the agent: dial unix /nonexistent/control.sock: connect: no such file or directory" ||
		!strings.Contains(fault.HintOf(err), "systemctl start bootagent") {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
	closes := filepath.Join(socketDir(t), "control.sock")
	listener, err := net.Listen("unix", closes)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() { // as the server does with a peer that is not root
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	if _, err := (Client{closes}).Retry(t.Context()); err == nil || !strings.Contains(fault.HintOf(err), "as root") {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
}

// The keys arrive whole, are cleared by whoever has them, and are not logged.
func TestKeysAreClearedAndNotLogged(t *testing.T) {
	const key = "AGE-SECRET-KEY-1EXAMPLE\n\x00\xff"
	var log bytes.Buffer
	var kept []byte
	socket := filepath.Join(socketDir(t), "control.sock")
	server := NewServer(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), socket, Commands{
		Unlock: func(_ context.Context, keys []byte) (string, error) {
			if string(keys) != key {
				t.Errorf("the agent gets %q", keys)
			}
			kept = keys
			return "1 key taken", nil
		},
		KeysMax: keysMax,
	})
	body := unlockRequest{[]byte(key)}.encode()
	if cap(body) != len(body) {
		t.Errorf("the body has %d bytes, and %d were reserved: it may have been copied", len(body), cap(body))
	}
	w := httptest.NewRecorder()
	server.server.Handler.ServeHTTP(w, httptest.NewRequest("POST", "/v1/unlock", bytes.NewReader(body)))
	if w.Code != 200 || w.Body.String() != "{\"message\":\"1 key taken\"}\n" {
		t.Errorf("status %d, %s", w.Code, w.Body)
	}
	if left := bytes.Trim(kept, "\x00"); len(left) > 0 {
		t.Errorf("the server does not clear the keys: %q", left)
	}
	if log.Len() > 0 {
		t.Errorf("it logs %s", log.String())
	}
}
