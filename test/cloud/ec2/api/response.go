package api

import (
	"encoding/xml"
	"maps"
	"slices"
	"strings"
	"time"

	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/service"
)

// A response is an answer of EC2. Each begins with a Head.
type response interface{ stamp(action, request string) }

// A Head is exported because encoding/xml would not find its XMLName otherwise.
type Head struct {
	XMLName   xml.Name
	Xmlns     string `xml:"xmlns,attr"`
	RequestID string `xml:"requestId"`
}

func (h *Head) stamp(action, request string) {
	h.XMLName.Local = action + "Response"
	h.Xmlns = "http://ec2.amazonaws.com/doc/" + apiVersion + "/"
	h.RequestID = request
}

// A set is a list of EC2. It is in the answer even if it is empty.
type set[T any] struct {
	Items []T `xml:"item"`
}

type xmlTag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func tagSet(tags map[string]string) set[xmlTag] {
	var out set[xmlTag]
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out.Items = append(out.Items, xmlTag{key, tags[key]})
	}
	return out
}

type returned struct {
	Head
	Return bool `xml:"return"`
}

type errorResponse struct {
	XMLName   xml.Name `xml:"Response"`
	Code      string   `xml:"Errors>Error>Code"`
	Message   string   `xml:"Errors>Error>Message"`
	RequestID string   `xml:"RequestID"`
}

func newErrorResponse(e *ec2.Error, request string) errorResponse {
	return errorResponse{Code: e.Code, Message: e.Message, RequestID: request}
}

// stamp formats a time as EC2 does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func requestID() string {
	id := service.Random(16)
	return strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
}
