package ec2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/storage/ebs"
)

// An endpoint is a server that speaks EC2's query protocol: it answers with
// what it is given, one after the other and the last one for ever, and keeps
// the forms that it was sent.
type endpoint struct {
	*httptest.Server
	answers []http.HandlerFunc

	mu    sync.Mutex
	forms []url.Values
}

func serve(t *testing.T, answers ...http.HandlerFunc) (*endpoint, *client) {
	t.Helper()
	e := &endpoint{answers: answers}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e, e.client(10 * time.Second)
}

func (e *endpoint) client(timeout time.Duration) *client {
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET", SessionToken: "TOKEN"}, nil
	})
	return newClient(Config{Region: "eu-west-1", Endpoint: e.URL, Credentials: credentials}, timeout)
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		panic(err)
	}
	e.mu.Lock()
	answer := e.answers[min(len(e.forms), len(e.answers)-1)]
	form := r.PostForm
	form.Del("Version")
	e.forms = append(e.forms, form)
	e.mu.Unlock()
	answer(w, r)
}

// took returns the forms in the notation of URLs.
func (e *endpoint) took() (forms []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, form := range e.forms {
		text, err := url.QueryUnescape(form.Encode())
		if err != nil {
			panic(err)
		}
		forms = append(forms, text)
	}
	return forms
}

// xml answers with the body of a response.
func xml(name, body string) http.HandlerFunc {
	return raw(http.StatusOK, fmt.Sprintf(
		`<%[1]sResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>1</requestId>%[2]s</%[1]sResponse>`, name, body))
}

// fault answers with an error.
func fault(status int, code, message string) http.HandlerFunc {
	return raw(status, fmt.Sprintf(
		`<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>1</RequestID></Response>`, code, message))
}

func raw(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestVolumesOfAllPages(t *testing.T) {
	e, c := serve(t,
		xml("DescribeVolumes", `<volumeSet><item><volumeId>vol-1</volumeId></item></volumeSet><nextToken>more</nextToken>`),
		xml("DescribeVolumes", `<volumeSet/><nextToken>evenmore</nextToken>`),
		xml("DescribeVolumes", `<volumeSet><item><volumeId>vol-2</volumeId></item></volumeSet>`))
	all, err := c.Volumes(t.Context(), ebs.Query{Tags: map[string]string{"cluster": "orders", "a": `*?\`, "empty": ""}})
	ok(t, err)
	if len(all) != 2 || all[0].ID != "vol-1" || all[1].ID != "vol-2" {
		t.Errorf("got %+v", all)
	}
	const form = `Action=DescribeVolumes&Filter.1.Name=tag:a&Filter.1.Value.1=\*\?\\&Filter.2.Name=tag:cluster&Filter.2.Value.1=orders` +
		`&Filter.3.Name=tag-key&Filter.3.Value.1=empty&MaxResults=500`
	equal(t, "forms", e.took(), []string{form, form + "&NextToken=more", form + "&NextToken=evenmore"})
}

func TestWhatEC2SaysOfAVolume(t *testing.T) {
	e, c := serve(t, xml("DescribeVolumes", `<volumeSet><item>
		<volumeId>vol-1</volumeId><size>8</size><snapshotId>snap-1</snapshotId><sourceVolumeId>vol-0</sourceVolumeId>
		<availabilityZone>eu-west-1a</availabilityZone><status>in-use</status><encrypted>true</encrypted><kmsKeyId>arn:aws:kms:eu-west-1:123456789012:key/1</kmsKeyId>
		<multiAttachEnabled>true</multiAttachEnabled>
		<tagSet><item><key>cluster</key><value>orders</value></item><item><key>empty</key><value/></item></tagSet>
		<attachmentSet>
			<item><volumeId>vol-1</volumeId><instanceId>i-1</instanceId><device>/dev/sdf</device><status>attaching</status>
				<attachTime>2026-11-26T10:04:11.000Z</attachTime><deleteOnTermination>true</deleteOnTermination></item>
			<item><instanceOwningService>fargate.amazonaws.com</instanceOwningService><status>busy</status></item>
		</attachmentSet></item>
		<item><volumeId>vol-2</volumeId><size>16384</size><status>available</status></item></volumeSet>`))
	got, err := c.Volumes(t.Context(), ebs.Query{IDs: []name.VolumeID{"vol-1", "vol-2"}})
	ok(t, err)
	want := []ebs.Volume{
		{
			ID: "vol-1", Zone: "eu-west-1a", State: ebs.InUse, Size: 8 << 30, Snapshot: "snap-1", Source: "vol-0", Encrypted: true, Key: "arn:aws:kms:eu-west-1:123456789012:key/1", MultiAttach: true,
			Tags: map[string]string{"cluster": "orders", "empty": ""},
			Attachments: []ebs.Attachment{
				{Instance: "i-1", Device: "/dev/sdf", State: ebs.Attaching, Since: time.Date(2026, 11, 26, 10, 4, 11, 0, time.UTC), DeleteOnTermination: true},
				{Service: "fargate.amazonaws.com", State: ebs.Busy},
			},
		},
		{ID: "vol-2", State: ebs.Available, Size: 16 << 40, Tags: map[string]string{}},
	}
	for i := range got {
		if since := time.Since(got[i].AsOf); since < -time.Second || since > time.Minute {
			t.Errorf("it says that EC2 said so at %s", got[i].AsOf) // by the header Date
		}
		got[i].AsOf = time.Time{}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// With ids there may be no size of page.
	equal(t, "forms", e.took(), []string{"Action=DescribeVolumes&VolumeId.1=vol-1&VolumeId.2=vol-2"})
}

func TestWhatEC2SaysOfTheLastModificationOfAVolume(t *testing.T) {
	const item = `<item><volumeId>%s</volumeId><modificationState>%s</modificationState><originalSize>%d</originalSize><targetSize>%d</targetSize><progress>%d</progress><statusMessage>%s</statusMessage><startTime>%s</startTime></item>`
	e, c := serve(t,
		xml("DescribeVolumesModifications", "<volumeModificationSet>"+
			fmt.Sprintf(item, "vol-1", "completed", 4, 8, 100, "", "2026-11-24T10:00:00.000Z")+
			fmt.Sprintf(item, "vol-1", "failed", 8, 10, 7, "a fault", "2026-11-26T10:00:00.000Z")+
			fmt.Sprintf(item, "vol-2", "modifying", 1, 2, 3, "", "2026-11-27T10:00:00.000Z")+"</volumeModificationSet>"),
		xml("DescribeVolumesModifications", `<volumeModificationSet/>`))
	got, err := c.Modification(t.Context(), "vol-1")
	ok(t, err)
	if want := (ebs.Modification{State: ebs.ModifyFailed, Message: "a fault", From: 8 << 30, To: 10 << 30, Progress: 7}); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if _, err := c.Modification(t.Context(), "vol-3"); codeOf(err) != "InvalidVolumeModification.NotFound" {
		t.Errorf("got %v", err)
	}
	equal(t, "forms", e.took(), []string{"Action=DescribeVolumesModifications&VolumeId.1=vol-1", "Action=DescribeVolumesModifications&VolumeId.1=vol-3"})
}

func TestWhatEC2SaysOfAnInstance(t *testing.T) {
	e, c := serve(t,
		xml("DescribeInstances", `<reservationSet><item><instancesSet><item>
			<instanceId>i-1</instanceId><instanceType>m7g.large</instanceType><instanceState><code>16</code><name>running</name></instanceState>
			<launchTime>2026-11-26T10:00:00.000Z</launchTime><placement><availabilityZone>eu-west-1a</availabilityZone></placement>
			<blockDeviceMapping>
				<item><deviceName>/dev/xvda</deviceName><ebs><volumeId>vol-1</volumeId><status>attached</status></ebs></item>
				<item><deviceName>/dev/sdf</deviceName></item>
			</blockDeviceMapping></item></instancesSet></item></reservationSet>`),
		xml("DescribeInstances", `<reservationSet/>`))
	got, err := c.Instance(t.Context(), "i-1")
	ok(t, err)
	want := ebs.Instance{
		ID: "i-1", Zone: "eu-west-1a", Type: "m7g.large", State: "running",
		Devices: map[string]name.VolumeID{"/dev/xvda": "vol-1", "/dev/sdf": ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	_, err = c.Instance(t.Context(), "i-2")
	if codeOf(err) != "InvalidInstanceID.NotFound" {
		t.Errorf("got %v", err)
	}
	equal(t, "forms", e.took(), []string{"Action=DescribeInstances&InstanceId.1=i-1", "Action=DescribeInstances&InstanceId.1=i-2"})
}

func TestWhatIsSentToChangeAVolume(t *testing.T) {
	e, c := serve(t, xml("AttachVolume", `<status>attaching</status>`), xml("DetachVolume", `<status>detaching</status>`), xml("CreateTags", `<return>true</return>`))
	ok(t, c.Attach(t.Context(), "vol-1", "i-1", "/dev/sdf"))
	ok(t, c.Detach(t.Context(), "vol-1", "i-1", "/dev/sdf"))
	ok(t, c.Tag(t.Context(), "vol-1", map[string]string{ebs.TagSelf: "vol-1", ebs.TagFilesystem: "made x"}))
	equal(t, "forms", e.took(), []string{
		"Action=AttachVolume&Device=/dev/sdf&InstanceId=i-1&VolumeId=vol-1",
		"Action=DetachVolume&Device=/dev/sdf&InstanceId=i-1&VolumeId=vol-1", // and never Force
		"Action=CreateTags&ResourceId.1=vol-1&Tag.1.Key=bootagent:filesystem&Tag.1.Value=made x&Tag.2.Key=bootagent:volume&Tag.2.Value=vol-1",
	})
}

// each makes each of the calls.
var each = map[string]func(context.Context, ebs.API) error{
	ebs.DescribeVolumes: func(ctx context.Context, api ebs.API) error {
		_, err := api.Volumes(ctx, ebs.Query{IDs: []name.VolumeID{"vol-1"}})
		return err
	},
	ebs.DescribeInstances:            func(ctx context.Context, api ebs.API) error { _, err := api.Instance(ctx, "i-1"); return err },
	ebs.AttachVolume:                 func(ctx context.Context, api ebs.API) error { return api.Attach(ctx, "vol-1", "i-1", "/dev/sdf") },
	ebs.DescribeVolumesModifications: func(ctx context.Context, api ebs.API) error { _, err := api.Modification(ctx, "vol-1"); return err },
	ebs.DetachVolume:                 func(ctx context.Context, api ebs.API) error { return api.Detach(ctx, "vol-1", "i-1", "/dev/sdf") },
	ebs.CreateTags: func(ctx context.Context, api ebs.API) error {
		return api.Tag(ctx, "vol-1", map[string]string{ebs.TagSelf: "vol-1"})
	},
}

func TestErrorsTellTheActionAndWhatEC2Said(t *testing.T) {
	for _, test := range []struct {
		name    string
		answer  http.HandlerFunc
		trouble bool
		want    string
	}{
		{
			"a refusal", fault(400, "IncorrectState", "Instance 'i-1' is not 'running'."), false,
			"IncorrectState: Instance 'i-1' is not 'running'.",
		},
		{
			"not allowed", fault(403, "UnauthorizedOperation", "You are not authorized. User: u\nis not. Encoded authorization failure message: abcdefgh"), false,
			"UnauthorizedOperation: You are not authorized. User: u is not.",
		},
		{
			"a code that is throttling in every status", fault(400, "Throttling", "Rate exceeded"), true,
			"Throttling: Rate exceeded",
		},
		{"a fault of EC2", fault(500, "InternalError", "An internal error has occurred"), true, "InternalError: An internal error has occurred"},
		{"a proxy", raw(407, "<html>who are you?</html>"), true, "HTTP status 407: there is no error of EC2 in the answer"},
		{"a portal", raw(200, "<html>welcome</body>"), true, "HTTP status 200: failed to decode response body, XML syntax error"},
		{"a gateway", raw(502, "bad gateway"), true, "HTTP status 502: there is no error of EC2 in the answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, c := serve(t, test.answer)
			c.once()
			for action, do := range each {
				if action == ebs.CreateTags && test.name == "a portal" {
					continue // nothing of its answer is read
				}
				err := do(t.Context(), c)
				e := (*diagnose.Error)(nil)
				if !errors.As(err, &e) || e.Action != action || e.Unanswered() != test.trouble ||
					!strings.HasPrefix(err.Error(), action+": "+test.want) {
					t.Errorf("got %#v: %v", err, err)
				}
			}
		})
	}
}

// once has the client try nothing again.
func (c *client) once() {
	c.onlyThrottled = aws.NopRetryer{}
	c.retryer = aws.NopRetryer{}
}

func TestWhatIsThrottledOrHasNoAnswerIsTriedAgain(t *testing.T) {
	for name, first := range map[string]http.HandlerFunc{
		"throttled":      fault(503, "RequestLimitExceeded", "Request limit exceeded."),
		"a fault of EC2": fault(500, "InternalError", "An internal error has occurred"),
		"hung up":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		for action, do := range each {
			t.Run(name+"/"+action, func(t *testing.T) {
				t.Parallel()
				e, c := serve(t, first, xml(strings.TrimPrefix(action, "ec2:"), `<reservationSet><item><instancesSet><item/></instancesSet></item></reservationSet>`+
					`<volumeModificationSet><item><volumeId>vol-1</volumeId></item></volumeModificationSet>`))
				err := do(t.Context(), c)
				// An attach or a detach may be done though there is no answer, so it is not for the SDK to ask again.
				want := 2
				if (action == ebs.AttachVolume || action == ebs.DetachVolume) && name != "throttled" {
					want = 1
				}
				if got := len(e.took()); got != want || (err == nil) != (want == 2) {
					t.Errorf("%d calls, %v", got, err)
				}
				if trouble := (*diagnose.Error)(nil); err != nil && (!errors.As(err, &trouble) || !trouble.Unanswered()) {
					t.Errorf("%v is no trouble", err)
				}
			})
		}
	}
}

func TestThrottlingThatDoesNotEndIsToldAsSuch(t *testing.T) {
	t.Parallel()
	e, c := serve(t, fault(503, "RequestLimitExceeded", "Request limit exceeded."))
	_, err := c.Volumes(t.Context(), ebs.Query{})
	if codeOf(err) != "RequestLimitExceeded" || len(e.took()) != 2 {
		t.Errorf("%d calls, %v", len(e.took()), err)
	}
	// It is not asked at once again, while other actions are.
	_, again := c.Volumes(t.Context(), ebs.Query{})
	if codeOf(again) != "RequestLimitExceeded" || len(e.took()) != 2 {
		t.Errorf("%d calls, %v", len(e.took()), again)
	}
	_, err = c.Instance(t.Context(), "i-1")
	if codeOf(err) != "RequestLimitExceeded" || len(e.took()) != 4 {
		t.Errorf("%d calls, %v", len(e.took()), err)
	}
}

// What EC2 throttles rests ever longer, and as long as before only when EC2
// has answered for a while.
func TestAThrottledActionRestsEverLonger(t *testing.T) {
	p, now := pace{}, time.Time{}
	half := func(below time.Duration) time.Duration { return below / 2 }
	note := func(throttled bool) time.Duration {
		p.note(throttled, &diagnose.Error{}, now, half)
		return p.until.Sub(now)
	}
	var got []time.Duration
	for range 8 {
		got = append(got, note(true))
	}
	second := time.Second
	want := []time.Duration{3 * second / 2, 3 * second, 6 * second, 12 * second, 24 * second, 48 * second, 90 * second, 90 * second}
	if !slices.Equal(got, want) {
		t.Errorf("rests %v, want %v", got, want)
	}
	for range 2 {
		note(false)
	}
	if got := note(true); got != 6*second {
		t.Errorf("after two answers it rests %s", got)
	}
	for range 4 {
		note(false)
	}
	if got := note(true); got != 3*second/2 {
		t.Errorf("after six answers it rests %s", got)
	}
}

// What only AWS can read of a denial is no text for a status, and not lost.
func TestWhatLedToADenialIsInTheLogOnce(t *testing.T) {
	var log bytes.Buffer
	e, _ := serve(t, fault(403, "UnauthorizedOperation", "You are not authorized to perform this operation. Encoded authorization failure message: AbC-_123"))
	c := newClient(Config{
		Region: "eu-west-1", Endpoint: e.URL, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}, nil
		}),
	}, time.Minute)
	for range 3 {
		err := each[ebs.AttachVolume](t.Context(), c)
		denied := (*diagnose.Error)(nil)
		if !errors.As(err, &denied) || denied.Encoded != "AbC-_123" || strings.Contains(err.Error(), "AbC") {
			t.Errorf("got %+v: %v", denied, err)
		}
	}
	const command = "aws sts decode-authorization-message --region eu-west-1 --encoded-message AbC-_123"
	if strings.Count(log.String(), command) != 1 {
		t.Errorf("the log has\n%s", log.String())
	}
}

func TestAPageThatComesAgainAndAgainEnds(t *testing.T) {
	_, c := serve(t, xml("DescribeVolumes", `<volumeSet/><nextToken>more</nextToken>`))
	_, err := c.Volumes(t.Context(), ebs.Query{})
	if err == nil || !strings.Contains(err.Error(), "the same page comes again and again") {
		t.Errorf("got %v", err)
	}
}

func TestACallThatNobodyAnswersEnds(t *testing.T) {
	for action, do := range each {
		t.Run(action, func(t *testing.T) {
			t.Parallel()
			e, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
			start := time.Now()
			err := do(t.Context(), e.client(100*time.Millisecond))
			if err == nil || err.Error() != action+": no answer: EC2 did not answer within 100ms" || time.Since(start) > 5*time.Second {
				t.Errorf("after %s: %v", time.Since(start), err)
			}
		})
	}
}

// Nothing on the loopback interface is as silent as a route to nowhere, so
// this looks at what is set: two further attempts have to fit into a call.
func TestAConnectionThatIsNotMadeLeavesTimeForOthers(t *testing.T) {
	_, c := serve(t)
	timeout := c.ec2.Options().HTTPClient.(*awshttp.BuildableClient).GetDialer().Timeout
	if timeout == 0 || 3*timeout >= callTimeout {
		t.Errorf("a connection may take %s, a call %s", timeout, callTimeout)
	}
}

func TestAnEndpointWhereNobodyListens(t *testing.T) {
	e, c := serve(t)
	e.Close()
	_, err := c.Volumes(t.Context(), ebs.Query{})
	trouble := (*diagnose.Error)(nil)
	if !errors.As(err, &trouble) || !trouble.Unanswered() || !strings.HasPrefix(err.Error(), "ec2:DescribeVolumes: no answer: dial tcp 127.0.0.1") ||
		!strings.HasSuffix(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}
}

func TestACallThatItsCallerGivesUpSaysWhy(t *testing.T) {
	why := errors.New("the deadline of the volume")
	_, c := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, why)
	defer cancel()
	if _, err := c.Volumes(ctx, ebs.Query{}); err != why {
		t.Errorf("got %v", err)
	}
}

func TestWhereThereAreNoCredentialsNothingIsSent(t *testing.T) {
	why := errors.New("the instance has no role")
	e, _ := serve(t, xml("DescribeVolumes", ""))
	c := New(Config{
		Region: "eu-west-1", Endpoint: e.URL,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, why }),
	})
	for action, do := range each {
		err := do(t.Context(), c)
		if e := (*diagnose.Error)(nil); !errors.Is(err, why) || errors.As(err, &e) || !strings.HasPrefix(err.Error(), "cannot call "+action+": ") ||
			!strings.HasSuffix(err.Error(), why.Error()) {
			t.Errorf("got %v", err)
		}
	}
	equal(t, "forms", e.took(), nil)
}

func TestCredentialsAreAskedForOnce(t *testing.T) {
	asked := 0
	e, _ := serve(t, xml("CreateTags", ""))
	c := New(Config{
		Region: "eu-west-1", Endpoint: e.URL,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			asked++
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}, nil
		}),
	})
	for range 3 {
		ok(t, each[ebs.CreateTags](t.Context(), c))
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func codeOf(err error) string {
	if e := (*diagnose.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}
