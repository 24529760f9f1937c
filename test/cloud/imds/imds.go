// Package imds is the fake cloud's instance metadata service.
package imds

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"bootagent/test/cloud/iam"
	"bootagent/test/cloud/service"
)

// IMDS is the metadata service of one instance, version 2 only. It is an http.Handler. The actions of Fail
// are paths: "/latest/api/token", "/latest/user-data", "*".
type IMDS struct {
	service.Faults
	env      *service.Env
	iam      *iam.IAM
	id       string
	instance func() Instance

	mu          sync.Mutex
	tokens      map[string]time.Time // the times at which they expire
	credentials map[string]iam.Credentials
	from        time.Time // when the first credentials are available
}

// Paths for Fail.
const (
	TokenPath       = "/latest/api/token"
	UserDataPath    = "/latest/user-data"
	IdentityPath    = "/latest/dynamic/instance-identity/document"
	CredentialsPath = "/latest/meta-data/iam/security-credentials/*"
)

// New returns the metadata service of the instance with this ID. It calls instance for each request.
func New(env *service.Env, credentials *iam.IAM, id string, instance func() Instance) *IMDS {
	return &IMDS{
		env: env, iam: credentials, id: id, instance: instance,
		tokens: map[string]time.Time{}, credentials: map[string]iam.Credentials{},
	}
}

// Disable forbids everything, as HttpEndpoint=disabled does.
func (m *IMDS) Disable() { m.Fail("*", service.Fault{Status: http.StatusForbidden}, service.Always) }

// BlockTokens leaves requests for tokens unanswered, as a hop limit that is too low does.
func (m *IMDS) BlockTokens() { m.Fail(TokenPath, service.Silence, service.Always) }

// Throttle refuses the next calls, or all of them with [service.Always]. EC2's limits are not published; it
// answers 503.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
func (m *IMDS) Throttle(times int) {
	m.Fail("*", service.Fault{Status: http.StatusServiceUnavailable}, times)
}

// SetDelay delays every answer.
func (m *IMDS) SetDelay(d time.Duration) { m.Fail("*", service.Fault{Delay: d}, service.Always) }

// DelayCredentials makes the credentials of the instance's IAM role unavailable for a while, as after a
// launch. The IAM role itself can be seen in iam/info.
func (m *IMDS) DelayCredentials(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.from = time.Now().Add(d)
}

// The headers of IMDSv2.
const (
	TokenHeader = "X-Aws-Ec2-Metadata-Token"
	TTLHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

func (m *IMDS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := service.Call{
		Time: time.Now(), Service: "imds", Action: r.Method + " " + r.URL.Path, Principal: m.id,
	}
	fault := m.env.Begin(w, r, &m.Faults, r.URL.Path, call)
	call.Status = fault.Status
	body := ""
	if fault.Status == 0 {
		call.Status, body = m.answer(w.Header(), r)
	}
	w.Header().Set("Server", "EC2ws")
	if call.Status == http.StatusOK {
		if w.Header().Get("Content-Type") == "" {
			w.Header().Set("Content-Type", "text/plain")
		}
	} else {
		w.Header().Set("Content-Type", "text/html")
		call.Code = http.StatusText(call.Status)
		body = errorPage(call.Status)
	}
	m.env.Calls.Add(call)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(call.Status)
	_, _ = io.WriteString(fault.Writer(w), body) // a client may go at any time
}

func (m *IMDS) answer(header http.Header, r *http.Request) (status int, body string) {
	switch r.Method {
	case http.MethodPut:
		return m.token(header, r)
	case http.MethodGet, http.MethodHead:
	default:
		return http.StatusMethodNotAllowed, ""
	}
	token := r.Header.Get(TokenHeader)
	m.mu.Lock()
	expires, ok := m.tokens[token]
	m.mu.Unlock()
	if !ok || !time.Now().Before(expires) {
		return http.StatusUnauthorized, ""
	}
	header.Set(TTLHeader, strconv.Itoa(int(time.Until(expires).Seconds())))

	rest, ok := strings.CutPrefix(r.URL.Path, "/latest")
	if !ok && r.URL.Path == "/" {
		return http.StatusOK, "latest"
	}
	path := strings.Trim(rest, "/")
	tree := m.tree(m.instance())
	if content, ok := tree[path]; ok && !strings.HasSuffix(rest, "/") {
		if path == "user-data" {
			header.Set("Content-Type", "application/octet-stream")
		}
		if strings.HasPrefix(path, "meta-data/iam/security-credentials/") {
			return m.roleCredentials(content)
		}
		return http.StatusOK, content
	}
	if entries := entries(tree, path); ok && len(entries) > 0 {
		return http.StatusOK, strings.Join(entries, "\n")
	}
	return http.StatusNotFound, ""
}

// token issues the token of a session.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
func (m *IMDS) token(header http.Header, r *http.Request) (status int, body string) {
	if r.URL.Path != TokenPath || r.Header.Get("X-Forwarded-For") != "" {
		return http.StatusForbidden, ""
	}
	ttl, err := strconv.Atoi(r.Header.Get(TTLHeader))
	if err != nil || ttl < 1 || ttl > 21600 {
		return http.StatusBadRequest, ""
	}
	token := "AQAEA" + service.Random(25) + "=="
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[token] = time.Now().Add(time.Duration(ttl) * time.Second)
	header.Set(TTLHeader, strconv.Itoa(ttl))
	return http.StatusOK, token
}

// roleCredentials returns the credentials of an IAM role. They are renewed long before they expire.
func (m *IMDS) roleCredentials(name string) (status int, body string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.credentials[name]
	if !m.iam.Fresh(c) {
		c = m.iam.Credentials(name, m.id)
		m.credentials[name] = c
	}
	return http.StatusOK, toJSON(map[string]string{
		"Code": "Success", "LastUpdated": second(c.Issued), "Type": "AWS-HMAC",
		"AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey, "Token": c.SessionToken,
		"Expiration": second(c.Expires),
	})
}

// errorPage returns an error page as IMDS has it.
func errorPage(status int) string {
	title := fmt.Sprintf("%d - %s", status, http.StatusText(status))
	return `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>` + title + `</title>
 </head>
 <body>
  <h1>` + title + `</h1>
 </body>
</html>
`
}
