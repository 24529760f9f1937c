package role

import (
	"encoding/json"
	"time"

	"bootagent/pkg/role/key"
)

// Ready names the unit that probes whether a service serves.
type Ready struct {
	Unit    string        `json:"unit"`    // a oneshot .service that succeeds when it does
	Timeout time.Duration `json:"timeout"` // how long that may take after the service is active
}

const defaultReadyTimeout = 5 * time.Minute

var readyKind = key.Kind{Type: key.Object, Keys: readyKeys.Keys(), Example: "ready: {unit: mysql-ready.service}"}

var readyKeys = key.Table[*reading, readying]{
	{
		key.Key{Name: "unit", Says: "A oneshot service that succeeds when the service serves. It is run until it does.", Kind: serviceKind},
		func(d *reading, r key.Reader, ready *readying) {
			if !d.unit(r.Value, ".service") {
				return
			}
			ready.Unit = r.String()
			if ready.Unit == ready.service {
				r.Failf("%s: the unit can't be the service itself; name one that succeeds when the service serves", r.What)
			}
		},
	},
	{
		key.Key{Name: "timeout", Says: "How long that may take, after the service is active.", Unset: "`5m`", Kind: durationKind},
		key.Duration[*reading](longest, func(ready *readying) *time.Duration { return &ready.Timeout }),
	},
}

// A readying is a Ready that is being read.
type readying struct {
	Ready
	service string
}

// ready reads what tells that a service serves.
func (d *reading) ready(r key.Reader, service string) *Ready {
	ready := readying{Ready{Timeout: defaultReadyTimeout}, service}
	readyKeys.Decode(d, r.Value, "ready of "+r.What, &ready)
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
