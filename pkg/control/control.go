// Package control is the control API of the running agent: what a person can
// ask it to do, and the client with which the command line asks.
//
// The agent listens on a Unix socket, /run/bootagent/control.sock, and answers
// root only: the socket has mode 0600, and the server also checks the peer's
// credentials (SO_PEERCRED, unix(7)). The protocol is HTTP with JSON bodies.
// Its version is in the path:
//
//	POST /v1/retry                      -> 200 {"message": "..."}
//	POST /v1/unlock {"keys": "BASE64"}  -> 200 {"message": "..."}
//
// Each error, also one about the path, the method or the version, is
//
//	{"message": "...", "hint": "...", "permanent": false}
//
// with a status of 400 or more. Hint says what a person can do, and permanent
// that the same request fails again until a person has corrected something.
//
// The body of unlock is a secret. Server and client bound it, clear it after
// use, and never log or quote it.
package control

import (
	"context"
	"encoding/base64"
	"errors"

	"bootagent/pkg/fault"
)

// version is the version of the API that server and client speak.
const version = 1

// Commands are the functions of the agent that the server calls. Each returns a
// message for the person who asked.
type Commands struct {
	// Retry lets the agent read everything again, and try failed steps again.
	Retry func(ctx context.Context) (message string, err error)

	// Unlock gives the agent private keys, as age-keygen writes them. The
	// server clears keys when Unlock returns.
	Unlock func(ctx context.Context, keys []byte) (message string, err error)

	KeysMax int // the most bytes of keys that Unlock accepts
}

// Answer is the answer to a command that succeeded.
type Answer struct {
	Message string `json:"message"` // for the person who asked
}

// unlockRequest is the body of unlock. In JSON, Keys are base64.
type unlockRequest struct {
	Keys []byte `json:"keys"`
}

// encode returns the request as JSON, in the one buffer that the caller clears:
// encoding/json would keep a copy of it.
func (r unlockRequest) encode() []byte {
	const before, after = `{"keys":"`, `"}`
	body := make([]byte, 0, len(before)+base64.StdEncoding.EncodedLen(len(r.Keys))+len(after))
	body = append(body, before...)
	body = base64.StdEncoding.AppendEncode(body, r.Keys)
	return append(body, after...)
}

// problem is an error as JSON.
type problem struct {
	Message   string `json:"message"`
	Hint      string `json:"hint,omitempty"`
	Permanent bool   `json:"permanent"`
}

func asProblem(err error) problem {
	return problem{Message: err.Error(), Hint: fault.HintOf(err), Permanent: fault.IsPermanent(err)}
}

// err returns the error that the problem was made of, as far as JSON holds it:
// with its message, its hint, and whether it is permanent.
func (p problem) err() error {
	err := errors.New(p.Message)
	if p.Hint != "" {
		err = fault.WithHint(err, p.Hint)
	}
	if p.Permanent {
		err = fault.Permanent(err)
	}
	return err
}
