package cloud

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"strings"
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
}

func newS3(c *Cloud) *S3 {
	backend := s3mem.New()
	return &S3{
		cloud:   c,
		backend: backend,
		server:  gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0)).Server(), // verify looks at the time
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
		if refused := s.refusal(who, bad, bucket, key, action, asks); refused != nil {
			answer.fail(r, *refused)
		} else {
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
	if e.Region != "" {
		b.header.Set("X-Amz-Bucket-Region", e.Region)
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
