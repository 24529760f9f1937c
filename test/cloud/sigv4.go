package cloud

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
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

// What is wrong with the way a request is signed. EC2 and S3 have different words for each.
type signatureError int

const (
	unsigned signatureError = iota + 1
	unknownKey
	wrongToken
	expiredToken
	wrongSignature
	skewed
	wrongScope
)

// skew is how far a request's date may be off.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, RequestExpired
const skew = 15 * time.Minute

// verify checks an AWS Signature Version 4 and says whose it is. It leaves the body to be read.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func (i *IAM) verify(r *http.Request, service string) (caller, signatureError) {
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return caller{}, unsigned
	}
	got := map[string]string{}
	for field := range strings.SplitSeq(fields, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		got[key] = value
	}
	key, scope, _ := strings.Cut(got["Credential"], "/")
	s, ok := i.session(key)
	if !ok {
		return caller{}, unknownKey
	}
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	switch {
	case err != nil:
		return s.caller, wrongSignature
	case time.Since(at).Abs() > skew:
		return s.caller, skewed
	case scope != fmt.Sprintf("%s/%s/%s/aws4_request", date[:8], i.cloud.config.Region, service):
		return s.caller, wrongScope
	case r.Header.Get("X-Amz-Security-Token") != s.SessionToken:
		return s.caller, wrongToken
	case !time.Now().Before(s.Expires):
		return s.caller, expiredToken
	}
	canonical, err := canonicalRequest(r, strings.Split(got["SignedHeaders"], ";"), service)
	if err != nil {
		return s.caller, wrongSignature
	}
	signing := []byte("AWS4" + s.SecretAccessKey)
	for part := range strings.SplitSeq(scope, "/") {
		signing = sign(signing, part)
	}
	want := sign(signing, fmt.Sprintf("AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, digest([]byte(canonical))))
	if signature, err := hex.DecodeString(got["Signature"]); err != nil || !hmac.Equal(signature, want) {
		return s.caller, wrongSignature
	}
	return s.caller, 0
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

// escape is url.QueryEscape with the space as RFC 3986 has it.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// random gives n random bytes in hexadecimal.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
