package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"bootagent/pkg/fault"
)

// handler answers requests of the API.
type handler struct{ commands Commands }

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	message, code, err := h.answer(r)
	var body any = Answer{message}
	if err != nil {
		body = asProblem(err)
	}
	if code == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // it fails only if the client has gone
}

// answer runs the command that a request asks for.
func (h handler) answer(r *http.Request) (message string, code int, err error) {
	name, err := commandOf(r.URL.Path)
	switch {
	case err != nil:
		return "", http.StatusNotFound, err
	case !slices.Contains(names, name):
		return "", http.StatusNotFound, fault.Permanent(fmt.Errorf("version %d of the control API has no command %q: it has %s", version, name, strings.Join(names, ", ")))
	case r.Method != http.MethodPost:
		return "", http.StatusMethodNotAllowed, fault.Permanent(fmt.Errorf("the method %s is not allowed for %s: use POST", r.Method, r.URL.Path))
	case name == "retry":
		message, err = h.commands.Retry(r.Context())
	case name == "bypass", name == "end-bypass":
		var want BypassRequest
		if code, err := decode(r.Body, name, `{"unit": "mariadb.service"}`, &want); err != nil {
			return "", code, err
		}
		if want.Unit == "" {
			return "", http.StatusBadRequest, notOf(name, `{"unit": "mariadb.service"}`, errors.New("it names no unit"))
		}
		if name == "end-bypass" {
			message, err = h.commands.EndBypass(r.Context(), want.Unit)
		} else {
			message, err = h.commands.Bypass(r.Context(), want)
		}
		return message, codeOf(err), err
	case name == "grow":
		var want GrowRequest
		if code, err := decode(r.Body, name, `{"volume": "data"}`, &want); err != nil {
			return "", code, err
		}
		message, err = h.commands.Grow(r.Context(), want)
	case name == "adopt":
		var want AdoptRequest
		if code, err := decode(r.Body, name, `{"volume": "data"}`, &want); err != nil {
			return "", code, err
		}
		message, err = h.commands.Adopt(r.Context(), want)
	default:
		body, code, err := readBody(r.Body, bodyMax(h.commands.KeysMax))
		defer clear(body)
		if err != nil {
			return "", code, err
		}
		var request unlockRequest
		// The error of json would quote the body.
		if json.Unmarshal(body, &request) != nil || len(request.Keys) == 0 {
			return "", http.StatusBadRequest, fault.Permanent(errors.New(`the body is not {"keys": "BASE64"}`))
		}
		defer clear(request.Keys)
		if len(request.Keys) > h.commands.KeysMax {
			return "", http.StatusRequestEntityTooLarge, tooLarge(h.commands.KeysMax)
		}
		message, err = h.commands.Unlock(r.Context(), request.Keys)
		return message, codeOf(err), err
	}
	return message, codeOf(err), err
}

// names are the commands of the API.
var names = []string{"retry", "unlock", "bypass", "end-bypass", "grow", "adopt"}

// requestMax is the most bytes of a body, but for that of unlock.
const requestMax = 4 << 10

// decode reads the body of a command, which is like an example. On an error, the code
// is the status to answer with.
func decode(body io.Reader, name, like string, into any) (code int, err error) {
	src, code, err := readBody(body, requestMax)
	if err != nil {
		return code, err
	}
	decoder := json.NewDecoder(bytes.NewReader(src))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return http.StatusBadRequest, notOf(name, like, err)
	}
	return 0, nil
}

func notOf(name, like string, why error) error {
	return fault.Permanent(fmt.Errorf("the body is not that of %s, such as %s: %w", name, like, why))
}

// codeOf returns the status for the error of a command: a client may repeat
// what was answered with 503.
func codeOf(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case fault.IsPermanent(err):
		return http.StatusUnprocessableEntity
	}
	return http.StatusServiceUnavailable
}

// commandOf returns the command in a path, if it is of this version.
func commandOf(path string) (name string, err error) {
	rest, found := strings.CutPrefix(path, "/v")
	number, name, slash := strings.Cut(rest, "/")
	asked, err := strconv.ParseUint(number, 10, 31)
	switch {
	case !found || !slash || err != nil:
		return "", fault.Permanent(fmt.Errorf("the control API has no path %q: it has /v%d/ followed by %s", path, version, strings.Join(names, ", ")))
	case asked > version:
		return "", fault.Refuse("restart the agent, which is older than this command: systemctl restart bootagent",
			"the agent speaks version %d of the control API, and the request is version %d", version, asked)
	case asked < version:
		return "", fault.Refuse("use the command of the same package as the agent: /usr/bin/bootagent",
			"the agent speaks version %d of the control API, and the request is version %d", version, asked)
	}
	return name, nil
}

// bodyMax returns the most bytes of a body that holds keys: base64, its JSON,
// and some white space.
func bodyMax(keysMax int) int { return keysMax/3*4 + 1<<10 }

func tooLarge(keysMax int) error {
	return fault.Permanent(fmt.Errorf("the keys have more than %d bytes", keysMax))
}

// readBody reads a body into one buffer, which the caller clears. On an error,
// the code is the status to answer with.
func readBody(r io.Reader, most int) (body []byte, code int, err error) {
	body = make([]byte, most+1)
	n, err := io.ReadFull(r, body)
	switch {
	case err == nil:
		return body, http.StatusRequestEntityTooLarge, fault.Permanent(fmt.Errorf("the body has more than %d bytes", most))
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return body, http.StatusBadRequest, errors.New("the body is incomplete")
	}
	return body[:n], http.StatusOK, nil
}
