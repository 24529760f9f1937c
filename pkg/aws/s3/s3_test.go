package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sys/unix"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/fault"
	"bootagent/pkg/golden"
)

// words is an error as a golden file shows it.
func words(err error) string {
	text := err.Error()
	if hint := fault.HintOf(err); hint != "" {
		text += "\n    hint: " + hint
	}
	if fault.IsPermanent(err) {
		text += "\n    permanent"
	}
	return text
}

// A bucket answers as S3 does, on the loopback interface. It counts how often
// it is asked.
type bucket struct {
	objects map[string][]byte
	refuse  *Answer // all requests, so
	asked   int
	last    *http.Request
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.asked++
	b.last = r
	key, ok := strings.CutPrefix(r.URL.Path, "/secrets/")
	switch object, found := b.objects[key]; {
	case b.refuse != nil:
		refuse(w, *b.refuse)
	case !ok:
		refuse(w, Answer{Status: http.StatusNotFound, Code: "NoSuchBucket", Message: "The specified bucket does not exist"})
	case !found:
		refuse(w, Answer{Status: http.StatusNotFound, Code: "NoSuchKey", Message: "The specified key does not exist."})
	default:
		w.Header().Set("Content-Length", strconv.Itoa(len(object)))
		w.Write(object)
	}
}

func refuse(w http.ResponseWriter, a Answer) {
	if a.Region != "" {
		w.Header().Set("x-amz-bucket-region", a.Region)
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(a.Status)
	if a.Code != "" {
		fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>", a.Code, a.Message)
	}
}

// credentials are somebody's.
type credentials struct{ err error }

func (c credentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI", SessionToken: "token"}, c.err
}

// max is the largest object that the tests take.
const max = 2 << 20

func client(region, endpoint string, c aws.CredentialsProvider) *Client {
	return New(Config{Caller: diagnose.Caller{Region: region, Role: "mysql"}, Endpoint: endpoint, Credentials: c, Max: max})
}

func serve(t *testing.T, h http.Handler) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return client("eu-west-1", server.URL, credentials{})
}

func TestAnObjectIsFetched(t *testing.T) {
	b := &bucket{objects: map[string][]byte{"db/root pass.age": []byte("ciphertext"), "largest": bytes.Repeat([]byte{1}, max)}}
	s := serve(t, b)
	for key, want := range b.objects {
		got, _, err := s.Get(t.Context(), "secrets", key)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, %v", key, len(got), err)
		}
	}
	if auth := b.last.Header.Get("Authorization"); !strings.Contains(auth, "/eu-west-1/s3/aws4_request") || b.last.Method != http.MethodGet {
		t.Errorf("asked with %s, %q", b.last.Method, auth)
	}
}

func TestAnObjectHasAVersion(t *testing.T) {
	for _, test := range []struct{ versionID, etag, want string }{
		{"3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY", `"9b2cf535f27731c974343645a3985328"`, "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"},
		{"null", `"9b2cf535f27731c974343645a3985328"`, "9b2cf535f27731c974343645a3985328"},
		{"", `"9b2cf535f27731c974343645a3985328"`, "9b2cf535f27731c974343645a3985328"},
		{"", "", ""},
	} {
		s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for name, value := range map[string]string{"x-amz-version-id": test.versionID, "ETag": test.etag} {
				if value != "" {
					w.Header().Set(name, value)
				}
			}
			io.WriteString(w, "content")
		}))
		if _, got, err := s.Get(t.Context(), "secrets", "k"); err != nil || got != test.want {
			t.Errorf("got %q, %v; want %q", got, err, test.want)
		}
	}
}

func TestWithoutCredentialsItAsksAsNobody(t *testing.T) {
	b := &bucket{objects: map[string][]byte{"k": []byte("ciphertext")}}
	server := httptest.NewServer(b)
	defer server.Close()
	got, _, err := client("", server.URL, nil).Get(t.Context(), "secrets", "k")
	if err != nil || string(got) != "ciphertext" || b.last.Header.Get("Authorization") != "" {
		t.Errorf("got %q, %v, asked with %v", got, err, b.last.Header)
	}
}

// What S3 answers, and what a person is told.
var answers = []struct {
	name string
	Answer
}{
	{"not allowed, or not there", Answer{403, "AccessDenied", "Access Denied", ""}},
	{"not allowed, in new words", Answer{403, "AccessDenied", "User: arn:aws:sts::123456789012:assumed-role/db/i-0123456789abcdef0 is not authorized to perform: s3:GetObject on resource: \"arn:aws:s3:::secrets/db.age\" because no identity-based policy allows the s3:GetObject action", ""}},
	{"KMS", Answer{403, "AccessDenied", "User: arn:aws:sts::123456789012:assumed-role/db/i-0123456789abcdef0 is not authorized to perform: kms:Decrypt on this resource", ""}},
	{"no such key", Answer{404, "NoSuchKey", "The specified key does not exist.", ""}},
	{"no such bucket", Answer{404, "NoSuchBucket", "The specified bucket does not exist", ""}},
	{"another region", Answer{301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.", "us-west-2"}},
	{"another region, not told", Answer{301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint.", ""}},
	{"another region, an old bucket", Answer{400, "AuthorizationHeaderMalformed", "The authorization header is malformed; the region 'eu-west-1' is wrong; expecting 'us-east-1'", ""}},
	{"header malformed otherwise", Answer{400, "AuthorizationHeaderMalformed", "The authorization header is malformed; the Credential is mal-formed", ""}},
	{"another region, by the endpoint alone", Answer{301, "PermanentRedirect", "The bucket must be addressed using the specified endpoint.</Message><Endpoint>secrets.s3.us-west-2.amazonaws.com</Endpoint><Message>", ""}},
	{"a region that has to be opted in to", Answer{400, "IllegalLocationConstraintException", "The eu-south-1 location constraint is incompatible for the region specific endpoint this request was sent to.", ""}},
	{"asked in a region that has to be opted in to", Answer{400, "IllegalLocationConstraintException", "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.", ""}},
	{"another region, in double quotes", Answer{400, "AuthorizationHeaderMalformed", "The authorization header is malformed; the region \"eu-west-1\" is wrong; expecting \"us-east-1\"", ""}},
	{"another region, in an element", Answer{400, "AuthorizationHeaderMalformed", "The authorization header is malformed.</Message><Region>us-east-1</Region><Message>", ""}},
	{"another region's endpoint", Answer{301, "PermanentRedirect", "", "eu-west-1"}},
	{"no name of a bucket", Answer{400, "InvalidBucketName", "The specified bucket is not valid.", ""}},
	{"stored with a customer's key", Answer{400, "InvalidRequest", "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.", ""}},
	{"another invalid request", Answer{400, "InvalidRequest", "Missing required header for this request", ""}},
	{"denied, spelled otherwise", Answer{403, "AccessDenied", "Access Denied.", ""}},
	{"a key of KMS that is disabled", Answer{400, "KMS.DisabledException", "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab is disabled.", ""}},
	{"a key of KMS that is not named", Answer{400, "KMS.KMSInvalidStateException", "The key is pending deletion.", ""}},
	{"archived", Answer{403, "InvalidObjectState", "The operation is not valid for the object's storage class", ""}},
	{"clock", Answer{403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", ""}},
	{"expired", Answer{400, "ExpiredToken", "The provided token has expired.", ""}},
	{"unknown credentials", Answer{403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", ""}},
	{"throttled", Answer{503, "SlowDown", "Please reduce your request rate.", "eu-west-1"}},
	{"throttled by something between", Answer{429, "", "", ""}},
	{"trouble", Answer{500, "InternalError", "We encountered an internal error. Please try again.", ""}},
	{"trouble of something between", Answer{502, "", "", ""}},
	{"something else", Answer{405, "MethodNotAllowed", "The specified\n method  is not allowed against this resource." + strings.Repeat(" Really.", 100), ""}},
}

func TestEveryAnswerOfS3IsToldInWords(t *testing.T) {
	b := &bucket{}
	s := serve(t, b)
	var got strings.Builder
	for _, a := range answers {
		b.refuse, b.asked = &a.Answer, 0
		_, _, err := s.Get(t.Context(), "secrets", "db.age")
		if b.asked != 1 {
			t.Errorf("%s: asked %d times; trying again is the story's", a.name, b.asked)
		}
		fmt.Fprintf(&got, "%s: %d %s\n    %s\n", a.name, a.Status, a.Code, words(err))
		// What a simulated world says is what the real one says.
		if a.Code != "" && !strings.Contains(a.Message, "<") { // which the SDK hands on otherwise
			if direct := (Object{"secrets", "db.age", s.caller}).Refused(a.Answer); words(direct) != words(err) {
				t.Errorf("%s: over the wire it is\n%s\nand by Refused\n%s", a.name, words(err), words(direct))
			}
		}
	}
	golden.Check(t, filepath.Join("testdata", "s3.golden"), got.String())
}

func TestAnAnswerThatEndsEarlyIsNotTaken(t *testing.T) {
	whole := []byte("age-encryption.org/v1\n and the rest of it")
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"the connection breaks": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
			w.Write(whole[:20])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "cannot fetch s3://secrets/k: it was cut off after 20 of 41 bytes"},
		"in chunks": {func(w http.ResponseWriter, _ *http.Request) {
			w.Write(whole[:20])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "cannot fetch s3://secrets/k: it was cut off after 20 bytes"},
		"too large, and says so": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(max+1))
			w.Write(make([]byte, 100))
		}, "cannot fetch s3://secrets/k: it has more than 2097152 bytes, which is too large"},
		"too large, and does not say so": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, "cannot fetch s3://secrets/k: it has more than 2097152 bytes, which is too large"},
	} {
		_, _, err := serve(t, c.serve).Get(t.Context(), "secrets", "k")
		if words(err) != c.want {
			t.Errorf("%s: got %s", name, words(err))
		}
	}
}

// A response that is an error is read to its end by the SDK.
func TestAnErrorWithoutEndEnds(t *testing.T) {
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		for r.Context().Err() == nil {
			if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
				return
			}
		}
	}))
	_, _, err := s.Get(t.Context(), "secrets", "k")
	if err == nil || !strings.Contains(err.Error(), "s3:GetObject") {
		t.Errorf("got %v", err)
	}
}

func TestS3ThatIsAwayIsToldAndIsTriedAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, _, err = client("eu-west-1", "http://"+address, credentials{}).Get(t.Context(), "secrets", "k")
	want := "cannot fetch s3://secrets/k: cannot reach http://" + address + ": dial tcp " + address + ": connect: connection refused\n" +
		"    hint: check the network from this instance to S3: DNS, route, VPC endpoint or NAT gateway, security group, network ACL"
	if words(err) != want {
		t.Errorf("got %s", words(err))
	}
}

// blackhole takes no connection and refuses none, as behind a firewall that
// drops: its queue is full.
func blackhole(t *testing.T) (address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	for range 3 {
		conn, err := net.DialTimeout("tcp", address, 300*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue is not full")
	return ""
}

func TestABlackholedS3FailsInTime(t *testing.T) {
	t.Parallel()
	address := blackhole(t)
	start := time.Now()
	_, _, err := client("eu-west-1", "http://"+address, credentials{}).Get(t.Context(), "secrets", "k")
	took := time.Since(start)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot fetch s3://secrets/k: cannot reach http://"+address+": dial tcp "+address+": i/o timeout") {
		t.Errorf("got %v", err)
	}
	if took < connectWithin || took > fetchWithin {
		t.Errorf("it took %s", took)
	}
}

func TestS3ThatHangsFailsInTime(t *testing.T) {
	hang := make(chan struct{})
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/secrets/later" {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "first")
			w.(http.Flusher).Flush()
		}
		<-hang
	}))
	t.Cleanup(func() { close(hang) }) // before the server is closed, which waits for it
	s.within = 200 * time.Millisecond
	for _, key := range []string{"at once", "later"} {
		_, _, err := s.Get(t.Context(), "secrets", key)
		if err == nil || !strings.HasSuffix(err.Error(), ": no whole answer within 200ms") {
			t.Errorf("%s: got %v", key, err)
		}
	}
	// Who gives up first is told as the cause.
	gone := errors.New("the agent is stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(gone) })
	if _, _, err := s.Get(ctx, "secrets", "k"); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	if fetchWithin != 10*time.Second {
		t.Errorf("S3 is given %s", fetchWithin)
	}
}

// noRole is what the package for the instance says.
type noRole struct{}

func (noRole) Error() string { return "no role is attached to this instance" }
func (noRole) Hint() string  { return "attach one" }

func TestMissingCredentialsAreTheirOwnError(t *testing.T) {
	b := &bucket{}
	server := httptest.NewServer(b)
	defer server.Close()
	for name, provider := range map[string]aws.CredentialsProvider{
		"as they are": credentials{noRole{}},
		"cached":      aws.NewCredentialsCache(credentials{noRole{}}),
	} {
		_, _, err := client("eu-west-1", server.URL, provider).Get(t.Context(), "secrets", "k")
		if !strings.HasPrefix(err.Error(), "cannot fetch s3://secrets/k: no credentials to call S3 with: ") ||
			!strings.HasSuffix(words(err), "no role is attached to this instance\n    hint: attach one") || b.asked != 0 {
			t.Errorf("%s: got %s, asked %d times", name, words(err), b.asked)
		}
	}
}

func TestWithoutARegionNothingIsAsked(t *testing.T) {
	_, _, err := client("", "", credentials{}).Get(t.Context(), "secrets", "k")
	want := "cannot fetch s3://secrets/k: the region of this machine is not known\n" +
		"    hint: it comes from the metadata service: leave user-data: out of agent.yaml on an instance of EC2\n    permanent"
	if words(err) != want {
		t.Errorf("got %s", words(err))
	}
}
