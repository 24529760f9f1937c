package lab

import "regexp"

// Versions are those that a machine tells on its console.
type Versions struct {
	Kernel  string // "6.1.0-41-cloud-amd64"
	Systemd string // "252.39-1~deb12u1", with Debian's revision
}

var (
	kernelVersion  = regexp.MustCompile(`Linux version (\S+)`)
	systemdVersion = regexp.MustCompile(`systemd\[1\]: systemd (\S+) running in system mode`)
)

// Versions returns what the machine has told since this boot began. What it has not told is empty.
func (m *Machine) Versions() (Versions, error) {
	console, err := m.Console()
	if err != nil {
		return Versions{}, err
	}
	return toldVersions(console), nil
}

func toldVersions(console string) Versions {
	first := func(pattern *regexp.Regexp) string {
		if found := pattern.FindStringSubmatch(console); found != nil {
			return found[1]
		}
		return ""
	}
	return Versions{Kernel: first(kernelVersion), Systemd: first(systemdVersion)}
}
