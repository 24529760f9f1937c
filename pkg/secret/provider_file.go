package secret

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"bootagent/pkg/fault"
	"bootagent/pkg/secret/regular"
	"bootagent/pkg/shell"
	"bootagent/pkg/strictyaml"
)

var fileKind = providerKind{
	name: "file", form: "{file: /path}",
	read: func(v strictyaml.Value) []string {
		if path := v.Path("the file of a source of keys"); path != "" {
			return []string{path}
		}
		return nil
	},
	provider: func(args []string, _ Run) Provider { return FileKeys(args[0]) },
	keyFile:  func(args []string) string { return args[0] },
}

// FileKeys is the provider file: the path of a file that only its owner, the
// user of this process, can read.
type FileKeys string

// Provide adds the age identities in the file.
func (f FileKeys) Provide(_ context.Context, keys *Keys) ([]string, error) {
	path := string(f)
	text, info, err := regular.Read(path, KeysTextMax)
	if err != nil {
		return nil, fmt.Errorf("cannot take age identities from %s: %w", path, err)
	}
	defer clear(text)
	owner, mode := int(info.Sys().(*syscall.Stat_t).Uid), info.Mode().Perm()
	switch {
	case owner != os.Geteuid():
		return nil, fault.WithHint(fmt.Errorf("cannot take age identities from %s: user %d owns it and can replace it", path, owner),
			"chown root: "+shell.Quote(path)+" && chmod 600 "+shell.Quote(path))
	case mode&0o077 != 0:
		return nil, fault.WithHint(fmt.Errorf("cannot take age identities from %s: others can read or write it, its mode is %04o", path, mode),
			"chmod 600 "+shell.Quote(path)+"; and if others use this machine, make a new age identity and encrypt the secrets again")
	}
	added, err := keys.Add(text)
	if err != nil {
		return nil, fmt.Errorf("cannot take age identities from %s: %w", path, err)
	}
	return added, nil
}
