package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bootagent/pkg/engine/pgcontrol"
	"bootagent/pkg/engine/pgstart"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/execstart"
)

// postgres is PostgreSQL 12 and later.
type postgres struct{}

func (postgres) Name() string { return "postgres" }

func (postgres) Tools() []Tool {
	servers := pgstart.Server()
	makers := make([]string, len(servers))
	for i, path := range servers {
		makers[i] = initdb(path)
	}
	return []Tool{{Paths: servers}, {Paths: makers, Makes: true}}
}

// initdb is the program beside the server that makes a new database.
func initdb(server string) string { return filepath.Join(filepath.Dir(server), "initdb") }

// Settings asks postgres -C, which reads the configuration as the server does,
// and does not start.
func (p postgres) Settings(ctx context.Context, ask Asker, services []execstart.Service) (set host.EngineSettings, err error) {
	ways, err := pgstart.Of(services)
	if err != nil {
		return set, err
	}
	if len(services) == 0 {
		if ways, err = onlyCluster(ask); err != nil {
			return set, err
		}
	}
	set, err = agreed(p.Name(), ways, func(way pgstart.Start) (host.EngineSettings, error) { return p.settings(ctx, ask, way) })
	set.NewPart = postgresWAL
	return set, err
}

// postgresWAL is the directory of the log. It is a link where the log is elsewhere.
const postgresWAL = "pg_wal"

// onlyCluster is how the only cluster of Debian's is started.
func onlyCluster(ask Asker) ([]pgstart.Start, error) {
	files, err := ask.Glob(pgstart.Clusters)
	if err != nil {
		return nil, err
	}
	if len(files) != 1 {
		return nil, fault.Refuse("let the service of the role that starts PostgreSQL need the data: needs; then: bootagent retry",
			"cannot tell which data directory PostgreSQL uses: no service of the role needs the data, and %d files match %s", len(files), pgstart.Clusters)
	}
	of := strings.Split(files[0], "/")
	return []pgstart.Start{pgstart.Cluster(of[len(of)-3], of[len(of)-2])}, nil
}

// settings are those of one way to start the server.
func (postgres) settings(ctx context.Context, ask Asker, way pgstart.Start) (set host.EngineSettings, err error) {
	if set.Program, err = installed(ask, way.Servers); err != nil {
		return set, fmt.Errorf("cannot ask PostgreSQL for its settings: %w", err)
	}
	said, err := ask.Run(ctx, Question{Argv: []string{set.Program, "--version"}, OfProgram: true})
	if err != nil {
		return set, err
	}
	version := postgresVersion.FindSubmatch(said)
	if version == nil {
		return set, fmt.Errorf("%s --version prints %q, and no version", set.Program, said)
	}
	set.Version = string(version[1])

	dir, file := way.Directory()
	if file == "" {
		file = filepath.Join(dir, postgresConf)
		_, err := ask.Read(file)
		switch {
		case errors.Is(err, fs.ErrNotExist) && filepath.IsAbs(dir):
			// Its settings are in the data directory, which is not there yet.
			set.DataDirectory, set.Inside = filepath.Clean(dir), true
			return set, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return set, err
		}
	}
	answer, err := ask.Run(ctx, Question{Argv: slices.Concat([]string{set.Program}, way.Options, []string{"-C", "data_directory"}), Env: way.Env})
	if err != nil {
		return set, err
	}
	set.DataDirectory = filepath.Clean(strings.TrimSuffix(string(answer), "\n"))
	if !filepath.IsAbs(set.DataDirectory) {
		return set, fmt.Errorf("%s -C data_directory prints %q, which is not an absolute path", set.Program, answer)
	}
	set.Inside = filepath.Dir(filepath.Clean(file)) == set.DataDirectory
	return set, nil
}

var postgresVersion = regexp.MustCompile(`\(PostgreSQL\) ([0-9]+\S*)`)

// postgresConf is the configuration file of a server whose settings are in its
// data directory.
const postgresConf = "postgresql.conf"

// Initialize lets in those users of the machine that have the name of a role of
// the database, and others by password. C.UTF-8 sorts by number, so that no
// index breaks when an image has another C library.
func (postgres) Initialize(dir, owner string, set host.EngineSettings) []string {
	argv := []string{
		initdb(set.Program), "--pgdata=" + dir, "--username=" + owner, "--encoding=UTF8", "--locale=C.UTF-8",
		"--auth-local=peer", "--auth-host=scram-sha-256", "--data-checksums",
	}
	for _, place := range set.Elsewhere {
		if place.Setting == postgresWAL {
			argv = append(argv, "--waldir="+place.Path)
		}
	}
	return argv
}

// postgresFiles are relations, maps, the control file and the log, but no
// settings, which may be root's.
var postgresFiles = regexp.MustCompile(`^(PG_VERSION|pg_control|pg_filenode\.map|pg_internal\.init|[0-9]+(_[a-z]+)?(\.[0-9]+)?|[0-9A-F]{4,24})$`)

func (postgres) Owns() Owned {
	return Owned{Dirs: []string{"base", "base/1", "global", postgresWAL, "pg_xact"}, Files: postgresFiles}
}

// Examine looks for the files without which PostgreSQL does not start, and for
// the marks of an initdb that did not finish, on which it would start.
func (p postgres) Examine(dir Dir, set host.EngineSettings) host.DirectoryReport {
	needed := []string{"PG_VERSION", "base", "base/1", "global", postgresControl, postgresWAL, "pg_xact"}
	if set.Inside {
		needed = append(needed, postgresConf)
	}
	missing := slices.DeleteFunc(slices.Clone(needed), dir.Has)
	report := host.DirectoryReport{State: host.Ready, Version: dataVersion.FindString(string(dir.Head("PG_VERSION")))}
	report.Elsewhere = p.elsewhere(dir, set)
	report.LastStop, report.LastStopSays = p.lastStop(dir)
	refuse := func(state host.DirectoryState, hint, reason string, a ...any) host.DirectoryReport {
		report.State, report.Reason, report.Hint = state, fmt.Sprintf(reason, a...), hint
		return report
	}
	const again = "if it is a new database, remove the directory, or initialise another one; or " + hintRestore
	switch {
	case len(dir.Names) == 0:
		return refuse(host.Foreign, "if no data belongs there, remove the empty directory, then: bootagent retry", "it is empty")
	case !dir.Has("PG_VERSION") && !dir.Has("base") && !dir.Has("global"):
		return refuse(host.Foreign, hintForeign, "it has %q and no file of PostgreSQL", slices.Min(dir.Names))
	case report.Version != "" && !sameMajor(report.Version, set.Version):
		return p.otherMajor(report, set.Version)
	case !dir.Has(postgresControl) && dir.Has(postgresControl+".old"):
		return refuse(host.Damaged, "use the new directory that pg_upgrade made; or "+hintRestore,
			"pg_upgrade --link has moved its data into a directory of a newer version: it has %s.old", postgresControl)
	case slices.Equal(missing, []string{postgresConf}):
		return refuse(host.Unfit, "let the service start the server with its configuration file elsewhere, or put one there; then: bootagent retry",
			"%s is missing, and the server is started with its settings in its data directory", postgresConf)
	case len(missing) > 0:
		reason := strings.Join(missing, " and ") + []string{" is", " are"}[min(len(missing)-1, 1)] + " missing"
		if slices.Contains(missing, postgresControl) {
			reason += ", as after an initdb that did not finish"
		}
		return refuse(host.Damaged, again, "%s", reason)
	case report.Version == "":
		return refuse(host.Damaged, again, "PG_VERSION has no version of PostgreSQL")
	case report.LastStopSays == "":
		return refuse(host.Damaged, hintRestore, "%s has no state of a database", postgresControl)
	case len(databases(dir)) < len(postgresDatabases):
		return refuse(host.Damaged, again, "initdb did not finish: of the %d databases that it makes (%s), it has %d",
			len(postgresDatabases), strings.Join(postgresDatabases, ", "), len(databases(dir)))
	case initializing(dir):
		return refuse(host.Damaged, again, "initdb, or postgres --single, was cut off: postmaster.pid is of a server that takes no connections, and there are no other databases than those of initdb")
	case dir.Mode.Perm()&0o027 != 0:
		return refuse(host.Unfit, fmt.Sprintf("chmod 0700 -- %s; then: bootagent retry", shell.Quote(dir.path)),
			"it has mode %04o, and PostgreSQL starts only on a directory of mode 0700 or 0750", dir.Mode.Perm())
	}
	for _, name := range needed {
		if wrong := dir.Misplaced(name, !slices.Contains(postgresRegular, name)); wrong != "" && dir.Link(name) == "" {
			return refuse(host.Unfit, "put it there itself, or "+hintRestore, "%s in it %s", name, wrong)
		}
	}
	return report
}

// postgresControl is the control file.
const postgresControl = "global/pg_control"

// postgresRegular are those files that a server needs and that are no directories.
var postgresRegular = []string{"PG_VERSION", postgresControl, postgresConf}

// postgresDatabases are those that initdb makes, each with a directory in base.
var postgresDatabases = []string{"template1", "template0", "postgres"}

// databases are the numbers of the directories of databases.
func databases(dir Dir) (numbers []int) {
	for _, name := range dir.List("base") {
		if n, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// firstNormal is the first number of what users make (FirstNormalObjectId in
// PostgreSQL's transam.h).
const firstNormal = 16384

// initializing tells whether a server of one user, such as initdb's, was cut off
// in a directory that nobody has made a database in: the number in
// postmaster.pid is negative then (CreateLockFile in miscinit.c).
func initializing(dir Dir) bool {
	return strings.HasPrefix(string(dir.Head("postmaster.pid")), "-") &&
		!slices.ContainsFunc(databases(dir), func(n int) bool { return n >= firstNormal })
}

// otherMajor refuses data of another major version.
func (postgres) otherMajor(report host.DirectoryReport, installed string) host.DirectoryReport {
	than, move := "older", "load a dump of it into a new database"
	if older, err := strconv.ParseFloat(report.Version, 64); err == nil && older < majorOf(installed) {
		than = "newer"
		move = "upgrade it with pg_upgrade where the programs of both versions are; or load a dump of it, made by pg_dumpall, into a new database"
	}
	report.State = host.Unfit
	report.Reason = fmt.Sprintf("it is of PostgreSQL %s, and the version installed here is %s: %s", report.Version, than, installed)
	report.Hint = fmt.Sprintf("use an image with PostgreSQL %s; or %s; then: bootagent retry", report.Version, move)
	return report
}

// majorOf is the number of the major version: 15 of "15.20", "15beta1" and "15".
func majorOf(version string) float64 {
	n, _ := strconv.ParseFloat(leadingNumber.FindString(version), 64)
	return n
}

// dataVersion is what PG_VERSION begins with: "15", or "9.6" before version 10.
var dataVersion = regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,3})?`)

var leadingNumber = regexp.MustCompile(`^[0-9]+`)

// sameMajor tells whether the server opens the data of a version. It is true
// where the version of the server is not known.
func sameMajor(data, server string) bool {
	return server == "" || leadingNumber.FindString(server) == data
}

// lastStop is what the control file says. A base backup has the state of the
// server that it was made of.
func (postgres) lastStop(dir Dir) (host.LastStop, string) {
	state, ok := pgcontrol.Of(dir.Head(postgresControl))
	if !ok {
		return host.StopUnknown, ""
	}
	says := "pg_control: " + state.String()
	switch {
	case dir.Has("backup_label"):
		return host.StopUnknown, "backup_label: a base backup, which PostgreSQL recovers when it starts"
	case dir.Has("recovery.signal"):
		return host.StopUnknown, "recovery.signal: PostgreSQL recovers from its archive when it starts; " + says
	case !state.Known():
		return host.StopUnknown, says
	case state.Clean():
		return host.StopClean, says
	}
	return host.StopUnclean, says
}

// elsewhere are the links by which PostgreSQL has a part of a database in another
// directory: its log, its tablespaces, or whatever a person has moved.
func (postgres) elsewhere(dir Dir, set host.EngineSettings) (places []host.Place) {
	linked := func(name, what string) {
		target := dir.Link(name)
		if target == "" {
			return
		}
		path := target
		if !filepath.IsAbs(path) {
			path = filepath.Join(set.DataDirectory, filepath.Dir(name), target)
		}
		if path = filepath.Clean(path); path != set.DataDirectory && !strings.HasPrefix(path, set.DataDirectory+"/") {
			places = append(places, host.Place{Setting: what + " " + name, Value: target, Path: path})
		}
	}
	names := slices.Sorted(slices.Values(dir.Names))
	for _, name := range names {
		if name == "base" || name == "global" || strings.HasPrefix(name, "pg_") && !strings.HasSuffix(name, ".conf") {
			linked(name, "the link")
		}
	}
	for _, name := range slices.Sorted(slices.Values(dir.List("pg_tblspc"))) {
		linked(filepath.Join("pg_tblspc", name), "the tablespace")
	}
	return places
}
