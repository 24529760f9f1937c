// Package pgstart tells how a service starts PostgreSQL: by itself, by pg_ctl,
// or by pg_ctlcluster, which Debian's units run and which finds the server and
// its configuration by the name of a cluster. It runs and reads nothing.
package pgstart

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"bootagent/pkg/systemd/execstart"
)

// A Start is one way to start the server.
type Start struct {
	Servers []string // paths of the server, of which the first that exists counts
	Options []string // its options, as on its command line
	Env     []string // NAME=VALUE
}

// The programs that start the server, or are it.
var (
	server  = execstart.Program{Names: []string{"postgres", "postmaster"}}
	control = execstart.Program{Names: []string{"pg_ctl"}}
	cluster = execstart.Program{Names: []string{"pg_ctlcluster"}}
)

// Of returns the ways in which services start PostgreSQL, each once. If there
// are services and none of them starts it, the error is an
// *execstart.UnclearError, as it is where the options cannot be told.
func Of(services []execstart.Service) (all []Start, err error) {
	for _, s := range services {
		way, err := of(s)
		if err != nil {
			return nil, err
		}
		if way != nil && !slices.ContainsFunc(all, way.equal) {
			all = append(all, *way)
		}
	}
	switch {
	case len(services) == 0 || len(all) > 0:
		return all, nil
	case !slices.ContainsFunc(services, func(s execstart.Service) bool { return len(s.Commands) > 0 }):
		return nil, services[0].Unclear(server, "it has no ExecStart=; is the package of the engine installed, and was systemctl daemon-reload run?")
	case services[0].Unit == "postgresql.service":
		return nil, services[0].Unclear(server, "it starts nothing itself; name the unit of the cluster in the role file, such as postgresql@15-main.service (pg_lsclusters lists them)")
	}
	return nil, services[0].Unclear(server, "neither it nor another service of the role that needs the data runs postgres, pg_ctl or pg_ctlcluster")
}

func (s *Start) equal(other Start) bool {
	return slices.Equal(s.Servers, other.Servers) && slices.Equal(s.Options, other.Options) && slices.Equal(s.Env, other.Env)
}

// of returns how one service starts the server, or nil where it does not.
func of(s execstart.Service) (*Start, error) {
	for _, by := range []struct {
		program execstart.Program
		start   func(argv []string) (Start, error)
	}{{cluster, byCluster}, {control, byControl}, {server, itself}} {
		argv, err := s.Command(by.program)
		if err != nil {
			return nil, err
		}
		if argv == nil {
			continue
		}
		way, err := by.start(argv)
		if err != nil {
			return nil, s.Unclear(server, "%v", err)
		}
		way.Env = s.Environment
		return &way, nil
	}
	return nil, nil
}

// itself is postgres(1).
func itself(argv []string) (Start, error) {
	return Start{Servers: []string{argv[0]}, Options: argv[1:]}, nil
}

// byControl is pg_ctl(1): pg_ctl start -D DIR -o OPTIONS. The server is the one
// beside it.
func byControl(argv []string) (way Start, err error) {
	way.Servers = []string{filepath.Join(path.Dir(argv[0]), "postgres")}
	rest, values := options(argv[1:], "DolptmUPe", "pgdata options log timeout mode")
	if !slices.Equal(rest, []string{"start"}) {
		return way, fmt.Errorf("it runs pg_ctl %s", strings.Join(rest, " "))
	}
	for _, v := range values {
		switch v.name {
		case "D", "pgdata":
			way.Options = append(way.Options, "-D", v.value)
		case "o", "options":
			words, err := split(v.value)
			if err != nil {
				return way, err
			}
			way.Options = append(way.Options, words...)
		case "p":
			way.Servers = []string{v.value}
		}
	}
	return way, nil
}

// nameOf is a cluster as pg_ctlcluster(1) takes it: "15 main", "15-main", "15/main".
var nameOf = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)[-/ ]([^'"\s/]+)$`)

// byCluster is pg_ctlcluster(1). Debian's packages have the server below
// /usr/lib/postgresql; those for Red Hat's family in /usr/pgsql-VERSION.
func byCluster(argv []string) (way Start, err error) {
	rest, values := options(argv[1:], "om", "options mode bindir")
	rest = slices.DeleteFunc(rest, func(word string) bool { return word == "start" })
	name := nameOf.FindStringSubmatch(strings.Join(rest, " "))
	if name == nil {
		return way, fmt.Errorf("it runs pg_ctlcluster %s", strings.Join(argv[1:], " "))
	}
	version := name[1]
	way = Cluster(version, name[2])
	for _, v := range values {
		switch v.name {
		case "bindir":
			way.Servers = []string{filepath.Join(v.value, "postgres")}
		case "o", "options":
			words, err := split(v.value)
			if err != nil {
				return way, err
			}
			way.Options = append(way.Options, words...)
		}
	}
	return way, nil
}

// Clusters is a pattern of the configuration files of all clusters that
// pg_ctlcluster knows.
const Clusters = "/etc/postgresql/*/*/postgresql.conf"

// Cluster is how pg_ctlcluster starts a cluster.
func Cluster(version, name string) Start {
	dir := filepath.Join("/etc/postgresql", version, name)
	return Start{
		Servers: []string{"/usr/lib/postgresql/" + version + "/bin/postgres", "/usr/pgsql-" + version + "/bin/postgres"},
		Options: []string{"-D", dir, "-c", "config_file=" + dir + "/postgresql.conf"},
	}
}

// Server is a list of patterns of the paths that a server may have.
func Server() []string {
	return []string{"/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres", "/usr/bin/postgres"}
}

// Directory returns the directory that the options and the environment give to
// the server: that of its configuration, and, unless that says otherwise, of its
// data. file is the configuration file, where they name one. Both may be "".
func (s Start) Directory() (dir, file string) {
	for _, e := range s.Env {
		if value, ok := strings.CutPrefix(e, "PGDATA="); ok {
			dir = value
		}
	}
	_, values := options(s.Options, "BcCdDfFhkNOopPrStWvx", "")
	for _, v := range values {
		name, value := v.name, v.value
		if name == "c" {
			name, value, _ = strings.Cut(value, "=")
		}
		switch strings.ReplaceAll(name, "-", "_") {
		case "D":
			dir = value
		case "config_file":
			file = value
		}
	}
	return dir, file
}

// A value is an option with its value.
type value struct{ name, value string }

// options takes the options out of arguments: those of one letter that have a
// value are named, and those of a word that have one as an argument of its own.
// A word of "--name=value" has one in any case.
func options(args []string, letters, words string) (rest []string, all []value) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		next := func() (v string) {
			if i+1 < len(args) {
				i++
				v = args[i]
			}
			return v
		}
		switch {
		case arg == "--":
			return append(rest, args[i+1:]...), all
		case strings.HasPrefix(arg, "--"):
			name, v, has := strings.Cut(arg[2:], "=")
			if !has && slices.Contains(strings.Fields(words), name) {
				v = next()
			}
			all = append(all, value{name, v})
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			for j := 1; j < len(arg); j++ {
				if !strings.Contains(letters, arg[j:j+1]) {
					continue
				}
				v := arg[j+1:]
				if v == "" {
					v = next()
				}
				all = append(all, value{arg[j : j+1], v})
				break
			}
		default:
			rest = append(rest, arg)
		}
	}
	return rest, all
}

// split splits options that pg_ctl hands to a shell.
func split(text string) (words []string, err error) {
	for _, m := range word.FindAllStringSubmatch(text, -1) {
		if m[3] != "" {
			return nil, fmt.Errorf("it gives options to a shell: %s", text)
		}
		if w := m[0]; strings.TrimSpace(w) != "" {
			words = append(words, strings.NewReplacer(`"`, "", "'", "").Replace(w))
		}
	}
	return words, nil
}

// word matches a word of plain characters and quotes, space, or a character
// that only a shell can evaluate.
var word = regexp.MustCompile(`((?:[\w%+,./:=@^-]|"[^"$\x60\\]*"|'[^']*')+)|(\s+)|(.)`)
