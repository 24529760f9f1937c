package unit

import (
	"strconv"
	"strings"
)

// The units that bootagent's package installs.
const (
	Agent   = "bootagent.service"         // the agent runs in it
	Role    = "bootagent-role.service"    // active when the role is ready
	Release = "bootagent-release.service" // releases the volumes at shutdown
)

// The names of bootagent's transient units begin with these.
const (
	ownPrefix   = "bootagent-"
	grantPrefix = ownPrefix + "grant-"
)

// GrantOf returns the name of the transient unit that the guard of a service
// binds it to: bootagent-grant-mariadb.service for mariadb.service.
func GrantOf(service string) string { return grantPrefix + service }

// MountAt returns the name of the mount unit of a clean, absolute path:
// srv-data.mount for /srv/data.
func MountAt(where string) string { return EscapePath(where) + ".mount" }

// CommandOn returns the name of the transient unit that runs a command of the
// agent: bootagent-check-vol0123.service for check and vol0123. The text on may
// contain any byte; a serial number of a disk may contain a %.
func CommandOn(does, on string) string { return ownPrefix + does + "-" + Escape(on) + ".service" }

// CommandAt returns the name of the transient unit that runs a command of the
// agent on a mount point: bootagent-detach-srv-data.service for detach and
// /srv/data.
func CommandAt(does, where string) string {
	return ownPrefix + does + "-" + EscapePath(where) + ".service"
}

// ScopeOf returns the name of the scope that takes a process of the agent that
// hangs: bootagent-left-4711.scope for the process ID 4711.
func ScopeOf(pid int) string { return ownPrefix + "left-" + strconv.Itoa(pid) + ".scope" }

// IsCommand reports whether a unit has the name of a command of the agent. A
// grant is not a command.
func IsCommand(name string) bool {
	return strings.HasPrefix(name, ownPrefix) && IsService(name) && !strings.HasPrefix(name, grantPrefix)
}
