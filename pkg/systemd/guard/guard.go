// Package guard writes the drop-ins that hold the units of every role until the
// agent grants them, and checks that nothing undoes them.
//
// It reads unit files and drop-ins below a root directory, which is "/" on a
// machine and the root of the image when an image is built. It writes
// /etc/systemd/system/<unit>.d/50-held-by-bootagent.conf there. It reads no role
// file: the caller passes what has to be held. The generator, which runs before
// anything else in a boot, links this package, so its imports are few.
package guard

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"bootagent/pkg/systemd/unitfile"
	"bootagent/pkg/unit"
)

const (
	// fileName is the same for every unit. So a guard of the generator replaces the
	// installed one, because systemd reads only one drop-in of each name.
	fileName = "50-held-by-bootagent.conf"

	// tempName is the name of a guard while it is written. systemd reads no drop-in
	// that begins with a dot.
	tempName = "." + fileName + ".new"

	// mark begins every guard. A file without it is never changed.
	mark = "# Made by bootagent"

	header = mark + ` from its role files: "bootagent guard install" reverts what is edited here.`

	// imds4 and imds6 are the addresses of an instance's metadata service (EC2 User
	// Guide, "Use IMDS").
	imds4 = "169.254.169.254"
	imds6 = "fd00:ec2::254"
)

// A root is the root directory of a machine, or of an image, that has guards.
type root struct{ unitfile.Root }

func newRoot(dir string) root { return root{unitfile.NewRoot(dir)} }

// A tree is the units below a root, some of which have guards.
type tree struct {
	*unitfile.Tree
	root root
}

// readTree reads which units there are below a root, see unitfile.Load.
func readTree(dir string) (*tree, error) {
	t, err := unitfile.Load(dir)
	if err != nil {
		return nil, err
	}
	return &tree{t, root{t.Root}}, nil
}

// A Hold says that a unit must not start before the agent grants a service.
type Hold struct {
	// Unit is the unit that is held.
	Unit string

	// Service is the service whose grant lets the unit start: the unit itself if it
	// is a service of a role, and otherwise the service that it starts, or the
	// service that a role lists it with.
	Service string

	// IMDS says that the unit may reach the instance's metadata service.
	IMDS bool

	// NoSocket says that there is no systemd-imdsd below the root, and so no socket to
	// hide from the unit. Expand sets it. To hide a path, systemd gives the service a
	// mount namespace, which a profile of AppArmor may not be made for.
	NoSocket bool

	// Credentials are the names of the credentials that the agent stages for the
	// unit, sorted. Only a service that is held for itself has any.
	Credentials []string

	// Optional are the credentials that not every role gives to the unit. If the
	// agent does not stage one of them, the unit gets an empty line instead.
	Optional []string
}

// Token returns the path of the file that the guard of a service asserts, on the
// machine that runs it: /run/bootagent/granted/mariadb.service for mariadb.service.
func GrantFile(service string) string {
	return "/run/bootagent/granted/" + service
}

// Staged returns the path of the file that a service gets as a credential, on the
// machine that runs it: /run/bootagent/secrets/mariadb.service/root-sql.
func Staged(service, credential string) string {
	return "/run/bootagent/secrets/" + service + "/" + credential
}

// Path returns the path of the installed guard of a unit, below the root.
func Path(name string) string { return dropIn(unitfile.AdminDir, name) }

func dropIn(dir, name string) string { return path.Join(dir, name+".d", fileName) }

// nothing is the content of a credential that a role does not give. systemd 252
// accepts no empty one (config_parse_set_credential). LoadCredential= has priority
// over it.
const nothing = `\n`

// assertGranted is the setting by which a guard keeps a unit from starting before its
// grant file is there.
const assertGranted = "AssertPathExists="

// Text returns the content of the guard. It is the same for every role that holds
// the unit.
//
// Unit names need no escaping in it: they can't contain a %, and systemd does not
// interpret the backslash of \x2d in the settings that contain unit names
// (config_parse_unit_deps, config_parse_unit_condition_path,
// config_parse_load_credential).
func (h Hold) Text() string {
	var b strings.Builder
	b.WriteString(header + "\n[Unit]\nDocumentation=man:bootagent(8)\n")
	// A socket or a path starts before basic.target, and the agent starts after it.
	// An order between them would be a cycle, which systemd breaks by dropping a
	// job of its choice. The assertion holds without an order.
	if unit.IsService(h.Unit) {
		b.WriteString("After=" + unit.Agent + " " + unit.GrantOf(h.Service) + "\n")
		if h.IMDS {
			b.WriteString("Wants=" + PassUnit + "\nAfter=" + PassUnit + "\n")
		}
	}
	b.WriteString("BindsTo=" + unit.GrantOf(h.Service) + "\n")
	b.WriteString(assertGranted + GrantFile(h.Service) + "\n")
	if settings := h.serviceSettings(); settings != "" {
		b.WriteString("\n[Service]\n" + settings)
	}
	return b.String()
}

// serviceSettings returns what the guard sets in the section of a service.
func (h Hold) serviceSettings() string {
	if !unit.IsService(h.Unit) {
		return ""
	}
	var b strings.Builder
	if h.IMDS {
		for _, hook := range []string{"connect4", "connect6"} {
			b.WriteString("BPFProgram=" + hook + ":" + PassDir + "/" + hook + "\n")
		}
	} else {
		b.WriteString("IPAddressDeny=" + imds4 + " " + imds6 + "\n")
		if !h.NoSocket {
			b.WriteString("InaccessiblePaths=-" + MetadataSocket + "\n")
		}
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

// isCredential reports whether systemd accepts a name as the name of a credential
// (credential_name_valid), and interprets nothing in it: no specifier, no escape.
func isCredential(name string) bool {
	for i := range len(name) {
		if c := name[i]; !unit.NameByte(c) || strings.IndexByte(`:\@`, c) >= 0 {
			return false
		}
	}
	return name != "" && name[0] != '.'
}

// merge joins the holds of all roles: one for each unit, sorted. The error names
// the holds that can't be; the list has all others.
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

// with joins two holds of one unit for one service. A credential that is missing in
// one of them is optional.
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
