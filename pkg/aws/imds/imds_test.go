package imds

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/golden"
)

// hasty is for tests that wait until a deadline.
var hasty = deadlines{connect: 50 * time.Millisecond, answer: 50 * time.Millisecond}

func TestFactsAreAskedForWithOneToken(t *testing.T) {
	s := newService(t, map[string]string{userDataPath: "\x1f\x8b\x00 as it is\n", roleTagPath: "web"})
	got, err := New(s.url).Metadata(t.Context())
	want := Metadata{Identity: identity, UserData: []byte("\x1f\x8b\x00 as it is\n"), HasUserData: true, RoleTag: "web"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if want := []string{"PUT " + tokenPath, "GET " + documentPath, "GET " + userDataPath, "GET " + roleTagPath}; !slices.Equal(s.requests, want) {
		t.Errorf("asked %q", s.requests)
	}
}

func TestWhatIsAbsentIsNoError(t *testing.T) {
	s := newService(t, nil)
	c := New(s.url)
	if got, err := c.Metadata(t.Context()); err != nil || !reflect.DeepEqual(got, Metadata{Identity: identity}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := c.UserData(t.Context()); !errors.Is(err, ErrNoUserData) || got != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, ok, err := c.Tag(t.Context(), "Name"); got != "" || ok || err != nil {
		t.Errorf("got %q, %v, %v", got, ok, err)
	}
}

func TestWhatIsEmptyIsThere(t *testing.T) {
	s := newService(t, map[string]string{userDataPath: "", roleTagPath: ""})
	c := New(s.url)
	if got, err := c.Metadata(t.Context()); err != nil || !got.HasUserData || len(got.UserData) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, ok, err := c.Tag(t.Context(), RoleTag); got != "" || !ok || err != nil {
		t.Errorf("got %q, %v, %v", got, ok, err)
	}
}

// User-data may be packed, and has to come as it was given, whatever a service
// says about it.
func TestUserDataIsNotUnpacked(t *testing.T) {
	const packed = "\x1f\x8b\x08 packed"
	s := newService(t, map[string]string{userDataPath: packed})
	s.packs = true
	if got, err := New(s.url).UserData(t.Context()); err != nil || string(got) != packed {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestUserDataIsBounded(t *testing.T) {
	for _, c := range []struct {
		size    int
		problem string
	}{
		{16384, ""},
		{16385, "it has 16385 bytes, and EC2's user-data has at most 16384"},
		{maxAnswer + 1, "it has more than 65536 bytes"},
	} {
		s := newService(t, map[string]string{userDataPath: strings.Repeat("x", c.size)})
		got, err := New(s.url).UserData(t.Context())
		if c.problem == "" {
			if err != nil || len(got) != c.size {
				t.Errorf("%d bytes: got %d, %v", c.size, len(got), err)
			}
			continue
		}
		if e := (*Error)(nil); !errors.As(err, &e) || e.Kind != BadAnswer || !strings.HasSuffix(err.Error(), c.problem) {
			t.Errorf("%d bytes: %v", c.size, err)
		}
	}
}

// What is wrong with the service, and what each call makes of it.
func TestDiagnosis(t *testing.T) {
	put, get := "PUT "+tokenPath, "GET "+userDataPath
	for _, c := range []struct {
		name  string
		fault func(*service)
		kind  Kind
		words string
	}{
		{"disabled", func(s *service) { s.status[put] = 403 }, Disabled, "it is turned off for this instance, or not allowed (PUT /latest/api/token: 403 Forbidden)"},
		{"not allowed", func(s *service) { s.status[get] = 403 }, Disabled, "GET /latest/user-data: 403 Forbidden"},
		{"hop limit", func(s *service) { s.hangs[put] = true }, Unanswered, "never answers the request for a token (PUT /latest/api/token): net/http: timeout awaiting response headers; the hop limit of its answers is too low, or a firewall drops them"},
		{"hangs up on the token", func(s *service) { s.hangsUp[put] = true }, Unanswered, "never answers the request for a token (PUT /latest/api/token): EOF"},
		{"no answer but for tokens", func(s *service) { s.hangs[get] = true }, Unanswered, "it takes connections, but does not answer GET /latest/user-data: net/http: timeout awaiting response headers"},
		{"throttled", func(s *service) { s.status[get] = 429 }, Throttled, "it was asked too often, or is in trouble (GET /latest/user-data: 429 Too Many Requests)"},
		{"tokens throttled", func(s *service) { s.status[put] = 503 }, Throttled, "PUT /latest/api/token: 503 Service Unavailable"},
		{"fresh token refused", func(s *service) { s.status[get] = 401 }, Unauthorized, "it refuses even a fresh token (GET /latest/user-data: 401 Unauthorized)"},
		{"knows no tokens", func(s *service) { s.status[put] = 404 }, BadAnswer, "the answer to PUT /latest/api/token is not one of EC2's: 404 Not Found"},
		{"takes no PUT", func(s *service) { s.status[put] = 405 }, BadAnswer, "405 Method Not Allowed"},
		{"broken request", func(s *service) { s.status[put] = 400 }, BadAnswer, "400 Bad Request"},
		{"fails", func(s *service) { s.status[get] = 500 }, Throttled, "500 Internal Server Error"},
		{"leads elsewhere", func(s *service) { s.status[get] = 302 }, BadAnswer, "302 Found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, map[string]string{userDataPath: "#bootagent\n"})
			c.fault(s)
			data, err := newClient(s.url, hasty).UserData(t.Context())
			e := (*Error)(nil)
			if data != nil || !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(err.Error(), c.words) {
				t.Fatalf("got %q, %v", data, err)
			}
			if e.Permanent() {
				t.Error("it is final, and mends")
			}
			if want := "cannot get the user-data from the instance metadata service at " + s.url + ": "; !strings.HasPrefix(err.Error(), want) {
				t.Errorf("does not say what was asked of whom: %v", err)
			}
			if n := s.count(get + " without token"); n != 0 {
				t.Errorf("version 1 was spoken, %d times", n)
			}
			if n := s.count(put); n > 2 {
				t.Errorf("asked %d times for a token", n)
			}
		})
	}
}

func TestAClientGoesOnWhenTheFaultIsGone(t *testing.T) {
	put := "PUT " + tokenPath
	s := newService(t, map[string]string{userDataPath: "#bootagent\n"})
	c := newClient(s.url, hasty)
	for _, fault := range []func(){
		func() { s.hangs[put] = true },
		func() { s.status[put] = 403 },
		func() { s.status[put] = 404 },
	} {
		s.change(fault)
		if _, err := c.UserData(t.Context()); err == nil {
			t.Fatal("no error")
		}
		s.change(func() { clear(s.hangs); clear(s.status) })
		if data, err := c.UserData(t.Context()); err != nil || string(data) != "#bootagent\n" {
			t.Errorf("got %q, %v", data, err)
		}
		s.change(func() { clear(s.tokens) }) // so that the next one asks for a token
	}
}

func TestATokenThatIsForgottenIsReplaced(t *testing.T) {
	s := newService(t, nil)
	c := New(s.url)
	for range 2 {
		if _, err := c.Identity(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.change(func() { clear(s.tokens) })
	}
	if got := s.count("PUT " + tokenPath); got != 2 {
		t.Errorf("asked %d times for a token", got)
	}
}

func TestNoConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		_, err = New("http://" + host + ":" + port).Identity(t.Context())
		if e := (*Error)(nil); !errors.As(err, &e) || e.Kind != Unreachable {
			t.Fatal(err)
		}
		if want := ": no connection: dial tcp " + host + ":" + port + ": connect: "; !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
		if netErr := (*net.OpError)(nil); !errors.As(err, &netErr) {
			t.Errorf("the cause is lost: %v", err)
		}
	}
}

func TestAnAnswerThatBreaksOff(t *testing.T) {
	broken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	go func() {
		for {
			conn, err := broken.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			}
		}
	}()
	_, err = newClient("http://"+broken.Addr().String(), hasty).Identity(t.Context())
	if e := (*Error)(nil); !errors.As(err, &e) || e.Kind != Unanswered || !strings.Contains(err.Error(), "its answer to PUT /latest/api/token breaks off: context deadline exceeded") {
		t.Errorf("%v", err)
	}
}

func TestAnIdentityThatIsNoneIsRefused(t *testing.T) {
	for answer, words := range map[string]string{
		"":       "it is not of the form that EC2's has",
		"<html>": "it is not of the form that EC2's has",
		"{}":     "it has no instance id",
		strings.ReplaceAll(document, "i-0123456789abcdef0", "i-../../x"): "it has no instance id",
		strings.ReplaceAll(document, "eu-central-1a", ""):                "it has no availability zone",
		strings.ReplaceAll(document, "eu-central-1\"", "*\""):            "it has no region",
		strings.ReplaceAll(document, "m7g.large", "m7g/large"):           "it has no instance type",
		strings.ReplaceAll(document, "10.158.112.84", "fd00::1"):         "its private address is no IPv4 address",
		strings.ReplaceAll(document, "10.158.112.84", "10.0.0.1\\nX=1"):  "its private address is no IPv4 address",
	} {
		s := newService(t, map[string]string{documentPath: answer})
		id, err := New(s.url).Identity(t.Context())
		if e := (*Error)(nil); !errors.As(err, &e) || e.Kind != BadAnswer || !strings.HasSuffix(err.Error(), words) || id != (Identity{}) {
			t.Errorf("%q: got %+v, %v", answer, id, err)
		}
	}
}

// The environment may say what it wants: it is not asked.
func TestTheEnvironmentLeadsNowhereElse(t *testing.T) {
	s := newService(t, nil)
	const elsewhere = "http://127.0.0.1:1"
	for _, name := range []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, elsewhere)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_EC2_METADATA_V1_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDOFTHEENVIRONMENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	if _, err := New(s.url).Identity(t.Context()); err != nil {
		t.Error(err)
	}
	// No proxy of the environment is ever used for an address of loopback, so
	// that request does not show that there is none.
	if newTransport(hasty).http.Proxy != nil {
		t.Error("a proxy may be used")
	}
	if got := New("").endpoint; got != Endpoint {
		t.Errorf("asks %s", got)
	}
	if _, err := New(s.url).Credentials().Retrieve(t.Context()); err == nil {
		t.Error("there are credentials")
	}
}

func TestTheEndOfAContextEndsACall(t *testing.T) {
	s := newService(t, nil)
	s.hangs["GET "+documentPath] = true
	c := New(s.url)
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("the agent stops")
		defer time.AfterFunc(20*time.Millisecond, func() { cancel(reason) }).Stop()
		start := time.Now()
		_, err := c.Identity(ctx)
		if e := (*Error)(nil); !errors.Is(err, reason) || errors.As(err, &e) || time.Since(start) > time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := c.Identity(ctx)
		if e := (*Error)(nil); !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Kind != Unanswered || time.Since(start) > time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
	t.Run("over before it began", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), -1)
		defer cancel()
		_, err := c.Identity(ctx)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Kind != Unreachable || !strings.Contains(err.Error(), ": it was not asked: ") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// All that people can read of a diagnosis.
func TestWords(t *testing.T) {
	c := New("")
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(169, 254, 169, 254), Port: 80}, Err: errors.New("connect: network is unreachable")}
	silence := errors.New("net/http: timeout awaiting response headers")
	put := exchange{method: http.MethodPut, path: tokenPath, connected: true}
	get := exchange{method: http.MethodGet, path: userDataPath, connected: true}
	with := func(x exchange, status int, err error) exchange {
		x.status, x.err = status, err
		return x
	}
	var told strings.Builder
	kinds := map[Kind]bool{}
	tell := func(e *Error) {
		kinds[e.Kind] = true
		fmt.Fprintf(&told, "%s\n  %s\n  hint: %s\n", e.Kind, e, e.Hint())
	}
	tell(c.diagnose("the user-data", exchange{method: http.MethodPut, path: tokenPath, err: refused}, nil))
	tell(c.diagnose("the user-data", exchange{}, context.DeadlineExceeded))
	tell(c.diagnose("the user-data", with(put, 0, silence), nil))
	tell(c.diagnose("the user-data", with(get, 0, silence), nil))
	tell(c.diagnose("the user-data", with(get, 200, io.ErrUnexpectedEOF), nil))
	for _, status := range []int{403, 401, 429, 404, 200} {
		tell(c.diagnose("the user-data", with(get, status, nil), errors.New("x")))
	}
	roles := exchange{method: http.MethodGet, path: rolePath, connected: true}
	db := exchange{method: http.MethodGet, path: rolePath + "db", connected: true}
	tell(c.diagnoseRole("credentials", with(roles, 404, nil), errors.New("x")))
	tell(c.diagnoseRole("credentials", with(db, 404, nil), errors.New("x")))
	tell(c.diagnoseRole("credentials", with(db, 200, nil), refusal("AssumeRoleUnauthorizedAccess")))
	tell(c.diagnoseRole("credentials", with(db, 200, nil), errors.New("x")))
	tell(c.expired("credentials", with(db, 200, nil), time.Date(2026, 11, 26, 10, 4, 11, 0, time.UTC)))
	for _, kind := range []Kind{Unreachable, Unanswered, Disabled, Unauthorized, Throttled, NoRole, CredentialsNotYet, CredentialsExpired, RoleRefused, BadAnswer} {
		if !kinds[kind] {
			t.Errorf("nothing is told of %q", kind)
		}
	}
	golden.Check(t, "testdata/words.golden", told.String())
}

func TestCallsSideBySide(t *testing.T) {
	s := newService(t, map[string]string{userDataPath: "x"})
	maps.Copy(s.items, credentialItems(time.Hour))
	c := New(s.url)
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := c.Metadata(t.Context())
			errs <- err
		}()
		go func() {
			_, err := c.Credentials().Retrieve(t.Context())
			errs <- err
		}()
	}
	for range 16 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := s.count("PUT " + tokenPath); got != 1 {
		t.Errorf("asked %d times for a token", got)
	}
}
