package storage

import (
	"context"
	"errors"
	"time"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/storage/ledger"
)

// An Adoption is what a person wants to have adopted.
type Adoption struct {
	Claim ledger.Claim
	Yes   string // how a ledger names the volume, which the person has typed; "" is only to be told
	By    string // the user who asks
}

// AdoptAs has a filesystem taken for this volume that its step "prepare" has refused,
// because a person says whose it is. It only says what it would do, until the person
// confirms that by naming the volume. The error says why nothing is done. Data is that
// of the plan on the volume.
func (v *Volume) AdoptAs(ctx context.Context, want Adoption, data []host.Data) (answer string, err error) {
	doubt := v.filesystem.doubt.Load()
	if doubt == nil {
		return "", fault.WithHint(errors.New("volume "+v.Name+" has nothing to adopt: no filesystem was read for it that is refused for its ledger"),
			"bootagent status says how the volume is")
	}
	order, err := doubt.Order(want.Claim, want.By)
	switch {
	case err != nil:
		return "", err
	case want.Yes == "":
		return v.adoptable(ctx, doubt, data)
	case want.Yes != doubt.Volume:
		return "", fault.Refuse(want.Claim.Command(v.Name)+" tells what is there, and which volume that is",
			"cannot adopt volume %s: it is %s, and not %s", v.Name, doubt.Volume, want.Yes)
	}
	v.filesystem.order.Store(order)
	v.log.Warn("a person orders to adopt a filesystem", "volume", v.Name, "serial", doubt.Serial, "by", want.By, "as", want.Claim.String())
	v.graph.Retry()
	return "volume " + v.Name + ": the filesystem on disk " + doubt.Serial + " is being adopted as " + want.Claim.String() +
		", and then goes on to be mounted; bootagent status tells how it goes", nil
}

// originWithin is how long EC2 may take to tell what a volume was made from. A person
// waits for it, and can do without.
const originWithin = 5 * time.Second

// adoptable says what is on the disk, what would be written, and how to have it done.
func (v *Volume) adoptable(ctx context.Context, doubt *ledger.Doubt, data []host.Data) (string, error) {
	disk, there, err := v.host.Disks.Find(ctx, doubt.Serial)
	if err == nil && (!there || disk.Seq != doubt.Seq) {
		err = errors.New("disk " + doubt.Serial + " is not as it was when it was read")
	}
	if err != nil {
		return "", err
	}
	seen, err := v.host.Filesystems.Look(ctx, disk, doubt.Filesystem, data)
	if err != nil {
		return "", err
	}
	from := ""
	if id, is := name.VolumeOfSerial(doubt.Serial); is && v.source.remote() {
		ctx, cancel := context.WithTimeout(ctx, originWithin)
		defer cancel()
		origin, err := v.host.Volumes.Origin(ctx, id)
		if from = origin.From; err != nil {
			from = "not known: " + err.Error()
		}
	}
	return doubt.Report(seen.Inside, data, from) + "Nothing was changed yet; to do it: " + doubt.Claim.Command(v.Name) + " --yes " + doubt.Volume, nil
}
