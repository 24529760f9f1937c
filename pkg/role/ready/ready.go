// Package ready knows how a role file says what tells that a service serves. It
// asks no service.
package ready

import (
	"encoding/json"
	"time"

	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
)

// Ready names the unit that probes whether a service serves.
type Ready struct {
	Unit    string        `json:"unit"`    // a oneshot .service that succeeds when it does
	Timeout time.Duration `json:"timeout"` // how long that may take after the service is active
}

const defaultTimeout = 5 * time.Minute

var Kind = key.Kind{Type: key.Object, Keys: keys.Keys(), Example: "ready: {unit: mysql-ready.service}"}

var keys = key.Table[Units, reading]{
	{
		key.Key{Name: "unit", Says: "A oneshot service that succeeds when the service serves. It is run until it does.", Kind: key.Kind{Type: key.Text, Doc: "a service", Pattern: `\.service$`}},
		func(isUnit Units, r key.Reader, ready *reading) {
			if !isUnit(r.Value, ".service") {
				return
			}
			ready.Unit = r.String()
			if ready.Unit == ready.service {
				r.Failf("%s: the unit can't be the service itself; name one that succeeds when the service serves", r.What)
			}
		},
	},
	{
		key.Key{Name: "timeout", Says: "How long that may take, after the service is active.", Unset: "`5m`", Kind: key.DurationKind},
		key.Duration[Units](func(ready *reading) *time.Duration { return &ready.Timeout }),
	},
}

// Units checks the name of a unit of some types, and says what is wrong.
type Units func(v strictyaml.Value, types ...string) bool

// A reading is a Ready that is being read.
type reading struct {
	Ready
	service string
}

// Read reads what tells that a service serves.
func Read(r key.Reader, service string, isUnit Units) *Ready {
	ready := reading{Ready{Timeout: defaultTimeout}, service}
	keys.Decode(isUnit, r.Value, "ready of "+r.What, &ready)
	return &ready.Ready
}

// MarshalJSON writes the timeout as people do: "5m0s".
func (r Ready) MarshalJSON() ([]byte, error) {
	type plain Ready
	return json.Marshal(struct {
		plain
		Timeout string `json:"timeout"`
	}{plain(r), r.Timeout.String()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Ready) UnmarshalJSON(src []byte) (err error) {
	type plain Ready
	read := struct {
		*plain
		Timeout string `json:"timeout"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(src, &read); err != nil {
		return err
	}
	r.Timeout, err = time.ParseDuration(read.Timeout)
	return err
}
