package engine

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/engine/innodb"
	"bootagent/pkg/engine/mycnf"
	"bootagent/pkg/host"
	"bootagent/pkg/systemd/execstart"
)

// askFamily asks how a server of MySQL or MariaDB is set when these services start
// it.
func askFamily(ctx context.Context, ask Asker, e Engine, services []execstart.Service, p execstart.Program, s mycnf.Server) (host.EngineSettings, error) {
	ways, err := starts(services, p)
	if err != nil {
		return host.EngineSettings{}, err
	}
	if len(services) == 0 {
		ways = []Question{{Argv: p.Names[:1]}}
	}
	run := func(ctx context.Context, argv, env []string, ofProgram bool) ([]byte, error) {
		return ask.Run(ctx, Question{Argv: argv, Env: env, OfProgram: ofProgram})
	}
	return agreed(e.Name(), ways, func(way Question) (host.EngineSettings, error) {
		argv := way.Argv
		if !filepath.IsAbs(argv[0]) {
			server, err := installed(ask, e.Tools()[0].Paths)
			if err != nil {
				return host.EngineSettings{}, fmt.Errorf("cannot ask %s for its settings: %w", s.Title, err)
			}
			argv = append([]string{server}, argv[1:]...)
		}
		return s.Ask(ctx, run, argv, way.Env)
	})
}

const hintInterrupted = "no server has ever started on it; if it is yours, move it away, then: bootagent retry, which makes a new one where the role allows that; " +
	"if data of yours was there, " + hintRestore

// lacking is the report about a directory in which not all needed files are, or
// some are not themselves there. It is false for a whole one.
func (d Dir) lacking(title string, needed []string) (report host.DirectoryReport, lacks bool) {
	missing := slices.DeleteFunc(slices.Clone(needed), d.Has)
	switch {
	case len(d.Names) == 0:
		return host.DirectoryReport{State: host.Foreign, Reason: "it is empty", Hint: "if no data belongs there, remove the empty directory, then: bootagent retry"}, true
	case len(missing) == len(needed) && !d.Has("ibtmp1"):
		return host.DirectoryReport{State: host.Foreign, Reason: fmt.Sprintf("it has %q and no file of %s", slices.Min(d.Names), title), Hint: hintForeign}, true
	case len(missing) > 0:
		return host.DirectoryReport{
			State: host.Damaged, Reason: strings.Join(missing, " and ") + []string{" is", " are"}[min(len(missing)-1, 1)] + " missing", Hint: hintRestore,
		}, true
	}
	for _, name := range needed {
		if wrong := d.Misplaced(name, name == innodb.System || name == innodb.Redo); wrong != "" {
			return host.DirectoryReport{
				State: host.Unfit, Reason: name + " in it " + wrong,
				Hint: "put it there itself, with everything that belongs to it, because bootagent follows no links; or " + hintRestore,
			}, true
		}
	}
	return host.DirectoryReport{}, false
}

// linksMax is how many files of a kind that may be a link are looked at.
const linksMax = 4000

// linked are the links in a directory of MySQL or MariaDB that put data
// elsewhere: databases and files that are symbolic links, data and index files of
// single tables, and link files of InnoDB (NAME.isl, whose text is the path).
func linked(dir Dir) (places []host.Place) {
	looked := 0
	look := func(name string) bool {
		looked++
		target := ""
		if looked <= linksMax {
			target = dir.Link(name)
		}
		if target == "" {
			return false
		}
		from := filepath.Dir(filepath.Join(dir.path, name))
		if path := mycnf.Absolute(from, target); !mycnf.Below(dir.path, path) {
			places = append(places, host.Place{Setting: "the link " + name, Value: target, Path: path})
		}
		return true
	}
	for _, name := range slices.Sorted(slices.Values(dir.Names)) {
		if look(name) || strings.Contains(name, ".") {
			continue // no database has a dot in the name of its directory
		}
		for _, table := range dir.List(name) {
			file := filepath.Join(name, table)
			switch filepath.Ext(table) {
			case ".isl":
				if target := strings.TrimSpace(string(dir.Head(file))); target != "" {
					places = append(places, host.Place{Setting: "the link file " + file, Value: target, Path: mycnf.Absolute(dir.path, target)})
				}
			case ".MYD", ".MYI", ".MAD", ".MAI", ".ibd":
				look(file)
			}
		}
	}
	return places
}

// cutOff tells whether the server was cut off, or runs: InnoDB removes its
// temporary tablespace when it stops cleanly, and makes it anew at each start.
func (d Dir) cutOff(set host.EngineSettings) bool {
	file := set.Values[mycnf.Scratch]
	return file != "" && d.Has(file)
}

// stopped sets how the server last stopped.
func stopped(report *host.DirectoryReport, dir Dir, set host.EngineSettings) {
	switch file := set.Values[mycnf.Scratch]; {
	case file == "":
	case dir.cutOff(set):
		report.LastStop, report.LastStopSays = host.StopUnclean, file+" is there, which the server removes when it stops cleanly"
	default:
		report.LastStop, report.LastStopSays = host.StopClean, file+" is not there, which the server removes when it stops cleanly"
	}
}
