// Package ready knows how a role file says what tells that a service serves. It
// asks no service.
package ready

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
)

// Ready is the probe of a service: one of Unit, TCP, Unix, HTTP and Command.
type Ready struct {
	Unit    string   `json:"unit,omitempty"`    // a oneshot .service that succeeds when the service serves
	TCP     string   `json:"tcp,omitempty"`     // HOST:PORT of this machine that accepts a connection
	Unix    string   `json:"unix,omitempty"`    // path of a stream socket that accepts a connection
	HTTP    string   `json:"http,omitempty"`    // URL of this machine that answers with a status of 200 to 299
	Command []string `json:"command,omitempty"` // a program and its arguments; it exits with 0
	User    string   `json:"user,omitempty"`    // that Command runs as; "" is the user of the service

	Interval   time.Duration `json:"interval"`              // the rest between two tries
	TryTimeout time.Duration `json:"try-timeout,omitempty"` // of one try; 0 for a Unit, which has a limit of its own
	Timeout    time.Duration `json:"timeout"`               // how long it may take after the service is active
}

// Defaults of the durations.
const (
	Interval   = 2 * time.Second
	TryTimeout = 10 * time.Second
	Timeout    = 5 * time.Minute
)

// Kind is what the key "ready" of a service may be.
var Kind = key.Kind{
	Type: key.Object, Keys: keys.Keys(), OneOf: []string{"unit", "tcp", "unix", "http", "command"},
	Example: "ready: {unit: mysql-ready.service}",
}

const otherWay = "another of `unit`, `tcp`, `unix`, `http` and `command`"

var keys = key.Table[Units, reading]{
	{
		key.Key{
			Name: "unit", Says: "A oneshot service that succeeds when the service serves. It is run until it does.", Unset: otherWay,
			Kind: key.Kind{Type: key.Text, Doc: "a service", Pattern: `\.service$`},
		},
		func(isUnit Units, r key.Reader, into *reading) {
			if !into.first(r) || !isUnit(r.Value, ".service") {
				return
			}
			into.Unit = r.String()
			if into.Unit == into.service {
				r.Failf("%s: the unit can't be the service itself; name one that succeeds when the service serves", r.What)
			}
		},
	},
	{
		key.Key{
			Name: "tcp", Says: "An address of this machine. The service serves when it accepts a connection.", Unset: otherWay,
			Kind: key.Kind{Type: key.Text, Doc: "`HOST:PORT`, where HOST is `localhost` or a loopback address", Pattern: `:[0-9]+$`, Example: "tcp: 127.0.0.1:3306"},
		},
		func(_ Units, r key.Reader, into *reading) { into.TCP = into.text(r, checkTCP) },
	},
	{
		key.Key{
			Name: "unix", Says: "The path of a stream socket. The service serves when it accepts a connection.", Unset: otherWay,
			Kind: key.Kind{Type: key.Text, Doc: "an absolute path", Pattern: `^/`, Example: "unix: /run/mysqld/mysqld.sock"},
		},
		func(_ Units, r key.Reader, into *reading) { into.Unix = into.text(r, checkUnix) },
	},
	{
		key.Key{
			Name: "http", Says: "A URL of this machine. The service serves when a GET request gets a status of 200 to 299. No redirect is followed.", Unset: otherWay,
			Kind: key.Kind{Type: key.Text, Doc: "`http://HOST[:PORT]/PATH`, where HOST is `localhost` or a loopback address", Pattern: `^http://`, Example: "http: http://127.0.0.1:8080/health"},
		},
		func(_ Units, r key.Reader, into *reading) { into.HTTP = into.text(r, checkHTTP) },
	},
	{
		key.Key{
			Name: "command", Says: "A program and its arguments. The service serves when the program exits with 0. No shell is involved.", Unset: otherWay,
			Kind: key.Kind{Type: key.List, Doc: "a list: the absolute path of a program, and arguments", Entry: &key.Kind{Type: key.Text}, Least: 1, Repeats: true, Example: "command: [/usr/bin/pg_isready, --quiet]"},
		},
		func(_ Units, r key.Reader, into *reading) { into.Command = into.command(r) },
	},
	{
		key.Key{
			Name: "user", Says: "The user that the command runs as.", Unset: "the `User=` of the service", With: "command",
			Kind: key.Kind{Type: key.Text, Doc: "the name of a user", Example: "user: postgres"},
		},
		func(_ Units, r key.Reader, into *reading) { into.User = into.user(r) },
	},
	{
		key.Key{Name: "interval", Says: "The rest between two tries.", Unset: "`2s`", Kind: key.DurationKind},
		key.Duration[Units](func(into *reading) *time.Duration { return &into.Interval }),
	},
	{
		key.Key{
			Name: "try-timeout", Says: "How long one try may take. A unit has its own limit, `TimeoutStartSec=`.",
			Unset: "`10s`", Kind: key.DurationKind,
		},
		func(isUnit Units, r key.Reader, into *reading) {
			if into.way == "unit" {
				r.Failf("%s: try-timeout and unit can't stand together; set TimeoutStartSec= in the unit", r.What)
				return
			}
			key.Duration[Units](func(into *reading) *time.Duration { return &into.TryTimeout })(isUnit, r, into)
		},
	},
	{
		key.Key{Name: "timeout", Says: "How long it may take until the service serves, after it is active.", Unset: "`5m`", Kind: key.DurationKind},
		key.Duration[Units](func(into *reading) *time.Duration { return &into.Timeout }),
	},
}

// Units checks the name of a unit of some types, and says what is wrong.
type Units func(v strictyaml.Value, types ...string) bool

// A reading is a Ready that is being read.
type reading struct {
	Ready
	service string
	way     string // the first of the ways that stands there
}

// first notes a way to probe, and refuses a second one.
func (into *reading) first(r key.Reader) bool {
	if into.way != "" {
		r.Failf("%s: %s and %s can't stand together; a service is probed in one way", r.What, into.way, r.Key.Name)
		return false
	}
	into.way = r.Key.Name
	return true
}

// Read reads what tells that a service serves.
func Read(r key.Reader, service string, isUnit Units) *Ready {
	into := reading{Ready: Ready{Interval: Interval, TryTimeout: TryTimeout, Timeout: Timeout}, service: service}
	what := "ready of " + r.What
	keys.Decode(isUnit, r.Value, what, &into)
	switch {
	case into.way == "":
		r.Failf("%s does not say how to probe the service; write one of unit, tcp, unix, http and command, or leave ready out", what)
	case into.way == "unit":
		into.TryTimeout = 0
	}
	return &into.Ready
}

// String names the probe, as in "as String tells".
func (r Ready) String() string {
	switch {
	case r.TCP != "":
		return "tcp " + r.TCP
	case r.Unix != "":
		return "unix " + r.Unix
	case r.HTTP != "":
		return r.HTTP
	case len(r.Command) > 0:
		return strings.Join(r.Command, " ")
	}
	return r.Unit
}

// MarshalJSON writes durations as people do: "5m0s".
func (r Ready) MarshalJSON() ([]byte, error) {
	type plain Ready
	text := struct {
		plain
		Interval   string `json:"interval"`
		TryTimeout string `json:"try-timeout,omitempty"`
		Timeout    string `json:"timeout"`
	}{plain: plain(r), Interval: r.Interval.String(), Timeout: r.Timeout.String()}
	if r.TryTimeout != 0 {
		text.TryTimeout = r.TryTimeout.String()
	}
	return json.Marshal(text)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Ready) UnmarshalJSON(src []byte) (err error) {
	type plain Ready
	text := struct {
		*plain
		Interval   string `json:"interval"`
		TryTimeout string `json:"try-timeout"`
		Timeout    string `json:"timeout"`
	}{plain: (*plain)(r), TryTimeout: "0s"}
	if err := json.Unmarshal(src, &text); err != nil {
		return err
	}
	var errs [3]error
	r.Interval, errs[0] = time.ParseDuration(text.Interval)
	r.TryTimeout, errs[1] = time.ParseDuration(text.TryTimeout)
	r.Timeout, errs[2] = time.ParseDuration(text.Timeout)
	return errors.Join(errs[:]...)
}
