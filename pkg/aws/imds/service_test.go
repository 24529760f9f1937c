package imds

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A service behaves as EC2's instance metadata service does.
type service struct {
	url string

	mu       sync.Mutex
	items    map[string]string // by path
	status   map[string]int    // of an answer that is an error, by method and path
	ahead    time.Duration     // of its clock, of this machine's
	packs    bool              // says that it packs its answers for whoever takes them so
	hangs    map[string]bool   // requests that are never answered
	hangsUp  map[string]bool   // requests whose connection is closed
	tokens   map[string]bool
	requests []string // method and path; "without token" after it, where it has none
}

const (
	documentPath = "/latest/dynamic/instance-identity/document"
	userDataPath = "/latest/user-data"
	roleTagPath  = "/latest/meta-data/tags/instance/bootagent:role"
	tokenPath    = "/latest/api/token"
)

const document = `{
  "accountId" : "123456789012",
  "architecture" : "arm64",
  "availabilityZone" : "eu-central-1a",
  "billingProducts" : null,
  "imageId" : "ami-5fb8c835",
  "instanceId" : "i-0123456789abcdef0",
  "instanceType" : "m7g.large",
  "pendingTime" : "2026-11-19T16:32:11Z",
  "privateIp" : "10.158.112.84",
  "region" : "eu-central-1",
  "version" : "2017-09-30"
}`

var identity = Identity{ID: "i-0123456789abcdef0", Type: "m7g.large", Zone: "eu-central-1a", Region: "eu-central-1", PrivateIPv4: "10.158.112.84"}

// newService starts a service with an identity and the given items.
func newService(t *testing.T, items map[string]string) *service {
	s := &service{
		items:   map[string]string{documentPath: document},
		status:  map[string]int{},
		hangs:   map[string]bool{},
		hangsUp: map[string]bool{},
		tokens:  map[string]bool{},
	}
	maps.Copy(s.items, items)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// change changes what the service does from now on.
func (s *service) change(how func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how()
}

// count gives how often a request was made.
func (s *service) count(request string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r == request {
			n++
		}
	}
	return n
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := r.Method + " " + r.URL.Path
	s.mu.Lock()
	hangs, hangsUp := s.hangs[request], s.hangsUp[request]
	s.mu.Unlock()
	switch {
	case hangs:
		s.change(func() { s.requests = append(s.requests, request) })
		<-r.Context().Done()
	case hangsUp:
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	default:
		s.answer(w, r, request)
	}
}

func (s *service) answer(w http.ResponseWriter, r *http.Request, request string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.status[request]
	w.Header().Set("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))
	if r.Method == http.MethodPut {
		s.requests = append(s.requests, request)
		const ttl = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
		seconds, err := strconv.Atoi(r.Header.Get(ttl))
		switch {
		case r.URL.Path != tokenPath:
			w.WriteHeader(http.StatusForbidden)
		case err != nil || seconds < 1 || seconds > 21600:
			w.WriteHeader(http.StatusBadRequest)
		case status != 0:
			w.WriteHeader(status)
		default:
			token := fmt.Sprintf("token-%d", len(s.requests))
			s.tokens[token] = true
			w.Header().Set(ttl, strconv.Itoa(seconds))
			fmt.Fprint(w, token)
		}
		return
	}
	token := r.Header.Get("X-Aws-Ec2-Metadata-Token")
	if token == "" {
		request += " without token"
	}
	s.requests = append(s.requests, request)
	item, there := s.items[r.URL.Path]
	switch {
	case token != "" && !s.tokens[token]:
		w.WriteHeader(http.StatusUnauthorized)
	case status != 0:
		w.WriteHeader(status)
	case !there:
		w.WriteHeader(http.StatusNotFound)
	default:
		if s.packs && r.Header.Get("Accept-Encoding") == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		fmt.Fprint(w, item)
	}
}
