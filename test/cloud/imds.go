package cloud

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// IMDS is the metadata service of one instance, version 2 only, as an http.Handler. Actions of Fail
// are paths: "/latest/api/token", "/latest/user-data", "*".
type IMDS struct {
	faults
	cloud    *Cloud
	instance *Instance

	mu          sync.Mutex
	tokens      map[string]time.Time // and when each expires
	credentials map[string]Credentials
	from        time.Time // credentials are there from then on
}

// The paths that tests want to have fail.
const (
	TokenPath       = "/latest/api/token"
	UserDataPath    = "/latest/user-data"
	IdentityPath    = "/latest/dynamic/instance-identity/document"
	CredentialsPath = "/latest/meta-data/iam/security-credentials/*"
)

func newIMDS(c *Cloud, i *Instance) *IMDS {
	return &IMDS{cloud: c, instance: i, tokens: map[string]time.Time{}, credentials: map[string]Credentials{}}
}

// Disable has everything be forbidden, as with HttpEndpoint=disabled.
func (m *IMDS) Disable() { m.Fail("*", Fault{Status: http.StatusForbidden}, Always) }

// BlockTokens has no token ever arrive, as where the hop limit is too low.
func (m *IMDS) BlockTokens() { m.Fail(TokenPath, Silence, Always) }

// Throttle refuses so many calls, or all of them with [Always]. EC2's limits are not published; it
// answers 503.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
func (m *IMDS) Throttle(times int) { m.Fail("*", Fault{Status: http.StatusServiceUnavailable}, times) }

// SetDelay has every answer come later.
func (m *IMDS) SetDelay(d time.Duration) { m.Fail("*", Fault{Delay: d}, Always) }

// DelayCredentials has the role's credentials not be there for a while, as after a launch. The role
// itself can be seen in iam/info.
func (m *IMDS) DelayCredentials(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.from = time.Now().Add(d)
}

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
)

func (m *IMDS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := Call{
		Time: time.Now(), Service: "imds", Action: r.Method + " " + r.URL.Path, Principal: m.instance.ID,
	}
	fault := m.next(r.URL.Path)
	if !sleep(r.Context(), fault.Delay) || fault.Hang {
		call.Code = Unanswered
		m.cloud.Calls.add(call)
		m.cloud.hang(w, r)
	}
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
	m.cloud.Calls.add(call)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(call.Status)
	if fault.Cut > 0 {
		w = &cutter{w, fault.Cut}
	}
	_, _ = io.WriteString(w, body) // a client may go whenever it wants
}

func (m *IMDS) answer(header http.Header, r *http.Request) (status int, body string) {
	switch r.Method {
	case http.MethodPut:
		return m.token(header, r)
	case http.MethodGet, http.MethodHead:
	default:
		return http.StatusMethodNotAllowed, ""
	}
	token := r.Header.Get(tokenHeader)
	m.mu.Lock()
	expires, ok := m.tokens[token]
	m.mu.Unlock()
	if !ok || !time.Now().Before(expires) {
		return http.StatusUnauthorized, ""
	}
	header.Set(ttlHeader, strconv.Itoa(int(time.Until(expires).Seconds())))

	rest, ok := strings.CutPrefix(r.URL.Path, "/latest")
	if !ok && r.URL.Path == "/" {
		return http.StatusOK, "latest"
	}
	path := strings.Trim(rest, "/")
	tree := m.tree()
	if content, ok := tree[path]; ok && !strings.HasSuffix(rest, "/") {
		if path == "user-data" {
			header.Set("Content-Type", "application/octet-stream")
		}
		if strings.HasPrefix(path, "meta-data/iam/security-credentials/") {
			return m.role(content)
		}
		return http.StatusOK, content
	}
	if entries := entries(tree, path); ok && len(entries) > 0 {
		return http.StatusOK, strings.Join(entries, "\n")
	}
	return http.StatusNotFound, ""
}

// token hands out a session's token.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
func (m *IMDS) token(header http.Header, r *http.Request) (status int, body string) {
	if r.URL.Path != TokenPath || r.Header.Get("X-Forwarded-For") != "" {
		return http.StatusForbidden, ""
	}
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > 21600 {
		return http.StatusBadRequest, ""
	}
	token := "AQAEA" + random(25) + "=="
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[token] = time.Now().Add(time.Duration(ttl) * time.Second)
	header.Set(ttlHeader, strconv.Itoa(ttl))
	return http.StatusOK, token
}

// tree gives all there is, by its path below /latest/.
func (m *IMDS) tree() map[string]string {
	s := m.instance.now()
	region := m.cloud.config.Region
	host := "ip-" + strings.ReplaceAll(s.address, ".", "-") + "." + region + ".compute.internal"
	tree := map[string]string{
		"dynamic/instance-identity/document":       m.document(s),
		"meta-data/ami-id":                         imageID,
		"meta-data/block-device-mapping/ami":       strings.TrimPrefix(rootDevice, "/dev/"),
		"meta-data/block-device-mapping/root":      rootDevice,
		"meta-data/events/maintenance/scheduled":   "[]",
		"meta-data/hostname":                       host,
		"meta-data/instance-id":                    s.id,
		"meta-data/instance-life-cycle":            "on-demand",
		"meta-data/instance-type":                  s.kind,
		"meta-data/local-hostname":                 host,
		"meta-data/local-ipv4":                     s.address,
		"meta-data/placement/availability-zone":    s.zone,
		"meta-data/placement/availability-zone-id": zoneID(region, s.zone),
		"meta-data/placement/region":               region,
		"meta-data/reservation-id":                 "r-" + strings.TrimPrefix(s.id, "i-"),
		"meta-data/services/domain":                "amazonaws.com",
		"meta-data/services/partition":             "aws",
	}
	for n, device := range s.atStart {
		tree[fmt.Sprintf("meta-data/block-device-mapping/ebs%d", n+1)] = strings.TrimPrefix(device, "/dev/")
	}
	if s.userData != nil {
		tree["user-data"] = string(s.userData)
	}
	if s.tagsInIMDS {
		for key, value := range s.tags {
			tree["meta-data/tags/instance/"+key] = value
		}
	}
	if s.role != "" {
		tree["meta-data/iam/info"] = toJSON(map[string]string{
			"Code": "Success", "LastUpdated": second(s.launched),
			"InstanceProfileArn": m.cloud.EC2.profile(s.role), "InstanceProfileId": profileID,
		})
		m.mu.Lock()
		if !time.Now().Before(m.from) {
			tree["meta-data/iam/security-credentials/"+s.role] = s.role
		}
		m.mu.Unlock()
	}
	return tree
}

// zoneID gives euc1-az2 for the zone b of eu-central-1. In AWS, which zone has which id depends on
// the account.
func zoneID(region, zone string) string {
	short := ""
	for n, part := range strings.Split(region, "-") {
		if n == 1 {
			part = part[:1]
		}
		short += part
	}
	return fmt.Sprintf("%s-az%d", short, zone[len(zone)-1]-'a'+1)
}

// entries lists a directory of the tree; those that are directories themselves end in a slash.
func entries(tree map[string]string, dir string) []string {
	in := map[string]bool{}
	for path := range tree {
		if dir != "" {
			var ok bool
			if path, ok = strings.CutPrefix(path, dir+"/"); !ok {
				continue
			}
		}
		name, _, deeper := strings.Cut(path, "/")
		if deeper {
			name += "/"
		}
		in[name] = true
	}
	return slices.Sorted(maps.Keys(in))
}

// document is the identity document.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
func (m *IMDS) document(s instanceState) string {
	return toJSON(map[string]any{
		"accountId": m.cloud.config.Account, "architecture": "x86_64", "availabilityZone": s.zone,
		"billingProducts": nil, "devpayProductCodes": nil, "marketplaceProductCodes": nil,
		"imageId": imageID, "instanceId": s.id, "instanceType": s.kind, "kernelId": nil,
		"pendingTime": second(s.launched), "privateIp": s.address, "ramdiskId": nil,
		"region": m.cloud.config.Region, "version": "2017-09-30",
	})
}

// role gives the role's credentials. EC2 has new ones long before the old ones expire.
func (m *IMDS) role(name string) (status int, body string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.credentials[name]
	if !m.cloud.IAM.fresh(c) {
		c = m.cloud.IAM.Credentials(name, m.instance.ID)
		m.credentials[name] = c
	}
	return http.StatusOK, toJSON(map[string]string{
		"Code": "Success", "LastUpdated": second(c.Issued), "Type": "AWS-HMAC",
		"AccessKeyId": c.AccessKeyID, "SecretAccessKey": c.SecretAccessKey, "Token": c.SessionToken,
		"Expiration": second(c.Expires),
	})
}

func toJSON(v any) string {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // maps of strings can't fail
	}
	return string(data)
}

func second(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// errorPage is a page for people, as IMDS has it.
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
