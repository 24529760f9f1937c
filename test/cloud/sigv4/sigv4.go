// Package sigv4 verifies requests that are signed with AWS Signature Version 4.
package sigv4

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Problem is what is wrong with the signature of a request; 0 if nothing is. EC2 and S3 have different
// words for each.
type Problem int

// The problems of a signature.
const (
	Unsigned Problem = iota + 1
	UnknownKey
	WrongToken
	ExpiredToken
	WrongSignature
	Skewed // the clocks of the client and of AWS differ too much
	WrongScope
)

// skew is how much the date of a request may differ from the current time.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, RequestExpired
const skew = 15 * time.Minute

// A Key is the secret part of temporary credentials.
type Key struct {
	Secret, SessionToken string
	Expires              time.Time
}

// Verify checks the signature of a request to a service in a region, and returns the ID of the access key
// that signed it; find looks up the key of an ID. The ID is also returned with a problem, except Unsigned
// and UnknownKey. The caller can still read the body.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func Verify(r *http.Request, region, service string, find func(id string) (Key, bool)) (id string, problem Problem) {
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "", Unsigned
	}
	got := map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		got[key] = value
	}
	id, scope, _ := strings.Cut(got["Credential"], "/")
	key, ok := find(id)
	if !ok {
		return "", UnknownKey
	}
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	switch {
	case err != nil:
		return id, WrongSignature
	case time.Since(at).Abs() > skew:
		return id, Skewed
	case scope != fmt.Sprintf("%s/%s/%s/aws4_request", date[:8], region, service):
		return id, WrongScope
	case r.Header.Get("X-Amz-Security-Token") != key.SessionToken:
		return id, WrongToken
	case !time.Now().Before(key.Expires):
		return id, ExpiredToken
	}
	canonical, err := canonicalRequest(r, strings.Split(got["SignedHeaders"], ";"), service)
	if err != nil {
		return id, WrongSignature
	}
	signing := []byte("AWS4" + key.Secret)
	for part := range strings.SplitSeq(scope, "/") {
		signing = sign(signing, part)
	}
	want := sign(signing, fmt.Sprintf("AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, digest([]byte(canonical))))
	if signature, err := hex.DecodeString(got["Signature"]); err != nil || !hmac.Equal(signature, want) {
		return id, WrongSignature
	}
	return id, 0
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func canonicalRequest(r *http.Request, signed []string, service string) (string, error) {
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if service != "s3" {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return "", err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		payload = digest(body)
	}
	var query []string
	for key, values := range r.URL.Query() {
		for _, value := range values {
			query = append(query, escape(key)+"="+escape(value))
		}
	}
	slices.Sort(query)

	var headers strings.Builder
	for _, name := range signed {
		var value string
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		default:
			value = strings.Join(r.Header.Values(name), ",")
		}
		fmt.Fprintf(&headers, "%s:%s\n", name, strings.Join(strings.Fields(value), " "))
	}
	if !slices.Contains(signed, "host") || !slices.Contains(signed, "x-amz-date") {
		return "", fmt.Errorf("the host or the date is not signed")
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	return strings.Join([]string{
		r.Method, path, strings.Join(query, "&"), headers.String(), strings.Join(signed, ";"), payload,
	}, "\n"), nil
}

// escape is url.QueryEscape, except that a space is %20, as in RFC 3986.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
