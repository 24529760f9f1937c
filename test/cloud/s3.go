package cloud

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// S3 is S3 with path-style addresses. gofakes3 keeps the objects; what is before it answers for
// IAM, and has the faults. As an http.Handler it answers what came over the network; its methods
// are for whoever runs the cloud, and need no permission.
type S3 struct {
	faults
	cloud   *Cloud
	backend *s3mem.Backend
	server  http.Handler

	mu        sync.Mutex
	elsewhere map[string]string // regions of buckets that are not in the cloud's
	kept      map[string]string // how objects, as bucket/key, are kept: see Archive and KeepWithCustomerKey
}

func newS3(c *Cloud) *S3 {
	backend := s3mem.New()
	return &S3{
		cloud:   c,
		backend: backend,
		server:  gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0)).Server(), // verify looks at the time

		elsewhere: map[string]string{},
		kept:      map[string]string{},
	}
}

// Put writes an object; its bucket is made if need be.
func (s *S3) Put(bucket, key string, data []byte) error {
	if err := s.makeBucket(bucket); err != nil {
		return err
	}
	_, err := s.backend.PutObject(bucket, key, map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}, bytes.NewReader(data), int64(len(data)), nil)
	return err
}

// KeepVersions has a bucket keep the versions of its objects from now on; it is made if need be.
func (s *S3) KeepVersions(bucket string) error {
	if err := s.makeBucket(bucket); err != nil {
		return err
	}
	return s.backend.SetVersioningConfiguration(bucket, gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled})
}

func (s *S3) makeBucket(name string) error {
	if exists, err := s.backend.BucketExists(name); exists || err != nil {
		return err
	}
	return s.backend.CreateBucket(name)
}

// SetRegion has a bucket be in another region than the cloud.
func (s *S3) SetRegion(bucket, region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.elsewhere[bucket] = region
}

// How an object can be kept so that it is not given.
const (
	archived    = "GLACIER"
	customerKey = "SSE-C"
)

// Archive moves an object to where it has to be restored from before it is read.
func (s *S3) Archive(bucket, key string) { s.keep(bucket, key, archived) }

// KeepWithCustomerKey has an object be encrypted with a key that comes with each request (SSE-C).
func (s *S3) KeepWithCustomerKey(bucket, key string) { s.keep(bucket, key, customerKey) }

func (s *S3) keep(bucket, key, how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[bucket+"/"+key] = how
}

// Delete deletes an object.
func (s *S3) Delete(bucket, key string) error {
	_, err := s.backend.DeleteObject(bucket, key)
	return err
}

// An s3Error is one in S3's words.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
type s3Error struct {
	XMLName   xml.Name `xml:"Error"`
	status    int
	Code      string
	Message   string
	Region    string `xml:",omitempty"` // the right one, where the wrong one was signed for
	Endpoint  string `xml:",omitempty"` // the right one, where the bucket is elsewhere
	Bucket    string `xml:",omitempty"`
	header    string // the region of the bucket, which is not always told in a header
	RequestID string `xml:"RequestId"`
	HostID    string `xml:"HostId"`
}

func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, bad := s.cloud.IAM.verify(r, "s3")
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	action, asks := s3Action(r, bucket, key)
	call := Call{
		Time: time.Now(), Service: "s3", Action: action, Role: who.role, Principal: who.session,
		Params: map[string]string{"Bucket": bucket},
	}
	if key != "" {
		call.Params["Key"] = key
	}
	if version := r.URL.Query().Get("versionId"); version != "" {
		call.Params["VersionId"] = version
	}

	fault := s.next(action)
	if !sleep(r.Context(), fault.Delay) || fault.Hang {
		call.Code = Unanswered
		s.cloud.Calls.add(call)
		s.cloud.hang(w, r)
	}
	answer := &buffer{header: http.Header{}, status: http.StatusOK}
	if fault.Status == 0 || fault.Effect {
		for _, a := range asks {
			call.Needs = append(call.Needs, a.action)
		}
		refused := s.refusal(who, bad, bucket, key, action, asks)
		if refused == nil {
			refused = s.withheld(r, bucket, key, action)
		}
		switch {
		case refused != nil:
			answer.fail(r, *refused)
		case action == "RestoreObject":
			s.keep(bucket, key, "")
			answer.status = http.StatusAccepted
		default:
			if action == "PutObject" {
				s.keep(bucket, key, "") // as another one
			}
			s.server.ServeHTTP(answer, ofVersion(r))
		}
	}
	if fault.Status != 0 {
		answer = &buffer{header: http.Header{}}
		answer.fail(r, s3Error{status: fault.Status, Code: fault.Code, Message: fault.Message})
	}

	call.Status, call.Code = answer.status, answer.code()
	cut := fault.Cut > 0 && fault.Cut < answer.body.Len()
	if cut {
		call.Code = Unanswered
	}
	s.cloud.Calls.add(call)
	for name, values := range answer.header {
		w.Header()[name] = values
	}
	w.Header().Set("Server", "AmazonS3")
	if r.Method != http.MethodHead {
		w.Header().Set("Content-Length", strconv.Itoa(answer.body.Len()))
	}
	w.WriteHeader(answer.status)
	if cut {
		w = &cutter{w, fault.Cut}
	}
	_, _ = w.Write(answer.body.Bytes()) // a client may go whenever it wants
}

// ofVersion makes a GET of the HEAD of a version: gofakes3 1.2.0 gives the newest version's head.
// The server leaves out the body.
func ofVersion(r *http.Request) *http.Request {
	if r.Method != http.MethodHead || !r.URL.Query().Has("versionId") {
		return r
	}
	get := r.Clone(r.Context())
	get.Method = http.MethodGet
	return get
}

// s3Action names what a request wants, and what the caller has to be allowed for it.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
func s3Action(r *http.Request, bucket, key string) (action string, asks []ask) {
	query := r.URL.Query()
	onBucket, onKey := "arn:aws:s3:::"+bucket, "arn:aws:s3:::"+bucket+"/"+key
	asked := func(action, resource string) []ask { return []ask{{action: action, resource: resource}} }
	switch {
	case bucket == "":
		return "ListBuckets", asked("s3:ListAllMyBuckets", "*")
	case key == "":
		switch {
		case r.Method == http.MethodHead:
			return "HeadBucket", asked("s3:ListBucket", onBucket)
		case r.Method == http.MethodGet && query.Get("list-type") == "2":
			return "ListObjectsV2", asked("s3:ListBucket", onBucket)
		case r.Method == http.MethodGet && query.Has("versions"):
			return "ListObjectVersions", asked("s3:ListBucketVersions", onBucket)
		case r.Method == http.MethodGet:
			return "ListObjects", asked("s3:ListBucket", onBucket)
		case r.Method == http.MethodPut:
			return "CreateBucket", asked("s3:CreateBucket", onBucket)
		}
		return r.Method + " of a bucket", asked("s3:*", onBucket)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		action := "GetObject"
		if r.Method == http.MethodHead {
			action = "HeadObject"
		}
		if query.Has("versionId") {
			return action, asked("s3:GetObjectVersion", onKey)
		}
		return action, asked("s3:GetObject", onKey)
	case r.Method == http.MethodPost && query.Has("restore"):
		return "RestoreObject", asked("s3:RestoreObject", onKey)
	case r.Method == http.MethodDelete:
		return "DeleteObject", asked("s3:DeleteObject", onKey)
	default:
		return "PutObject", asked("s3:PutObject", onKey)
	}
}

// refusal says why S3 does not answer a request, or nothing.
func (s *S3) refusal(who caller, bad signatureError, bucket, key, action string, asks []ask) *s3Error {
	switch bad {
	case 0:
	case unsigned:
		return &s3Error{status: http.StatusForbidden, Code: "AccessDenied", Message: "Access Denied"}
	case unknownKey:
		return &s3Error{status: http.StatusForbidden, Code: "InvalidAccessKeyId", Message: "The AWS Access Key Id you provided does not exist in our records."}
	case wrongToken:
		return &s3Error{status: http.StatusBadRequest, Code: "InvalidToken", Message: "The provided token is malformed or otherwise invalid."}
	case expiredToken:
		return &s3Error{status: http.StatusBadRequest, Code: "ExpiredToken", Message: "The provided token has expired."}
	case skewed:
		return &s3Error{status: http.StatusForbidden, Code: "RequestTimeTooSkewed", Message: "The difference between the request time and the current time is too large."}
	case wrongScope:
		return &s3Error{
			status: http.StatusBadRequest, Code: "AuthorizationHeaderMalformed", Region: s.cloud.config.Region,
			Message: fmt.Sprintf("The authorization header is malformed; the region is wrong; expecting '%s'", s.cloud.config.Region),
		}
	default:
		return &s3Error{status: http.StatusForbidden, Code: "SignatureDoesNotMatch", Message: "The request signature we calculated does not match the signature you provided. Check your key and signing method."}
	}

	if refused := s.misdirected(bucket); refused != nil {
		return refused
	}

	// Who may not list a bucket is not told which objects are not there.
	// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
	if exists, err := s.backend.BucketExists(bucket); (action == "GetObject" || action == "HeadObject") && exists && err == nil {
		if _, err := s.backend.HeadObject(bucket, key); err != nil && s.cloud.IAM.denied(who, asks) == "" {
			asks = []ask{{action: "s3:ListBucket", resource: "arn:aws:s3:::" + bucket}}
		}
	}
	if denied := s.cloud.IAM.denied(who, asks); denied != "" {
		return &s3Error{status: http.StatusForbidden, Code: "AccessDenied", Message: denied}
	}
	return nil
}

// bucketName is what every bucket's name is like.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*[a-z0-9]$`)

// redirected are the regions that were there when S3 still redirected to a region from each other
// one. To those that came after March 20, 2019, and have to be opted in to, it does not.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingRouting.html
var redirected = []string{
	"us-east-1", "us-east-2", "us-west-1", "us-west-2", "ca-central-1", "sa-east-1", "eu-central-1", "eu-west-1", "eu-west-2",
	"eu-west-3", "eu-north-1", "ap-south-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-southeast-1", "ap-southeast-2",
}

// misdirected is what S3 answers to whoever asks for a bucket that can't be, or is in another
// region, whatever they may do.
func (s *S3) misdirected(bucket string) *s3Error {
	if bucket != "" && (len(bucket) < 3 || len(bucket) > 63 || !bucketName.MatchString(bucket)) && !s.exists(bucket) {
		return &s3Error{status: http.StatusBadRequest, Code: "InvalidBucketName", Message: "The specified bucket is not valid.", Bucket: bucket}
	}
	s.mu.Lock()
	region := s.elsewhere[bucket]
	s.mu.Unlock()
	switch {
	case region == "" || region == s.cloud.config.Region:
		return nil
	case slices.Contains(redirected, region) && slices.Contains(redirected, s.cloud.config.Region):
		return &s3Error{
			status: http.StatusMovedPermanently, Code: "PermanentRedirect", Bucket: bucket, header: region,
			Endpoint: fmt.Sprintf("%s.s3.%s.amazonaws.com", bucket, region),
			Message: "The bucket you are attempting to access must be addressed using the specified endpoint. " +
				"Please send all future requests to this endpoint.",
		}
	}
	constraint := region
	if region == "us-east-1" {
		constraint = "unspecified"
	}
	return &s3Error{
		status: http.StatusBadRequest, Code: "IllegalLocationConstraintException",
		Message: fmt.Sprintf("The %s location constraint is incompatible for the region specific endpoint this request was sent to.", constraint),
	}
}

func (s *S3) exists(bucket string) bool {
	exists, err := s.backend.BucketExists(bucket)
	return exists && err == nil
}

// withheld is what S3 answers to who may read an object that it does not give as it is.
func (s *S3) withheld(r *http.Request, bucket, key, action string) *s3Error {
	s.mu.Lock()
	how := s.kept[bucket+"/"+key]
	s.mu.Unlock()
	switch {
	case how == archived && action == "GetObject":
		return &s3Error{status: http.StatusForbidden, Code: "InvalidObjectState", Message: "The operation is not valid for the object's storage class"}
	case how == customerKey && (action == "GetObject" || action == "HeadObject") &&
		r.Header.Get("X-Amz-Server-Side-Encryption-Customer-Algorithm") == "":
		return &s3Error{
			status: http.StatusBadRequest, Code: "InvalidRequest",
			Message: "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.",
		}
	}
	return nil
}

// A buffer takes an answer, so that it can be looked at before it goes out.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header         { return b.header }
func (b *buffer) WriteHeader(status int)      { b.status = status }
func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }

func (b *buffer) fail(r *http.Request, e s3Error) {
	e.RequestID, e.HostID = strings.ToUpper(random(8)), random(28)
	b.status = e.status
	b.header.Set("Content-Type", "application/xml")
	b.header.Set("X-Amz-Request-Id", e.RequestID)
	b.header.Set("X-Amz-Id-2", e.HostID)
	if region := cmp.Or(e.header, e.Region); region != "" {
		b.header.Set("X-Amz-Bucket-Region", region)
	}
	if r.Method == http.MethodHead {
		return // has no body, and so no code
	}
	b.body.WriteString(xml.Header)
	data, err := xml.Marshal(e)
	if err != nil {
		panic(err) // strings can't fail
	}
	b.body.Write(data)
}

// code gives the code of an error document.
func (b *buffer) code() string {
	if b.status < 300 {
		return ""
	}
	var e struct{ Code string }
	if xml.Unmarshal(b.body.Bytes(), &e) != nil || e.Code == "" {
		return http.StatusText(b.status)
	}
	return e.Code
}
