package execstart

import (
	"path/filepath"
	"strings"
)

// A Sandbox is what a service may write, as systemd has loaded its settings; see
// systemd.exec(5). Paths may have the prefixes - and +.
type Sandbox struct {
	ProtectSystem string   // "no", "yes", "full", "strict" or ""
	ProtectHome   string   // "no", "yes", "read-only", "tmpfs" or ""
	PrivateTmp    bool     // /tmp and /var/tmp are its own, and go with it
	ReadWrite     []string // ReadWritePaths=
	ReadOnly      []string // ReadOnlyPaths=
	Inaccessible  []string // InaccessiblePaths=
	Temporary     []string // TemporaryFileSystem=, without options
	State         []string // StateDirectory=: names in /var/lib, which it may write
}

// Denies returns the setting that keeps the service from keeping data in a
// directory: "ProtectSystem=strict". It returns "" where nothing does. The
// setting for the longest path decides, and of one path the stricter one.
func (s Service) Denies(dir string) string {
	by, longest := "", -1
	rule := func(paths []string, denies string) {
		for _, path := range paths {
			path = filepath.Clean(strings.TrimLeft(path, "-+"))
			if path != "/" && path != dir && !strings.HasPrefix(dir, path+"/") {
				continue
			}
			// Those that deny come first, so that they win over one of the same path.
			if len(path) > longest {
				by, longest = denies, len(path)
			}
		}
	}
	b := s.Sandbox
	for _, path := range b.Inaccessible {
		rule([]string{path}, "InaccessiblePaths="+path)
	}
	for _, path := range b.Temporary {
		rule([]string{path}, "TemporaryFileSystem="+path)
	}
	for _, path := range b.ReadOnly {
		rule([]string{path}, "ReadOnlyPaths="+path)
	}
	rule(b.ReadWrite, "")
	for _, name := range b.State {
		rule([]string{"/var/lib/" + name}, "")
	}
	if b.PrivateTmp {
		rule([]string{"/tmp", "/var/tmp"}, "PrivateTmp=yes")
	}
	switch b.ProtectHome {
	case "yes", "read-only", "tmpfs":
		rule([]string{"/home", "/root", "/run/user"}, "ProtectHome="+b.ProtectHome)
	}
	switch b.ProtectSystem {
	case "yes":
		rule([]string{"/usr", "/boot", "/efi"}, "ProtectSystem=yes")
	case "full":
		rule([]string{"/usr", "/boot", "/efi", "/etc"}, "ProtectSystem=full")
	case "strict":
		rule([]string{"/dev", "/proc", "/sys"}, "")
		rule([]string{"/"}, "ProtectSystem=strict")
	}
	return by
}
