package userdata

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"strings"
)

// mediaType is that of the part that is ours. cloud-init passes over parts of
// a type it does not know.
const mediaType = "application/vnd.bootagent+yaml"

// maxNested bounds how deep one MIME message may be in another; cloud-init's
// tools make one level.
const maxNested = 4

// A part is a part of a MIME message.
type part struct {
	name string // what errors call it
	text []byte
}

// What can be wrong with a MIME message. The errors of the standard library
// quote the line at fault, which may hold a secret, so they are not passed on.
var (
	errHeader   = errors.New("its header can't be read")
	errType     = errors.New("the content type of a part can't be read")
	errBoundary = errors.New("its parts can't be told apart: a boundary is missing, or the end is")
	errDeep     = errors.New("its parts hold parts that hold parts, too deep to follow")
	errTransfer = errors.New("our part is not in the transfer encoding that it names")
)

// findPart gives our part of a MIME message, or nil where text is no message
// or has no such part.
func findPart(text []byte) (*part, error) {
	var p parts
	err := p.read(text)
	switch {
	case err != nil && p.misnamed != nil:
		return nil, p.misnamed
	case err != nil && isMessage.Match(text) && mentionsType(text):
		return nil, broken("user-data", 1, "a MIME message with a part of the type %s, but broken: %v", mediaType, err)
	case err != nil:
		return nil, nil
	case p.misnamed != nil:
		return nil, p.misnamed
	case len(p.ours) == 0:
		return nil, nil
	case len(p.ours) > 1:
		return nil, broken(p.ours[1].name, 1, "a second part of the type %s, after %s; there may be one only", mediaType, p.ours[0].name)
	}
	unpacked, err := unpack(p.ours[0].name, p.ours[0].text)
	if err != nil {
		return nil, err
	}
	return &part{p.ours[0].name, unpacked}, nil
}

// isMessage matches what begins as the header of a message does.
var isMessage = regexp.MustCompile(`^\s*[A-Za-z-]+:`)

func mentionsType(text []byte) bool {
	return bytes.Contains(bytes.ToLower(text), []byte(mediaType))
}

// parts gathers what is ours of a MIME message.
type parts struct {
	count    int // all parts so far, without those that hold others
	ours     []part
	misnamed error // a part of ours that has another type
}

func (p *parts) read(text []byte) error {
	message, err := mail.ReadMessage(bytes.NewReader(bytes.TrimLeft(text, "\r\n")))
	if err != nil {
		return errHeader
	}
	return p.collect(message.Header, message.Body, 0)
}

// A header is that of a message or of a part of one.
type header interface{ Get(key string) string }

func (p *parts) collect(h header, body io.Reader, depth int) error {
	given := h.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(given)
	if err != nil && given != "" {
		return errType
	}
	if !strings.HasPrefix(kind, "multipart/") {
		return p.leaf(kind, h, body)
	}
	if depth == maxNested {
		return errDeep
	}
	reader := multipart.NewReader(body, params["boundary"])
	for {
		next, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errBoundary
		}
		if err := p.collect(next.Header, next, depth+1); err != nil {
			return err
		}
	}
}

func (p *parts) leaf(kind string, h header, body io.Reader) error {
	p.count++
	name := fmt.Sprintf("user-data, MIME part %d", p.count)
	encoded, err := io.ReadAll(body)
	if err != nil {
		return errBoundary
	}
	text, err := decodeTransfer(h.Get("Content-Transfer-Encoding"), encoded)
	switch {
	case kind == mediaType && err != nil:
		return errTransfer
	case kind == mediaType:
		p.ours = append(p.ours, part{name, text})
	case p.misnamed == nil && (strings.Contains(kind, "bootagent") || firstLine(text) == mark):
		p.misnamed = broken(name, 1, "seems to be meant for bootagent, but its content type is not %s", mediaType)
	}
	return nil
}

// decodeTransfer undoes a transfer encoding (RFC 2045, section 6).
func decodeTransfer(encoding string, encoded []byte) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return encoded, nil
	case "base64":
		return io.ReadAll(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(encoded)))
	case "quoted-printable":
		return io.ReadAll(quotedprintable.NewReader(bytes.NewReader(encoded)))
	}
	return nil, errTransfer
}
