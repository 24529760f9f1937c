package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bootagent/test/lab/image"
)

// A check is a row of the page. It is tests of one package, whose names match tests as go test takes it
// for -run. A check that is only a part of a test has the name of that part.
type check struct {
	name  string
	says  string
	pkg   string // below test/
	tests string
	part  string   // a pattern of names of subtests; empty means the whole tests
	on    []string // the names of the platforms on which make platforms runs it; make test runs all on the first
	ci    []string // those on which make test runs it, too
	plain bool     // it needs no virtual machine, and make test runs it
}

// checks are what is tried on the platforms. Each row of the page has a cell for each of them.
func checks() []check {
	debian := []string{"trixie", "sid"}
	all := append(slices.Clone(debian), "arm64")
	return []check{
		{
			name: "demo", says: "what `make demo` shows: a database server, its replacement, and a web server",
			pkg: "demo", tests: "^TestTheDemoSucceeds$", on: append([]string{"bookworm"}, debian...), ci: []string{"trixie"},
		},
		{
			name: "life of MariaDB", says: "all that can happen to a running database, and a second machine",
			pkg: "e2e", tests: "^TestLifeOfADatabase$", on: all,
		},
		{
			name: "order at power-off", says: "the service stops before its volume is unmounted, and the network goes last",
			pkg: "e2e", tests: "^TestLifeOfADatabase$", part: "^at_power-off_", on: all,
		},
		{
			name: "contract", says: "each engine in each situation of [the contract](contract.md)",
			pkg: "e2e", tests: "^TestContract$", on: []string{"trixie"},
		},
		{
			name: "whole way on EC2", says: "a volume by its tags, a secret, a replaced instance, and errors of EC2 and S3",
			pkg: "e2e", tests: "^TestTheWholeWayOnEC2$", on: debian,
		},
		{
			name: "disk of someone else", says: "refused, and not one byte of it changes",
			pkg: "e2e", tests: "^TestADiskOfSomeoneElse$", on: debian,
		},
		{
			name: "AppArmor and systemd-imdsd", says: "a confined database reads what its role gives it; with `imds: allow` a service passes the lock to the metadata service, others do not",
			pkg: "e2e", tests: "^TestAppArmorLetsInWhatTheRoleGives$", on: []string{"sid"},
		},
		{
			name: "SELinux enforced", says: "a new volume and a second boot of MariaDB with a secret and a file, and nothing of it is denied",
			pkg: "e2e", tests: "^TestSELinuxEnforced$", on: []string{"selinux"},
		},
		{
			name: "rpm", says: "installed, upgraded and erased in a root with systemd",
			pkg: "rules", tests: "^TestRPMIsInstalledUpgradedAndErased$", plain: true,
		},
	}
}

// is returns the pattern of the tests of the check in the results: package, a space, and the name.
func (c check) is() *regexp.Regexp {
	levels := strings.Split(c.tests, "/")
	if c.part != "" {
		levels = append(levels, c.part)
	}
	for i, level := range levels {
		levels[i] = strings.TrimSuffix(strings.TrimPrefix(level, "^"), "$")
		if !strings.HasSuffix(level, "$") {
			levels[i] += "[^/]*"
		}
	}
	return regexp.MustCompile("^bootagent/test/" + c.pkg + " " + strings.Join(levels, "/") + "$")
}

// suite returns the arguments with which test/summary runs the tests of a platform.
func suite(on image.Platform, ci bool) ([]string, error) {
	var tests, packages []string
	for _, c := range checks() {
		runs := c.on
		if ci {
			runs = c.ci
		}
		if !slices.Contains(runs, on.Name) {
			continue
		}
		if !slices.Contains(tests, c.tests) {
			tests = append(tests, c.tests)
		}
		if pkg := "./" + c.pkg; !slices.Contains(packages, pkg) {
			packages = append(packages, pkg)
		}
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("no test runs on %s", on.Name)
	}
	name, arguments := on.Name, []string{"-live"}
	if ci {
		name += "-ci"
	}
	if on.Moves {
		arguments = append(arguments, "-report")
	}
	arguments = append(arguments, name, "-count=1", "-p=1", "-timeout=90m", "-run="+strings.Join(tests, "|"))
	return append(arguments, packages...), nil
}
