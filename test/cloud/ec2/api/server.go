// Package api is EC2's Query API over HTTP: it checks signatures, permissions and the rate of calls, lets package ec2
// do what a call asks for, and answers in XML.
package api

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/iam"
	"bootagent/test/cloud/service"
	"bootagent/test/cloud/sigv4"
)

// A Server is the EC2 API, version 2016-11-15, in one region, with the EC2 behind it. It is an http.Handler.
type Server struct {
	*ec2.EC2
	service.Faults
	env      *service.Env
	iam      *iam.IAM
	throttle throttle
	created  clientTokens

	mu    sync.Mutex
	short bool // whether pages are short
}

// New returns the API of an EC2.
func New(env *service.Env, permissions *iam.IAM, e *ec2.EC2) *Server {
	return &Server{
		EC2: e, env: env, iam: permissions,
		throttle: throttle{buckets: map[string]*bucket{}},
		created:  clientTokens{tokens: map[string]createdVolume{}},
	}
}

// SetShortPages makes pages with a token hold fewer items than the caller asked for, or none, as EC2's may:
// items that a filter leaves out count for the page.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html
func (s *Server) SetShortPages(short bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.short = short
}

func (s *Server) pagesAreShort() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.short
}

// Throttle replaces the token bucket of an action by a full one of another size; refill is in tokens a second. By
// default the buckets have the sizes that AWS publishes.
func (s *Server) Throttle(action string, capacity, refill float64) {
	s.throttle.set(action, capacity, refill)
}

// An action is an action of EC2.
type action struct {
	// needs returns what the caller has to be allowed.
	needs func(s *Server, f form) []iam.Request
	do    func(s *Server, f form) (response, error)
}

var actions = map[string]action{
	"AttachVolume":                 {attachmentRequests("ec2:AttachVolume"), (*Server).attachVolume},
	"CreateTags":                   {tagRequests("ec2:CreateTags"), (*Server).createTags},
	"DeleteTags":                   {tagRequests("ec2:DeleteTags"), (*Server).deleteTags},
	"CreateVolume":                 {createVolumeRequests, (*Server).createVolume},
	"DescribeInstances":            {describeRequests("ec2:DescribeInstances"), (*Server).describeInstances},
	"DescribeSnapshots":            {describeRequests("ec2:DescribeSnapshots"), (*Server).describeSnapshots},
	"DescribeVolumes":              {describeRequests("ec2:DescribeVolumes"), (*Server).describeVolumes},
	"DescribeVolumesModifications": {describeRequests("ec2:DescribeVolumesModifications"), (*Server).describeModifications},
	"DetachVolume":                 {attachmentRequests("ec2:DetachVolume"), (*Server).detachVolume},
	"ModifyVolume":                 {modifyVolumeRequests, (*Server).modifyVolume},
}

func describeRequests(action string) func(*Server, form) []iam.Request {
	return func(*Server, form) []iam.Request { return []iam.Request{{Action: action, Resource: "*"}} }
}

// apiVersion is EC2's only current version.
const apiVersion = "2016-11-15"

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	who, problem := s.iam.Verify(r, "ec2")
	badForm := r.ParseForm()
	f := form{r.Form}
	call := service.Call{
		Time: time.Now(), Service: "ec2", Action: f.Get("Action"),
		Role: who.Role, Principal: who.Session, Params: f.params(),
	}

	fault := s.env.Begin(w, r, &s.Faults, call.Action, call)
	var answer response
	var err error
	if fault.Status == 0 || fault.Effect {
		switch {
		case badForm != nil:
			err = ec2.Errorf("MalformedQueryString", "%v", badForm)
		case problem != 0:
			err = badSignature(problem)
		default:
			answer, err = s.answer(f, who, &call)
		}
	}
	if fault.Status != 0 {
		err = &ec2.Error{Status: fault.Status, Code: fault.Code, Message: fault.Message}
	}
	s.write(w, fault, call, answer, err)
}

// write records a call and writes its answer, or the error.
func (s *Server) write(w http.ResponseWriter, fault service.Fault, call service.Call, answer response, err error) {
	request := requestID()
	call.Status = http.StatusOK
	body, wrong := []byte(nil), error(nil)
	if err == nil {
		answer.stamp(call.Action, request)
		body, wrong = xml.Marshal(answer)
	} else {
		refused := (*ec2.Error)(nil)
		if !errors.As(err, &refused) {
			refused = &ec2.Error{Status: http.StatusInternalServerError, Code: "InternalError", Message: err.Error()}
		}
		call.Status, call.Code = refused.Status, refused.Code
		body, wrong = xml.Marshal(newErrorResponse(refused, request))
	}
	if wrong != nil {
		http.Error(w, wrong.Error(), http.StatusInternalServerError)
		return
	}
	s.env.Calls.Add(call)

	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Header().Set("Server", "AmazonEC2")
	w.Header().Set("X-Amzn-Requestid", request)
	body = append([]byte(xml.Header), body...)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(call.Status)
	_, _ = fault.Writer(w).Write(body) // a client may go at any time
}

// answer does what a caller asks for, if it is allowed.
func (s *Server) answer(f form, who iam.Caller, call *service.Call) (response, error) {
	name := f.Get("Action")
	a, ok := actions[name]
	switch {
	case name == "":
		return nil, ec2.Errorf("MissingAction", "The request must contain the parameter Action")
	case !ok:
		return nil, ec2.Errorf("InvalidAction", "The action %s is not valid for this web service.", name)
	case f.Get("Version") != apiVersion:
		return nil, ec2.Errorf("NoSuchVersion", "The requested version (%s) of service AmazonEC2 does not exist", f.Get("Version"))
	case !s.throttle.take(name, f.scan()):
		return nil, &ec2.Error{Status: service.Throttled.Status, Code: service.Throttled.Code, Message: service.Throttled.Message}
	}
	requests := a.needs(s, f)
	for n := range requests {
		if requests[n].Context == nil {
			requests[n].Context = map[string][]string{}
		}
		requests[n].Context["aws:RequestedRegion"] = []string{s.env.Region}
		if strings.HasPrefix(who.Session, "i-") {
			requests[n].Context["ec2:SourceInstanceARN"] = []string{s.arn("instance", who.Session)}
		}
		if !slices.Contains(call.Needs, requests[n].Action) {
			call.Needs = append(call.Needs, requests[n].Action)
		}
	}
	if denied := s.iam.Denied(who, requests); denied != "" {
		return nil, &ec2.Error{
			Status: http.StatusForbidden, Code: "UnauthorizedOperation",
			Message: "You are not authorized to perform this operation. " + denied +
				". Encoded authorization failure message: " + service.Random(400),
		}
	}
	if f.Get("DryRun") == "true" {
		return nil, &ec2.Error{
			Status: http.StatusPreconditionFailed, Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set.",
		}
	}
	return a.do(s, f)
}

// badSignature returns EC2's words for a problem of a signature.
func badSignature(problem sigv4.Problem) error {
	switch problem {
	case sigv4.ExpiredToken, sigv4.Skewed:
		return ec2.Errorf("RequestExpired", "Request has expired.")
	case sigv4.WrongScope:
		return &ec2.Error{Status: http.StatusUnauthorized, Code: "AuthFailure", Message: "Credential should be scoped to a valid region."}
	default:
		return &ec2.Error{
			Status: http.StatusUnauthorized, Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials",
		}
	}
}

// arn returns the ARN of a volume, an instance or a snapshot, or of all of them if the ID is *.
func (s *Server) arn(kind, id string) string {
	account := s.env.Account
	if kind == "snapshot" {
		account = "" // a snapshot may be of another account
	}
	return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", s.env.Region, account, kind, id)
}
