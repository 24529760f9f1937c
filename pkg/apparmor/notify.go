package apparmor

import (
	"fmt"

	"bootagent/pkg/systemd/unitfile"
)

// Unheard returns the profiles that may keep a service from telling systemd that it
// is ready (Type=notify), for services that get a mount namespace of their own by
// InaccessiblePaths= of their guard. In such a namespace the path of systemd's socket
// is disconnected, and no rule allows it: the profile needs the flag
// attach_disconnected (apparmor.d(5)). Not every kernel asks AppArmor about a socket's
// path. Linux 7.2 of Debian sid does, 6.1 and 6.12 do not. The error is one of reading
// units.
func Unheard(root string, services []string) (all []Problem, err error) {
	units, err := unitfile.Load(root)
	if err != nil {
		return nil, err
	}
	s := load(units.Root)
	for _, service := range services {
		if !notifies(units, service) {
			continue
		}
		for _, p := range s.ofService(units, service) {
			if p.attachDisconnected {
				continue
			}
			all = append(all, Problem{File: p.file, Detail: fmt.Sprintf("the profile %s of AppArmor may keep %s from telling systemd that it is ready (Type=notify), "+
				"as newer kernels ask AppArmor about that socket: add the flag attach_disconnected, as in %s flags=(attach_disconnected) {, and then run apparmor_parser --replace %s",
				p.name, service, p.name, p.file)})
		}
	}
	return all, nil
}

// notifies reports whether a service tells systemd when it is ready.
func notifies(units *unitfile.Tree, service string) (yes bool) {
	for _, s := range units.Settings(service) {
		if s.Section == "Service" && s.Key == "Type" {
			yes = s.Value == "notify" || s.Value == "notify-reload"
		}
	}
	return yes
}
