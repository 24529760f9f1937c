package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/engine/redisconf"
	"bootagent/pkg/engine/redisdump"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/execstart"
)

// redis is Redis 6.2 and later, and Valkey.
type redis struct{}

func (redis) Name() string { return "redis" }

// redisProgram is the server. redis6-server is Amazon Linux's.
var redisProgram = execstart.Program{Names: []string{"redis-server", "valkey-server", "redis6-server"}}

// redisInstalls are where packages put a server and its configuration file. The
// first that has a file counts where no service says more.
var redisInstalls = []struct{ program, file string }{
	{"/usr/bin/redis-server", "/etc/redis/redis.conf"},
	{"/usr/bin/valkey-server", "/etc/valkey/valkey.conf"},
	{"/usr/bin/redis6-server", "/etc/redis6/redis6.conf"},
}

func (redis) Tools() []Tool {
	var paths []string
	for _, i := range redisInstalls {
		paths = append(paths, i.program)
	}
	return []Tool{{Paths: paths}}
}

// Initialize returns nil: to Redis, an empty directory is an empty database.
func (redis) Initialize(string, string, host.EngineSettings) []string { return nil }

// redisFiles are dumps and append-only files under their usual names, and the
// state of a node of a cluster.
var redisFiles = regexp.MustCompile(`\.(rdb|aof|manifest)$|^nodes.*\.conf$`)

func (redis) Owns() Owned { return Owned{Dirs: []string{"appendonlydir"}, Files: redisFiles} }

// The values of EngineSettings that Examine reads, by Redis's own names. What a
// file is named for a person stays the name in the settings.
const (
	dumpName        = "dbfilename"
	appendOnly      = "appendonly"
	appendName      = "appendfilename"
	appendDir       = "appenddirname"
	versionCheck    = "rdb-version-check"
	savesWhenItStop = "save" // "yes" where the server writes a dump when it is stopped
)

// A redisWay is one way in which a service starts the server.
type redisWay struct {
	service execstart.Service
	argv    []string
}

func (r redis) Settings(ctx context.Context, ask Asker, services []execstart.Service) (set host.EngineSettings, err error) {
	if _, err := starts(services, redisProgram); err != nil {
		return set, err
	}
	var ways []redisWay
	for _, s := range services {
		if argv, err := s.Command(redisProgram); err == nil && argv != nil {
			ways = append(ways, redisWay{s, argv})
		}
	}
	if len(services) == 0 {
		way, err := packaged(ask)
		if err != nil {
			return set, err
		}
		ways = append(ways, way)
	}
	return agreed(r.Name(), ways, func(way redisWay) (host.EngineSettings, error) { return r.settings(ctx, ask, way) })
}

// packaged is how the server is started with its package's configuration file.
func packaged(ask Asker) (redisWay, error) {
	for _, i := range redisInstalls {
		if _, err := ask.Read(i.file); !errors.Is(err, fs.ErrNotExist) {
			return redisWay{argv: []string{i.program, i.file}}, err
		}
	}
	return redisWay{}, fmt.Errorf("cannot read the settings of Redis: none of its packages' configuration files is there, such as %s", redisInstalls[0].file)
}

// settings are those of one way to start the server. Its version is what the
// program says, which reads no file for that.
func (r redis) settings(ctx context.Context, ask Asker, way redisWay) (set host.EngineSettings, err error) {
	conf, err := redisconf.Read(ask, way.argv[1:], workingDirectory(way.service))
	switch line := (*redisconf.LineError)(nil); {
	case errors.As(err, new(*redisconf.CommandError)) && way.service.Unit != "":
		return set, way.service.Unclear(redisProgram, "%v", err)
	case errors.As(err, &line):
		return set, fault.Refuse("correct it, then: bootagent retry", "cannot read the settings of %s: %v", filepath.Base(way.argv[0]), line)
	case err != nil:
		return set, fmt.Errorf("cannot read the settings of %s: %w", filepath.Base(way.argv[0]), err)
	}
	if by := way.service.Denies(conf.Dir); by != "" {
		return set, fault.Refuse(fmt.Sprintf(
			"set dir in its configuration file, and bind in the role file, to a directory that the unit may write; "+
				"or allow it this one: systemctl edit %s, where [Service] gets ReadWritePaths=%s; then: bootagent retry", shell.Quote(way.service.Unit), conf.Dir),
			"%s cannot write its data directory %s, because of %s: it would start, and could neither save nor stop", way.service.Unit, conf.Dir, by)
	}
	set = host.EngineSettings{DataDirectory: conf.Dir, Values: map[string]string{
		dumpName: conf.DumpName, appendOnly: yesNo(conf.AppendOnly), appendName: conf.AppendName, appendDir: conf.AppendDir, savesWhenItStop: yesNo(conf.SavesAtStop),
	}}
	if conf.RelaxedVersions {
		set.Values[versionCheck] = "relaxed"
	}
	if filepath.IsAbs(way.argv[0]) {
		set.Program = way.argv[0]
	}
	if nodes := filepath.Clean(conf.ClusterFile); conf.Cluster && strings.Contains(nodes, "/") {
		if !filepath.IsAbs(nodes) {
			nodes = filepath.Join(conf.Dir, nodes)
		}
		if filepath.Dir(nodes) != conf.Dir {
			set.Elsewhere = []host.Place{{Setting: "cluster-config-file", Value: conf.ClusterFile, Path: nodes}}
		}
	}
	program := redisInstalls[0].program
	if set.Program != "" {
		program = set.Program
	}
	output, err := ask.Run(ctx, Question{Argv: []string{program, "--version"}})
	if err != nil {
		return set, err
	}
	set.Version = redisdump.Server(string(output))
	return set, nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// workingDirectory is the directory in which a service is started, "" where it
// cannot be told without its user.
func workingDirectory(s execstart.Service) string {
	dir := strings.TrimLeft(s.WorkingDirectory, "-!")
	switch {
	case dir == "":
		return "/"
	case !filepath.IsAbs(dir):
		return ""
	}
	return dir
}

// Examine looks for what the server loads: a dump, or append-only files, which
// never both count. It refuses a directory whose newest data the server would not
// load, because the server then comes up empty and replaces the dump when it
// stops.
func (redis) Examine(dir Dir, set host.EngineSettings) host.DirectoryReport {
	c := content{dir: dir, set: set}
	c.look()
	report := host.DirectoryReport{State: host.Ready}
	say := func(state host.DirectoryState, hint, format string, a ...any) host.DirectoryReport {
		report.State, report.Reason, report.Hint = state, fmt.Sprintf(format, a...), hint
		return report
	}
	if wrong := c.misplaced(); wrong != "" {
		return say(host.Unfit, "put it there itself, with everything that belongs to it, because bootagent follows no links; or "+hintRestore, "%s", wrong)
	}
	loads := c.loads()
	if loads == "" && !c.hasDump && !c.hasAppend() {
		if strange := c.strange(); strange != "" {
			return say(host.Foreign, hintForeign, "it has %q and no file of Redis or Valkey", strange)
		}
		report.Empty = true
	}
	head := redisdump.Parse(dir.Head(loads))
	if loads != "" {
		report.Version = head.By
	}
	switch {
	case dir.Mode.Perm()&0o700 != 0o700:
		return say(host.Unfit, "allow it: chmod u+rwx -- "+shell.Quote(dir.path), "its owner cannot write in it: its mode is %04o", dir.Mode.Perm())
	case c.appendOnly() && c.broken != "":
		return say(host.Damaged, hintRestore, "%s", c.broken)
	case c.appendOnly() && loads == "" && c.hasDump:
		return say(host.Unfit, hintAppendOnly, "appendonly is yes, and it has %s and no append-only file: the server would not load it, and would replace it by an empty one when it stops", c.dump)
	case c.appendOnly() && c.hasNewer():
		return say(host.Unfit, hintNewerRedis("7.0"), "it has append-only files in %s, which Redis 7.0 and later make, and the version installed here is older: %s", c.appendDir, set.Version)
	case !c.appendOnly() && c.isBehind() != "":
		return say(host.Unfit, "set appendonly yes in the configuration file of the server; then: bootagent retry", "appendonly is no, and %s: the server would start without what is in there", c.isBehind())
	case loads != "" && (!head.OK || head.Format == 0 && loads == c.dump):
		return say(host.Damaged, hintRestore, "%s does not begin as a dump or an append-only file of Redis or Valkey", loads)
	}
	if wrong, hint := head.RefusedBy(set.Version, set.Values[versionCheck] == "relaxed"); wrong != "" {
		return say(host.Unfit, hint, "%s %s", loads, wrong)
	}
	report.LastStop, report.LastStopSays = c.lastStop()
	return report
}

const hintAppendOnly = "set appendonly no in the configuration file of the server, then: bootagent retry; when it runs: redis-cli CONFIG SET appendonly yes; " +
	"when redis-cli INFO persistence says aof_rewrite_in_progress:0, set appendonly yes in the file"

func hintNewerRedis(version string) string {
	return fmt.Sprintf("use an image with Redis %s or later, or with Valkey; then: bootagent retry", version)
}

// content is what a directory has of Redis's files.
type content struct {
	dir  Dir
	set  host.EngineSettings
	dump string // the name of the dump, and whether there is one

	hasDump           bool
	single            string // the one append-only file of servers before 7.0
	hasSingle         bool
	appendDir         string // the directory of append-only files since 7.0
	manifest          string // their list, a path below the directory
	hasManifest       bool
	parts             []string // that it lists and the server loads, in their order
	broken            string   // why the server could not load them
	appendDirIsFilled bool
}

func (c *content) look() {
	option := func(name, unset string) string {
		if value := c.set.Values[name]; value != "" {
			return value
		}
		return unset
	}
	c.dump, c.single, c.appendDir = option(dumpName, "dump.rdb"), option(appendName, "appendonly.aof"), option(appendDir, "appendonlydir")
	c.manifest = filepath.Join(c.appendDir, c.single+".manifest")
	c.hasDump, c.hasSingle, c.hasManifest = c.dir.Has(c.dump), c.dir.Has(c.single), c.dir.Has(c.manifest)
	c.appendDirIsFilled = slices.ContainsFunc(c.dir.List(c.appendDir), func(name string) bool { return strings.HasPrefix(name, c.single+".") })
	switch {
	case c.hasManifest:
		for range 3 {
			text := c.dir.Text(c.manifest)
			// A server that runs replaces the manifest, and then removes what the
			// former one listed.
			if c.readManifest(text); c.broken == "" || bytes.Equal(text, c.dir.Text(c.manifest)) {
				return
			}
		}
	case c.appendDirIsFilled && !c.hasSingle:
		c.broken = fmt.Sprintf("%s is missing, and there are append-only files: the server would start without them", c.manifest)
	}
}

// readManifest finds the append-only files that a manifest lists.
func (c *content) readManifest(text []byte) {
	names, wrong := redisdump.Listed(text)
	c.parts, c.broken = nil, ""
	for _, name := range names {
		part := filepath.Join(c.appendDir, name)
		c.parts = append(c.parts, part)
		// A server that upgrades the one file of an older one lists it first, and
		// then moves it.
		if wrong == "" && !c.dir.Has(part) && !(len(names) == 1 && name == c.single && c.hasSingle) {
			wrong = name + ", which it lists, is missing"
		}
	}
	if wrong != "" {
		c.broken = fmt.Sprintf("%s: %s", c.manifest, wrong)
	}
}

func (c *content) appendOnly() bool { return c.set.Values[appendOnly] == "yes" }

// hasAppend tells whether there is any append-only file.
func (c *content) hasAppend() bool { return c.hasSingle || c.hasManifest || c.appendDirIsFilled }

// isOld tells whether the server is one before 7.0, with one append-only file.
func (c *content) isOld() bool {
	name, version, _ := strings.Cut(c.set.Version, " ")
	return name == "Redis" && redisdump.Older(version, "7.0")
}

// hasNewer tells whether a server that keeps one append-only file finds those of
// a later one.
func (c *content) hasNewer() bool { return c.isOld() && c.hasManifest }

// loads is the file from whose beginning the version is told of what the server
// loads, or "".
func (c *content) loads() string {
	switch {
	case !c.appendOnly() && c.hasDump:
		return c.dump
	case !c.appendOnly():
		return ""
	case len(c.parts) > 0 && c.dir.Has(c.parts[0]):
		return c.parts[0]
	case c.hasSingle:
		return c.single
	}
	return ""
}

// misplaced says which of the files is no file, or "".
func (c *content) misplaced() string {
	for _, f := range []struct {
		there, directory bool
		name             string
	}{{c.hasDump, false, c.dump}, {c.hasSingle, false, c.single}, {c.dir.Has(c.appendDir), true, c.appendDir}} {
		if !f.there {
			continue
		}
		if wrong := c.dir.Misplaced(f.name, f.directory); wrong != "" {
			return f.name + " in it " + wrong
		}
	}
	return ""
}

// redisHarmless are names that may be in the directory of an empty database:
// users, the state of a cluster, logs, and what a save left that was cut off.
var redisHarmless = regexp.MustCompile(`^(\..*|lost\+found|temp-.*|nodes.*\.conf|.*\.(acl|log|pid|sock))$`)

// strange is a name of which Redis knows nothing, or "".
func (c *content) strange() string {
	for _, name := range slices.Sorted(slices.Values(c.dir.Names)) {
		if !redisHarmless.MatchString(name) && name != c.appendDir {
			return name
		}
	}
	return ""
}

// written is the append-only file that was written last, or "".
func (c *content) written() (last string) {
	names := c.parts
	if c.hasSingle && !c.hasManifest {
		names = []string{c.single}
	}
	for _, name := range names {
		if last == "" || c.dir.Modified(name).After(c.dir.Modified(last)) {
			last = name
		}
	}
	return last
}

// isBehind says why a dump is not the newest data, for a server that loads
// nothing else, or "".
func (c *content) isBehind() string {
	last := c.written()
	switch {
	case !c.hasAppend():
		return ""
	case !c.hasDump && last == "":
		return fmt.Sprintf("it has append-only files in %s and no %s", c.appendDir, c.dump)
	case !c.hasDump:
		return fmt.Sprintf("it has %s and no %s", last, c.dump)
	case last != "" && c.dir.Modified(last).After(c.dir.Modified(c.dump)):
		return fmt.Sprintf("%s is newer than %s", last, c.dump)
	}
	return ""
}

// lastStop tells a stop that was not clean. A server with save points writes a
// dump last, when it is stopped; so whatever is newer was left by one that was
// cut off. It leaves no mark of a clean stop that one would miss.
func (c *content) lastStop() (host.LastStop, string) {
	if c.set.Values[savesWhenItStop] != "yes" || !c.hasDump {
		return host.StopUnknown, ""
	}
	saved := c.dir.Modified(c.dump)
	for _, name := range c.dir.Names {
		if strings.HasPrefix(name, "temp-") && strings.HasSuffix(name, ".rdb") && c.dir.Modified(name).After(saved) {
			return host.StopUnclean, fmt.Sprintf("a save was cut off: %s is newer than %s", name, c.dump)
		}
	}
	if last := c.written(); c.appendOnly() && last != "" && c.dir.Modified(last).After(saved) {
		return host.StopUnclean, fmt.Sprintf("%s is newer than %s, which a clean stop writes last", last, c.dump)
	}
	return host.StopUnknown, ""
}
