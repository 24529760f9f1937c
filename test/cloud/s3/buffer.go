package s3

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"net/http"
	"strings"

	"bootagent/test/cloud/service"
)

// A buffer keeps an answer, so that it can be examined before it is sent.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newBuffer() *buffer { return &buffer{header: http.Header{}, status: http.StatusOK} }

func (b *buffer) Header() http.Header         { return b.header }
func (b *buffer) WriteHeader(status int)      { b.status = status }
func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }

func (b *buffer) fail(r *http.Request, e refusal) {
	e.RequestID, e.HostID = strings.ToUpper(service.Random(8)), service.Random(28)
	b.status = e.status
	b.header.Set("Content-Type", "application/xml")
	b.header.Set("X-Amz-Request-Id", e.RequestID)
	b.header.Set("X-Amz-Id-2", e.HostID)
	if region := cmp.Or(e.header, e.Region); region != "" {
		b.header.Set("X-Amz-Bucket-Region", region)
	}
	if r.Method == http.MethodHead {
		return // it has no body, and so no code
	}
	b.body.WriteString(xml.Header)
	data, err := xml.Marshal(e)
	if err != nil {
		panic(err) // strings can't fail
	}
	b.body.Write(data)
}

// code returns the code of an error document; "" if the answer is not an error.
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
