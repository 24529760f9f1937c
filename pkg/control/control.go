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
//	POST /v1/bypass {"unit": "...", "reason": "...", "by": "...", "without_proof": false}
//	                                    -> 200 {"message": "..."}
//	POST /v1/end-bypass {"unit": "..."} -> 200 {"message": "..."}
//	POST /v1/grow {"volume": "...", "dry_run": false}
//	                                    -> 200 {"message": "..."}
//	POST /v1/adopt {"volume": "...", "as_copy_of": "...", "from_role": "...", "lost_ledger": false, "yes": "...", "by": "..."}
//	                                    -> 200 {"message": "..."}
//
// Each error, also one about the path, the method or the version, is
//
//	{"message": "...", "hint": "...", "permanent": false, "code": "no-plan"}
//
// with a status of 400 or more. Hint says what a person can do, and permanent
// that the same request fails again until a person has corrected something. Code is
// there only for what a program may act on: "no-plan" says that the agent has no plan
// for the unit of a bypass.
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

	// Bypass starts a held service although not all that it needs is there, and
	// EndBypass ends that. Their error may be ErrNoPlan.
	Bypass    func(ctx context.Context, want BypassRequest) (message string, err error)
	EndBypass func(ctx context.Context, unit string) (message string, err error)

	// Grow makes the filesystem of a volume as large as its disk, or only says what it
	// would do.
	Grow func(ctx context.Context, want GrowRequest) (message string, err error)

	// Adopt has a filesystem taken for a volume that is refused for its ledger, or only
	// says what it would do.
	Adopt func(ctx context.Context, want AdoptRequest) (message string, err error)

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

// BypassRequest is the body of bypass, and of end-bypass, which has a unit only.
type BypassRequest struct {
	Unit         string `json:"unit"`
	Reason       string `json:"reason,omitempty"`
	By           string `json:"by,omitempty"` // the user who asks
	WithoutProof bool   `json:"without_proof,omitempty"`
}

// A GrowRequest is what a person wants to have grown.
type GrowRequest struct {
	Volume string `json:"volume"`            // its name in the role
	DryRun bool   `json:"dry_run,omitempty"` // only say what would be done
}

// An AdoptRequest is what a person says of the filesystem that is refused for a volume.
type AdoptRequest struct {
	Volume     string `json:"volume"`                // its name in the role
	AsCopyOf   string `json:"as_copy_of,omitempty"`  // the volume of which it is a copy
	FromRole   string `json:"from_role,omitempty"`   // the role whose volume it was
	LostLedger bool   `json:"lost_ledger,omitempty"` // its ledger is gone
	Yes        string `json:"yes,omitempty"`         // which volume it is; "": only say what would be done
	By         string `json:"by,omitempty"`          // the user who asks
}

// ErrNoPlan says that the agent has no plan for the unit of a bypass.
var ErrNoPlan = errors.New("the agent has no plan")

// codeNoPlan is ErrNoPlan in JSON.
const codeNoPlan = "no-plan"

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
	Code      string `json:"code,omitempty"`
}

func asProblem(err error) problem {
	p := problem{Message: err.Error(), Hint: fault.HintOf(err), Permanent: fault.IsPermanent(err)}
	if errors.Is(err, ErrNoPlan) {
		p.Code = codeNoPlan
	}
	return p
}

// err returns the error that the problem was made of, as far as JSON holds it:
// with its message, its hint, and whether it is permanent.
func (p problem) err() error {
	err := errors.New(p.Message)
	if p.Code == codeNoPlan {
		err = &noPlanError{p.Message}
	}
	if p.Hint != "" {
		err = fault.WithHint(err, p.Hint)
	}
	if p.Permanent {
		err = fault.Permanent(err)
	}
	return err
}

// A noPlanError is ErrNoPlan with the words of the agent.
type noPlanError struct{ message string }

func (e *noPlanError) Error() string { return e.message }
func (e *noPlanError) Unwrap() error { return ErrNoPlan }
