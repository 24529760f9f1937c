package sim

import (
	"context"
	"errors"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

// metadata is the instance metadata service, with its last answer kept.
type metadata struct{ *agent }

func (d metadata) Ask(ctx context.Context) (facts host.Identity, err error) {
	m := d.machine
	err = d.call(ctx, "asks", "IMDS who it is", effect{
		fails: []error{
			&fault.Pending{For: "an answer: no route to the metadata service", Hint: "look at the network"},
			&fault.Pending{For: "an answer: the metadata service says 503", Hint: ""},
			&fault.Pending{For: "an answer: the metadata service says 403", Hint: "turn it on"},
		},
		bound: 5 * time.Second,
		do: func() error {
			facts = host.Identity{
				Instance: host.Instance{ID: m.id, Zone: zone, Region: region, Type: "t3.micro", PrivateIPv4: "10.0.0.17"}, UserData: []byte(m.userData),
			}
			return nil
		},
	})
	if ctx.Err() != nil {
		err = imdsSilent
	}
	return facts, err
}

// imdsSilent is what the client says of a service that takes connections and
// no more, as one does to which the way back is closed.
var imdsSilent = &fault.Pending{
	For: "an answer: cannot get the identity of this instance from the instance metadata service at http://169.254.169.254: " +
		"it takes connections, but never answers the request for a token (PUT /latest/api/token): context deadline exceeded; " +
		"the hop limit of its answers is too low, or a firewall drops them",
	Hint: "raise the limit",
}

func (d metadata) Cache(f host.Identity) {
	// That it could not be kept is no error: only a later boot is the poorer for it.
	_ = d.call(context.Background(), "keeps", "what it was told", effect{do: func() error {
		d.machine.facts.write(&f)
		return nil
	}})
}

func (d metadata) Cached() (facts host.Identity, since time.Time, err error) {
	m := d.machine
	err = d.call(context.Background(), "asks", "what it was told before", effect{do: func() error {
		if m.facts.now == nil {
			return errors.New("nothing is kept")
		}
		facts, since = *m.facts.now, m.facts.at
		return nil
	}})
	return facts, since, err
}
