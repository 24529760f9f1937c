// Package ec2 asks EC2 through the AWS SDK: it implements the API that pkg/storage/ebs
// needs. The rules are in that package, so that it compiles in a second, without the SDK.
package ec2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"bootagent/pkg/aws/cli"
	"bootagent/pkg/aws/diagnose"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/storage/ebs"
)

// A call is given up after callTimeout, with all its attempts. Where nobody
// listens at all, three attempts to connect have failed by then. One, two and
// four seconds at the most are waited before the next attempt, so that those
// end in time as well.
const (
	connectTimeout = 3 * time.Second
	callTimeout    = 10 * time.Second
	attempts       = 4
)

// pageSize is how many volumes are asked for at once, of 1,000 at the most.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVolumes.html
const pageSize = 500

// Config says where EC2 is and as who to call it.
type Config struct {
	Region      string
	Endpoint    string                  // URL; "" for that of the region
	Credentials aws.CredentialsProvider // asked again only when what it gave expires

	Log    *slog.Logger                            // nil for none
	HTTP   sdk.HTTPClient                          // nil for the network
	Jitter func(below time.Duration) time.Duration // nil for chance
}

// New returns EC2 by the AWS SDK. Each of its calls ends within some ten
// seconds, and tries again what was throttled, or where there was no answer.
// An attach or a detach is asked for once, as long as it is not throttled. An action that
// EC2 has throttled is left alone for a while, see pace: calls of it fail
// meanwhile as the throttled one did.
func New(c Config) ebs.API { return newClient(c, callTimeout) }

func newClient(c Config, timeout time.Duration) *client {
	opts := sdk.Options{
		Region:      c.Region,
		Credentials: caller{aws.NewCredentialsCache(c.Credentials)},
		HTTPClient:  c.HTTP,
	}
	if c.HTTP == nil {
		opts.HTTPClient = awshttp.NewBuildableClient().
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectTimeout }).
			WithTransportOptions(func(t *http.Transport) { t.TLSHandshakeTimeout = connectTimeout })
	}
	if c.Endpoint != "" {
		opts.BaseEndpoint = &c.Endpoint
	}
	if c.Jitter == nil {
		c.Jitter = func(below time.Duration) time.Duration { return rand.N(max(below, 1)) }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	standard := func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			return c.Jitter(min(time.Second<<max(attempt-1, 0), 4*time.Second)), nil
		})
	}
	return &client{
		ec2:     sdk.New(opts),
		region:  c.Region,
		retryer: retry.NewStandard(standard),
		onlyThrottled: retry.NewStandard(standard, func(o *retry.StandardOptions) {
			o.Retryables = []retry.IsErrorRetryable{
				retry.NoRetryCanceledError{},
				retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes},
			}
		}),
		timeout: timeout,
		jitter:  c.Jitter,
		log:     c.Log,
		paces:   map[string]*pace{},
		denied:  map[string]string{},
	}
}

type client struct {
	ec2           *sdk.Client
	region        string
	retryer       aws.Retryer
	onlyThrottled aws.Retryer
	timeout       time.Duration
	jitter        func(below time.Duration) time.Duration
	log           *slog.Logger

	mu     sync.Mutex
	paces  map[string]*pace  // by action
	denied map[string]string // by action, of which denial the log has what led to it
}

func (c *client) Volumes(ctx context.Context, q ebs.Query) ([]ebs.Volume, error) {
	// EC2 refuses ids together with a size of page.
	in := &sdk.DescribeVolumesInput{}
	for _, id := range q.IDs {
		in.VolumeIds = append(in.VolumeIds, string(id))
	}
	for _, key := range slices.Sorted(maps.Keys(q.Tags)) {
		filter := types.Filter{Name: aws.String("tag:" + key), Values: []string{escape(q.Tags[key])}}
		if q.Tags[key] == "" { // what an empty value of a filter fits is not documented
			filter = types.Filter{Name: aws.String("tag-key"), Values: []string{escape(key)}}
		}
		in.Filters = append(in.Filters, filter)
	}
	if len(q.IDs) == 0 {
		in.MaxResults = aws.Int32(pageSize)
	}
	var all []ebs.Volume
	for {
		out, err := call(ctx, c, ebs.DescribeVolumes, in, c.retryer, c.ec2.DescribeVolumes)
		if err != nil {
			return nil, err
		}
		asOf, _ := awsmiddleware.GetServerTime(out.ResultMetadata)
		for _, vol := range out.Volumes {
			v := volumeOf(vol)
			v.AsOf = asOf
			all = append(all, v)
		}
		switch token := aws.ToString(out.NextToken); token {
		case "":
			return all, nil
		case aws.ToString(in.NextToken):
			return nil, &diagnose.Error{Action: ebs.DescribeVolumes, Status: http.StatusOK, Err: errors.New("the same page comes again and again")}
		}
		in.NextToken = out.NextToken // of a page that may be short, or empty
	}
}

// escape takes the wildcards out of the value of a filter.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(value)
}

func volumeOf(vol types.Volume) ebs.Volume {
	v := ebs.Volume{
		ID:          name.VolumeID(aws.ToString(vol.VolumeId)),
		Zone:        aws.ToString(vol.AvailabilityZone),
		State:       string(vol.State),
		Size:        int64(aws.ToInt32(vol.Size)) << 30, // from GiB
		Snapshot:    aws.ToString(vol.SnapshotId),
		Source:      name.VolumeID(aws.ToString(vol.SourceVolumeId)),
		Encrypted:   aws.ToBool(vol.Encrypted),
		Key:         aws.ToString(vol.KmsKeyId),
		MultiAttach: aws.ToBool(vol.MultiAttachEnabled),
		Tags:        map[string]string{},
	}
	for _, tag := range vol.Tags {
		v.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	for _, a := range vol.Attachments {
		v.Attachments = append(v.Attachments, ebs.Attachment{
			Instance: aws.ToString(a.InstanceId),
			Service:  aws.ToString(a.InstanceOwningService),
			Device:   aws.ToString(a.Device),
			State:    string(a.State),
			Since:    aws.ToTime(a.AttachTime),

			DeleteOnTermination: aws.ToBool(a.DeleteOnTermination),
		})
	}
	return v
}

func (c *client) Instance(ctx context.Context, id string) (ebs.Instance, error) {
	out, err := call(ctx, c, ebs.DescribeInstances, &sdk.DescribeInstancesInput{InstanceIds: []string{id}}, c.retryer, c.ec2.DescribeInstances)
	if err != nil {
		return ebs.Instance{}, err
	}
	for _, reservation := range out.Reservations {
		for _, i := range reservation.Instances {
			return instanceOf(i), nil
		}
	}
	return ebs.Instance{}, &diagnose.Error{
		Action: ebs.DescribeInstances, Status: http.StatusOK,
		Code: "InvalidInstanceID.NotFound", Message: fmt.Sprintf("EC2 returned nothing for %s", id),
	}
}

func instanceOf(i types.Instance) ebs.Instance {
	instance := ebs.Instance{ID: aws.ToString(i.InstanceId), Type: string(i.InstanceType), Devices: map[string]name.VolumeID{}}
	if i.State != nil {
		instance.State = string(i.State.Name)
	}
	if i.Placement != nil {
		instance.Zone = aws.ToString(i.Placement.AvailabilityZone)
	}
	for _, mapping := range i.BlockDeviceMappings {
		var id name.VolumeID
		if mapping.Ebs != nil {
			id = name.VolumeID(aws.ToString(mapping.Ebs.VolumeId))
		}
		instance.Devices[aws.ToString(mapping.DeviceName)] = id
	}
	return instance
}

func (c *client) Modification(ctx context.Context, id name.VolumeID) (ebs.Modification, error) {
	const action = ebs.DescribeVolumesModifications
	in := &sdk.DescribeVolumesModificationsInput{VolumeIds: []string{string(id)}}
	out, err := call(ctx, c, action, in, c.retryer, c.ec2.DescribeVolumesModifications)
	if err != nil {
		return ebs.Modification{}, err
	}
	var last *types.VolumeModification
	for i, m := range out.VolumesModifications {
		if aws.ToString(m.VolumeId) == string(id) && (last == nil || aws.ToTime(m.StartTime).After(aws.ToTime(last.StartTime))) {
			last = &out.VolumesModifications[i]
		}
	}
	if last == nil {
		return ebs.Modification{}, &diagnose.Error{
			Action: action, Status: http.StatusOK,
			Code: "InvalidVolumeModification.NotFound", Message: fmt.Sprintf("EC2 returned nothing for %s", id),
		}
	}
	return ebs.Modification{
		State: string(last.ModificationState), Message: aws.ToString(last.StatusMessage), Progress: aws.ToInt64(last.Progress),
		From: int64(aws.ToInt32(last.OriginalSize)) << 30, To: int64(aws.ToInt32(last.TargetSize)) << 30, // from GiB
	}, nil
}

func (c *client) Attach(ctx context.Context, id name.VolumeID, instance, device string) error {
	in := &sdk.AttachVolumeInput{VolumeId: aws.String(string(id)), InstanceId: &instance, Device: &device}
	_, err := call(ctx, c, ebs.AttachVolume, in, c.onlyThrottled, c.ec2.AttachVolume)
	return err
}

func (c *client) Detach(ctx context.Context, id name.VolumeID, instance, device string) error {
	in := &sdk.DetachVolumeInput{VolumeId: aws.String(string(id)), InstanceId: &instance, Device: &device}
	_, err := call(ctx, c, ebs.DetachVolume, in, c.onlyThrottled, c.ec2.DetachVolume)
	return err
}

func (c *client) Tag(ctx context.Context, id name.VolumeID, tags map[string]string) error {
	in := &sdk.CreateTagsInput{Resources: []string{string(id)}}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	_, err := call(ctx, c, ebs.CreateTags, in, c.retryer, c.ec2.CreateTags)
	return err
}

// call makes one call within its time, and tells errors apart.
func call[In, Out any](ctx context.Context, c *client, action string, in In, retryer aws.Retryer,
	do func(context.Context, In, ...func(*sdk.Options)) (Out, error),
) (_ Out, failed error) {
	attempts, held := c.held(action)
	if held != nil {
		return *new(Out), held
	}
	bounded, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("EC2 did not answer within %s", c.timeout))
	defer cancel()
	out, err := do(bounded, in, func(o *sdk.Options) { o.Retryer = &sparing{Retryer: retryer, throttled: attempts} })
	defer func() { c.note(action, failed) }()
	switch caller := (*callerError)(nil); {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case errors.As(err, &caller):
		return out, fmt.Errorf("cannot call %s: %w", action, caller.err)
	}
	e := &diagnose.Error{Action: action}
	if response := (*awshttp.ResponseError)(nil); errors.As(err, &response) {
		e.Status = response.HTTPStatusCode()
	}
	api, read, sent := smithy.APIError(nil), (*smithy.DeserializationError)(nil), (*url.Error)(nil)
	switch {
	case errors.As(err, &api) && api.ErrorCode() == unknown:
		e.Err = errors.New("there is no error of EC2 in the answer")
	case errors.As(err, &api):
		e.Code = api.ErrorCode()
		e.Message, e.Encoded = legible(api.ErrorMessage())
	case errors.As(err, &read):
		e.Err = read.Err
	case bounded.Err() != nil:
		e.Err = context.Cause(bounded)
	case errors.As(err, &sent):
		e.Err = sent.Err
	default:
		e.Err = err
	}
	return out, e
}

// unknown is the code that the SDK makes up where it finds none.
const unknown = "UnknownError"

// legible takes apart what a person and what only AWS can read of a message:
// the policies that led to a denial, encoded, a kilobyte of it.
func legible(message string) (words, encoded string) {
	words, encoded, _ = strings.Cut(message, "Encoded authorization failure message")
	return strings.Join(strings.Fields(words), " "), strings.Trim(encoded, ": .\n\t")
}

// note keeps what is to be known of a call for the next ones of its action.
func (c *client) note(action string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := (*diagnose.Error)(nil)
	throttled := errors.As(err, &e) && e.Kind() == diagnose.Throttled
	if p := c.paces[action]; throttled || p != nil {
		if p == nil {
			p = &pace{}
			c.paces[action] = p
		}
		p.note(throttled, e, time.Now(), c.jitter)
	}
	if e != nil && e.Encoded != "" && c.denied[action] != e.Message {
		c.denied[action] = e.Message
		c.log.Warn("EC2 denied a call of "+action+", and tells which policy did to whom IAM allows sts:DecodeAuthorizationMessage",
			"decode", cli.Command(c.region, "sts decode-authorization-message", "--encoded-message", e.Encoded))
	}
}

// held is the error of the call that was throttled last, while the action has
// to rest, and otherwise how many attempts a call may make that is throttled.
func (c *client) held(action string) (attempts int, held error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.paces[action]
	switch {
	case p == nil || p.rested == 0:
		return 2, nil
	case time.Now().Before(p.until):
		return 0, p.last
	}
	return 1, nil
}

// A pace slows the calls of one action down that EC2 throttles. Its buckets
// are an account's, of one action in one region, so that what one instance
// leaves out another one gets:
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
type pace struct {
	rested int       // how often in a row, or nearly
	until  time.Time // no call is made
	last   *diagnose.Error
}

// The rest of an action: twice as long each time that it is throttled.
const (
	firstRest = 2 * time.Second
	mostRest  = 2 * time.Minute
)

// note lengthens the next rest where a call was throttled, and shortens it
// where not, so that a fleet finds the pace that EC2 lets it have.
func (p *pace) note(throttled bool, e *diagnose.Error, now time.Time, jitter func(time.Duration) time.Duration) {
	if !throttled {
		p.rested /= 2
		return
	}
	rest := min(firstRest<<min(p.rested, 10), mostRest)
	p.rested, p.last = p.rested+1, e
	p.until = now.Add(rest/2 + jitter(rest/2))
}

// sparing bounds the attempts of a call that is throttled.
type sparing struct {
	aws.Retryer
	throttled int
}

func (s *sparing) IsErrorRetryable(err error) bool {
	if retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == aws.TrueTernary {
		s.throttled--
		if s.throttled <= 0 {
			return false
		}
	}
	return s.Retryer.IsErrorRetryable(err)
}

// A caller marks the errors of who gives the credentials, which are no
// answers of EC2.
type caller struct{ aws.CredentialsProvider }

func (c caller) Retrieve(ctx context.Context) (aws.Credentials, error) {
	credentials, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		err = &callerError{err}
	}
	return credentials, err
}

type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }
func (e *callerError) Unwrap() error { return e.err }
