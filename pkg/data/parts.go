package data

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/storage"
)

// inParts says of each place in which data of the role it is. A place that is in
// none is refused: nothing would check what is there, or whose disk it is on.
func (d *Directory) inParts(places []host.Place) (in []host.Place, err error) {
	for _, place := range places {
		if within(place.Path, d.Bind) {
			continue // by a link, or by its whole path
		}
		at := slices.IndexFunc(d.parts, func(part *Directory) bool { return within(place.Path, part.Bind) })
		if at < 0 {
			return nil, fault.Permanent(fault.WithHint(
				fmt.Errorf("a part of data %q is outside of %s, where no data of the role is bound that the same services need: %s is %s", d.Name, d.Bind, place.Setting, place.Value),
				fmt.Sprintf("put that part on a volume, too: declare data with engine: none, owner: %s and a bind that %s is in, and have the same services need it; "+
					"or stop the engine, move the part into %s, and remove %s; then: bootagent retry", d.Owner, place.Path, d.Bind, place.Setting)))
		}
		place.In = d.parts[at].Bind
		in = append(in, place)
	}
	return in, nil
}

// within tells whether a clean path is a directory or in it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// noteParts makes sure that the parts of data that was there before are not lost,
// and returns on which filesystem each is.
func (d *Directory) noteParts(ctx context.Context, was storage.LedgerData, places []host.Place) (on map[string]string, err error) {
	for _, part := range d.parts {
		if !slices.ContainsFunc(places, func(p host.Place) bool { return p.In == part.Bind }) {
			continue
		}
		found, err := d.host.Directories.Examine(ctx, part.at(part.path()), part.set)
		if err != nil {
			return nil, err
		}
		filesystem := part.volume.Ledger().UUID
		if before := was.Parts[part.Name]; found.Empty && before != "" && before != filesystem {
			return nil, fault.Permanent(fault.WithHint(
				fmt.Errorf("%s is empty, but it holds a part of data %q, which was on the filesystem %s when that was last used; now it is on %s",
					part.path(), d.Name, before, filesystem),
				fmt.Sprintf("attach the volume that has that filesystem in place of this one, or copy the part to %s; then: bootagent retry", part.path())))
		}
		if noted := part.noted(); !found.Empty && !noted.Filled {
			noted.Filled = true
			if err := part.volume.RecordData(ctx, part.Name, noted); err != nil {
				return nil, err
			}
		}
		if on == nil {
			on = make(map[string]string)
		}
		on[part.Name] = filesystem
	}
	return on, nil
}
