// Package guard writes the drop-ins that hold the units of every role until
// the agent grants them.
//
// It reads unit files and drop-ins in systemd's search path below a root,
// which is "/" on a machine and the root of an image at bake time, and writes
// /etc/systemd/system/<unit>.d/50-held-by-bootagent.conf there. It knows no
// role file: its callers say what is to be held. Beside the names of units it
// imports the standard library only, as the generator, which runs before
// anything else on a boot, is made of it.
package guard

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"bootagent/pkg/unit"
)

const (
	// installDir is where guards are installed, below a root.
	installDir = "/etc/systemd/system"

	// fileName is the same for every unit: a guard of the generator takes the
	// place of the installed one, as systemd reads one file of each name.
	fileName = "50-held-by-bootagent.conf"

	// tempName is what a guard is while it is written. systemd reads no file
	// that begins with a dot.
	tempName = "." + fileName + ".new"

	// mark begins every guard. A file without it is not ours to change.
	mark = "# Made by bootagent"

	header = mark + ` from its role files: "bootagent guard install" reverts what is edited here.`

	// imds4 and imds6 are where an instance's metadata service is (EC2 User
	// Guide, "Use IMDS").
	imds4 = "169.254.169.254"
	imds6 = "fd00:ec2::254"
)

// A Hold says that a unit may not start before the agent grants a service.
type Hold struct {
	// Unit is the unit that is held.
	Unit string

	// Service is the one whose grant opens it: Unit itself, where that is a
	// service of a role, and else the service that it triggers, or that a role
	// names it beside.
	Service string

	// IMDS leaves the unit its way to the instance's metadata service.
	IMDS bool

	// Credentials are the names of those that the unit gets when the agent has
	// staged them, sorted. Only a service that is held for itself has any.
	Credentials []string

	// Optional are those of the credentials that not every role gives to the
	// unit. In their place it gets a line without anything in it.
	Optional []string
}

// Token is the path of the file that a service asserts, on the machine that
// runs it: /run/bootagent/granted/mariadb.service for mariadb.service.
func Token(service string) string {
	return "/run/bootagent/granted/" + service
}

// Staged is the path of the file that a service gets as a credential, on the
// machine that runs it: /run/bootagent/secrets/mariadb.service/root-sql.
func Staged(service, credential string) string {
	return "/run/bootagent/secrets/" + service + "/" + credential
}

// Path is where the guard of a unit is installed, below the root.
func Path(name string) string { return dropIn(installDir, name) }

func dropIn(dir, name string) string { return path.Join(dir, name+".d", fileName) }

// nothing is a credential in the place of one that a role does not give:
// systemd 252 takes no empty one (config_parse_set_credential). What is loaded
// wins over it.
const nothing = `\n`

// Text is the guard itself. It is the same for every role that holds the unit.
//
// Unit names need no escaping in it: systemd allows no % in them, and takes
// the backslash of \x2d as it stands in the settings that have one
// (config_parse_unit_deps, config_parse_unit_condition_path,
// config_parse_load_credential).
func (h Hold) Text() string {
	var b strings.Builder
	b.WriteString(header + "\n[Unit]\nDocumentation=man:bootagent(8)\n")
	// A socket or a path is started before basic.target, the agent after it:
	// an order between them would be a cycle, which systemd breaks by leaving
	// out a job of its choice. The assertion needs no order to hold.
	if unit.IsService(h.Unit) {
		b.WriteString("After=" + unit.Agent + " " + unit.GrantOf(h.Service) + "\n")
	}
	b.WriteString("BindsTo=" + unit.GrantOf(h.Service) + "\n")
	b.WriteString("AssertPathExists=" + Token(h.Service) + "\n")
	if settings := h.serviceSettings(); settings != "" {
		b.WriteString("\n[Service]\n" + settings)
	}
	return b.String()
}

// serviceSettings is what the guard sets of a service itself.
func (h Hold) serviceSettings() string {
	if !unit.IsService(h.Unit) {
		return ""
	}
	var b strings.Builder
	if !h.IMDS {
		b.WriteString("IPAddressDeny=" + imds4 + " " + imds6 + "\n")
		b.WriteString("InaccessiblePaths=-" + imdsSocket + "\n")
	}
	for _, name := range h.Credentials {
		b.WriteString("LoadCredential=" + name + ":" + Staged(h.Service, name) + "\n")
		if slices.Contains(h.Optional, name) {
			b.WriteString("SetCredential=" + name + ":" + nothing + "\n")
		}
	}
	return b.String()
}

// check returns why a unit can't be held in this way, or nil.
func (h Hold) check() error {
	if err := unit.MayGuard(h.Unit); err != nil {
		return fmt.Errorf("cannot hold %s: %w", shown(h.Unit), err)
	}
	if err := unit.MayGrant(h.Service); err != nil {
		return fmt.Errorf("cannot hold %s for %s: %w", h.Unit, shown(h.Service), err)
	}
	for _, name := range h.Credentials {
		if !isCredential(name) {
			return fmt.Errorf("cannot hold %s with the credential %q: not the name of a credential", h.Unit, name)
		}
	}
	return nil
}

// shown returns a name as a message shows it: quoted if it isn't the name of a
// unit, because it may then contain anything.
func shown(name string) string {
	if unit.Valid(name) {
		return name
	}
	return strconv.Quote(name)
}

// isCredential tells whether systemd takes name as that of a credential
// (credential_name_valid), and as it stands: no specifier, no escape.
func isCredential(name string) bool {
	for i := range len(name) {
		if c := name[i]; !unit.NameByte(c) || strings.IndexByte(`:\@`, c) >= 0 {
			return false
		}
	}
	return name != "" && name[0] != '.'
}

// merge puts the holds of all roles together: one for each unit, sorted. What
// it refuses is in the error; all else is in the list.
func merge(holds []Hold) ([]Hold, error) {
	sorted := slices.Clone(holds)
	slices.SortFunc(sorted, func(a, b Hold) int {
		return strings.Compare(a.Unit+" "+a.Service, b.Unit+" "+b.Service)
	})
	var merged []Hold
	var problems []error
	for _, h := range sorted {
		if err := h.check(); err != nil {
			problems = append(problems, err)
			continue
		}
		last := len(merged) - 1
		switch {
		case last < 0 || merged[last].Unit != h.Unit:
			merged = append(merged, h)
		case merged[last].Service != h.Service:
			problems = append(problems, fmt.Errorf(
				"cannot hold %s for both %s and %s: a unit is bound to one grant; list it under services: of its own in each role",
				h.Unit, merged[last].Service, h.Service))
		default:
			merged[last] = merged[last].with(h)
		}
	}
	return merged, errors.Join(problems...)
}

// with puts two holds of one unit for one service together. A credential that
// either lacks is optional.
func (h Hold) with(o Hold) Hold {
	one := Hold{Unit: h.Unit, Service: h.Service, IMDS: h.IMDS || o.IMDS}
	one.Credentials = union(h.Credentials, o.Credentials)
	one.Optional = union(h.Optional, o.Optional)
	for _, name := range one.Credentials {
		if !slices.Contains(h.Credentials, name) || !slices.Contains(o.Credentials, name) {
			one.Optional = union(one.Optional, []string{name})
		}
	}
	return one
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
