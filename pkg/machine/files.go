package machine

import (
	"context"

	"bootagent/pkg/files"
	"bootagent/pkg/host"
	"bootagent/pkg/ramfile"
	"bootagent/pkg/secret/credential"
)

// configFiles are the configuration files of the role.
type configFiles struct {
	dir    ramfile.Dir
	staged credential.Store
}

func (f configFiles) Write(_ context.Context, is host.File) (changed bool, err error) {
	content, err := files.Fill(is, f.staged.Read)
	if err != nil {
		return false, err
	}
	defer clear(content)
	return f.dir.Write(ramfile.File{Name: is.Name, Owner: is.Owner, Group: is.Group, Mode: is.Mode}, content)
}

func (f configFiles) Written(name string) (bool, error) { return f.dir.Has(name) }
