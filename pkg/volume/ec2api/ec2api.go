// Package ec2api is the interface that pkg/volume has to EC2, by the AWS SDK. It
// is apart from what decides, so that this compiles in a second and that does not.
package ec2api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"bootagent/pkg/volume"
)

// A call is given up after callTimeout, with all its attempts. Where nobody
// listens at all, three attempts to connect have failed by then. Throttled
// calls wait one, two and four seconds at the most before the next attempt,
// so that those end in time as well.
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
}

// New returns EC2 by the AWS SDK. Each of its calls ends within some ten
// seconds, and tries again what was throttled, or where there was no answer.
// An attach is asked for once, as long as it is not throttled.
func New(c Config) volume.API { return newClient(c, callTimeout) }

func newClient(c Config, timeout time.Duration) *client {
	opts := ec2.Options{
		Region:      c.Region,
		Credentials: caller{aws.NewCredentialsCache(c.Credentials)},
		HTTPClient: awshttp.NewBuildableClient().
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = connectTimeout }).
			WithTransportOptions(func(t *http.Transport) { t.TLSHandshakeTimeout = connectTimeout }),
	}
	if c.Endpoint != "" {
		opts.BaseEndpoint = &c.Endpoint
	}
	return &client{
		ec2:     ec2.New(opts),
		retryer: retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = attempts }),
		onlyThrottled: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			o.Retryables = []retry.IsErrorRetryable{
				retry.NoRetryCanceledError{},
				retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes},
			}
		}),
		timeout: timeout,
	}
}

type client struct {
	ec2           *ec2.Client
	retryer       aws.Retryer
	onlyThrottled aws.Retryer
	timeout       time.Duration
}

func (c *client) Volumes(ctx context.Context, q volume.Query) ([]volume.Volume, error) {
	// EC2 refuses ids together with a size of page.
	in := &ec2.DescribeVolumesInput{VolumeIds: q.IDs}
	for _, key := range slices.Sorted(maps.Keys(q.Tags)) {
		in.Filters = append(in.Filters, types.Filter{Name: aws.String("tag:" + key), Values: []string{escape(q.Tags[key])}})
	}
	if len(q.IDs) == 0 {
		in.MaxResults = aws.Int32(pageSize)
	}
	var all []volume.Volume
	for {
		out, err := call(ctx, c, volume.DescribeVolumes, in, c.retryer, c.ec2.DescribeVolumes)
		if err != nil {
			return nil, err
		}
		for _, vol := range out.Volumes {
			all = append(all, volumeOf(vol))
		}
		if aws.ToString(out.NextToken) == "" {
			return all, nil
		}
		in.NextToken = out.NextToken
	}
}

// escape takes the wildcards out of the value of a filter.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(value)
}

func volumeOf(vol types.Volume) volume.Volume {
	v := volume.Volume{
		ID:          aws.ToString(vol.VolumeId),
		Zone:        aws.ToString(vol.AvailabilityZone),
		State:       string(vol.State),
		Size:        int64(aws.ToInt32(vol.Size)) << 30, // from GiB
		Snapshot:    aws.ToString(vol.SnapshotId),
		Source:      aws.ToString(vol.SourceVolumeId),
		Encrypted:   aws.ToBool(vol.Encrypted),
		MultiAttach: aws.ToBool(vol.MultiAttachEnabled),
		Tags:        map[string]string{},
	}
	for _, tag := range vol.Tags {
		v.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	for _, a := range vol.Attachments {
		v.Attachments = append(v.Attachments, volume.Attachment{
			Instance: aws.ToString(a.InstanceId),
			Service:  aws.ToString(a.InstanceOwningService),
			Device:   aws.ToString(a.Device),
			State:    string(a.State),
			Since:    aws.ToTime(a.AttachTime),
		})
	}
	return v
}

func (c *client) Instance(ctx context.Context, id string) (volume.Instance, error) {
	out, err := call(ctx, c, volume.DescribeInstances, &ec2.DescribeInstancesInput{InstanceIds: []string{id}}, c.retryer, c.ec2.DescribeInstances)
	if err != nil {
		return volume.Instance{}, err
	}
	for _, reservation := range out.Reservations {
		for _, i := range reservation.Instances {
			return instanceOf(i), nil
		}
	}
	return volume.Instance{}, &volume.APIError{
		Action: volume.DescribeInstances, Status: http.StatusOK,
		Code: "InvalidInstanceID.NotFound", Message: fmt.Sprintf("EC2 returned nothing for %s", id),
	}
}

func instanceOf(i types.Instance) volume.Instance {
	instance := volume.Instance{ID: aws.ToString(i.InstanceId), Launched: aws.ToTime(i.LaunchTime), Devices: map[string]string{}}
	if i.State != nil {
		instance.State = string(i.State.Name)
	}
	if i.Placement != nil {
		instance.Zone = aws.ToString(i.Placement.AvailabilityZone)
	}
	for _, mapping := range i.BlockDeviceMappings {
		id := ""
		if mapping.Ebs != nil {
			id = aws.ToString(mapping.Ebs.VolumeId)
		}
		instance.Devices[aws.ToString(mapping.DeviceName)] = id
	}
	return instance
}

func (c *client) Attach(ctx context.Context, id, instance, device string) error {
	in := &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &instance, Device: &device}
	_, err := call(ctx, c, volume.AttachVolume, in, c.onlyThrottled, c.ec2.AttachVolume)
	return err
}

func (c *client) Tag(ctx context.Context, id string, tags map[string]string) error {
	in := &ec2.CreateTagsInput{Resources: []string{id}}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	_, err := call(ctx, c, volume.CreateTags, in, c.retryer, c.ec2.CreateTags)
	return err
}

// call makes one call within its time, and tells errors apart.
func call[In, Out any](ctx context.Context, c *client, action string, in In, retryer aws.Retryer,
	do func(context.Context, In, ...func(*ec2.Options)) (Out, error),
) (Out, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("EC2 did not answer within %s", c.timeout))
	defer cancel()
	out, err := do(bounded, in, func(o *ec2.Options) { o.Retryer = retryer })
	switch caller := (*callerError)(nil); {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case errors.As(err, &caller):
		return out, fmt.Errorf("cannot call %s: %w", action, caller.err)
	}
	e := &volume.APIError{Action: action}
	if response := (*awshttp.ResponseError)(nil); errors.As(err, &response) {
		e.Status = response.HTTPStatusCode()
	}
	api, read, sent := smithy.APIError(nil), (*smithy.DeserializationError)(nil), (*url.Error)(nil)
	switch {
	case errors.As(err, &api) && api.ErrorCode() == unknown:
		e.Err = errors.New("there is no error of EC2 in the answer")
	case errors.As(err, &api):
		e.Code, e.Message = api.ErrorCode(), legible(api.ErrorMessage())
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

// legible drops what only AWS can read of a message: the policies that led to
// a denial, encoded, a kilobyte of it.
func legible(message string) string {
	message, _, _ = strings.Cut(message, "Encoded authorization failure message")
	return strings.Join(strings.Fields(message), " ")
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
