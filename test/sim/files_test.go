package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bootagent/pkg/aws/name"
	way "bootagent/pkg/files"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
)

// The file of the hasty role: it has of all that can be put in.
const (
	serverIDFile = "server-id.cnf"
	serverIDTag  = "server-id"
	firstID      = "7"
	filesOfRole  = `files:
  server-id.cnf:
    content: |
      server_id=${volume.data.tag.server-id} on ${volume.data.id} and ${instance.id}
      password=${secret.root-sql}
    owner: mysql
    services: [mariadb.service]
`
)

// configFiles are the files of the role, on ramfs.
type configFiles struct{ *agent }

func (f configFiles) Write(ctx context.Context, is host.File) (changed bool, err error) {
	m := f.machine
	err = f.call(ctx, "write", "file "+is.Name, effect{do: func() error {
		content, err := way.Fill(is, func(_, credential string) ([]byte, error) {
			if m.versions[credential] == "" {
				return nil, errors.New("it is not staged")
			}
			return []byte(m.staged[credential]), nil
		})
		if err != nil {
			return err
		}
		m.world.checkFile(m, is, string(content))
		if changed = m.files[is.Name] != string(content); changed {
			m.files[is.Name] = string(content)
			m.world.count(m.id, "file")
		}
		return nil
	}})
	return changed, err
}

func (f configFiles) Written(name string) (there bool, err error) {
	err = f.call(context.Background(), "asks", "whether file "+name+" is there", effect{do: func() error {
		_, there = f.machine.files[name]
		return nil
	}})
	return there, err
}

// checkFile is asked when a file is written. Where it is written is ramfs; a secret
// may be nowhere else, and is for nobody else.
func (w *World) checkFile(m *machine, is host.File, content string) {
	for _, piece := range is.Content {
		if strings.Contains(piece.Text, plaintext) {
			w.breaks("%s: the secret is in the text of file %s before that is written", m.id, is.Name)
		}
	}
	if strings.Contains(content, plaintext) && is.Mode&0o007 != 0 {
		w.breaks("%s: file %s has the secret, and everybody may read it: its mode is %o", m.id, is.Name, is.Mode)
	}
}

// hasFiles tells whether the files of the role are on a machine, whole, and with
// values that were right at some time.
func (m *machine) hasFiles() bool {
	if len(m.world.role.Files) == 0 {
		return true
	}
	return slices.ContainsFunc(m.world.cloud.volumes, func(v *ebs) bool {
		return slices.ContainsFunc(m.world.serverIDs[v.ID], func(id string) bool {
			return m.files[serverIDFile] == fmt.Sprintf("server_id=%s on %s and %s\npassword=%s\n", id, v.ID, m.id, plaintext)
		})
	})
}

// giveID gives a volume another server_id.
func (w *World) giveID(v *ebs, id string) {
	v.Tags[serverIDTag] = id
	w.serverIDs[v.ID] = append(w.serverIDs[v.ID], id)
}

// Plan looks at what is kept on the disk, and notes that services are told which
// instance this is.
func (k keeper) Plan(p role.Plan, of host.Instance) error {
	text, err := json.Marshal(p)
	w := k.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read(string(text))
	k.machine.inForce = string(text)
	if w.mutant == nil || !w.mutant.untold {
		k.machine.told = of
	}
	return err
}

func (r records) RecordedTag(id name.VolumeID, key string) (value string, there bool, err error) {
	err = r.call(context.Background(), "asks", fmt.Sprintf("for the tag %s of %s as it was", key, id), effect{do: func() error {
		value, there = r.machine.tags.now[string(id)+" "+key]
		return nil
	}})
	return value, there && err == nil, err
}

func (r records) RecordTag(id name.VolumeID, key, value string) error {
	return r.call(context.Background(), "record", fmt.Sprintf("the tag %s of %s", key, id), effect{do: func() error {
		r.machine.tags.write(map[string]string{string(id) + " " + key: value})
		return nil
	}})
}
