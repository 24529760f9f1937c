package s3

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"bootagent/test/cloud/iam"
	"bootagent/test/cloud/service"
)

func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, problem := s.iam.Verify(r, "s3")
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	action, requests := actionOf(r, bucket, key)
	call := service.Call{
		Time: time.Now(), Service: "s3", Action: action, Role: who.Role, Principal: who.Session,
		Params: map[string]string{"Bucket": bucket},
	}
	if key != "" {
		call.Params["Key"] = key
	}
	if version := r.URL.Query().Get("versionId"); version != "" {
		call.Params["VersionId"] = version
	}

	fault := s.env.Begin(w, r, &s.Faults, action, call)
	answer := newBuffer()
	if fault.Status == 0 || fault.Effect {
		for _, request := range requests {
			call.Needs = append(call.Needs, request.Action)
		}
		refused := s.refuse(who, problem, bucket, key, action, requests)
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
				s.keep(bucket, key, "") // it replaces the object that was archived or encrypted
			}
			s.server.ServeHTTP(answer, ofVersion(r))
		}
	}
	if fault.Status != 0 {
		answer = newBuffer()
		answer.fail(r, refusal{status: fault.Status, Code: fault.Code, Message: fault.Message})
	}

	call.Status, call.Code = answer.status, answer.code()
	if fault.Cut > 0 && fault.Cut < answer.body.Len() {
		call.Code = service.Unanswered
	}
	s.env.Calls.Add(call)
	for name, values := range answer.header {
		w.Header()[name] = values
	}
	w.Header().Set("Server", "AmazonS3")
	if r.Method != http.MethodHead {
		w.Header().Set("Content-Length", strconv.Itoa(answer.body.Len()))
	}
	w.WriteHeader(answer.status)
	_, _ = fault.Writer(w).Write(answer.body.Bytes()) // a client may go at any time
}

// ofVersion turns the HEAD of a version into a GET, because gofakes3 1.2.0 answers such a HEAD for the newest
// version. The HTTP server omits the body.
func ofVersion(r *http.Request) *http.Request {
	if r.Method != http.MethodHead || !r.URL.Query().Has("versionId") {
		return r
	}
	get := r.Clone(r.Context())
	get.Method = http.MethodGet
	return get
}

// actionOf returns the action of an HTTP request, and what the caller has to be allowed for it.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
func actionOf(r *http.Request, bucket, key string) (action string, requests []iam.Request) {
	query := r.URL.Query()
	onBucket, onKey := "arn:aws:s3:::"+bucket, "arn:aws:s3:::"+bucket+"/"+key
	needs := func(action, resource string) []iam.Request {
		return []iam.Request{{Action: action, Resource: resource}}
	}
	switch {
	case bucket == "":
		return "ListBuckets", needs("s3:ListAllMyBuckets", "*")
	case key == "":
		switch {
		case r.Method == http.MethodHead:
			return "HeadBucket", needs("s3:ListBucket", onBucket)
		case r.Method == http.MethodGet && query.Get("list-type") == "2":
			return "ListObjectsV2", needs("s3:ListBucket", onBucket)
		case r.Method == http.MethodGet && query.Has("versions"):
			return "ListObjectVersions", needs("s3:ListBucketVersions", onBucket)
		case r.Method == http.MethodGet:
			return "ListObjects", needs("s3:ListBucket", onBucket)
		case r.Method == http.MethodPut:
			return "CreateBucket", needs("s3:CreateBucket", onBucket)
		}
		return r.Method + " of a bucket", needs("s3:*", onBucket)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		action := "GetObject"
		if r.Method == http.MethodHead {
			action = "HeadObject"
		}
		if query.Has("versionId") {
			return action, needs("s3:GetObjectVersion", onKey)
		}
		return action, needs("s3:GetObject", onKey)
	case r.Method == http.MethodPost && query.Has("restore"):
		return "RestoreObject", needs("s3:RestoreObject", onKey)
	case r.Method == http.MethodDelete:
		return "DeleteObject", needs("s3:DeleteObject", onKey)
	default:
		return "PutObject", needs("s3:PutObject", onKey)
	}
}
