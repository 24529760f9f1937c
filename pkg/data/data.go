// Package data brings up the data directories of a plan: it asks the engine of each
// where it looks for its data, checks what the directory on the volume holds, has
// the engine make a new database where that is allowed, and binds the directory
// onto the path where the engine looks for it.
//
// Each directory adds three steps to the graph of a boot. The package reads and
// changes nothing itself: it asks the interfaces of package host. It knows the
// names of services, and nothing else of them.
package data

import (
	"path/filepath"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/storage"
)

// A Config is what a data directory needs to know of the boot that it is part of.
type Config struct {
	Graph    *graph.Graph // gets the steps
	Host     host.Host
	Volume   *storage.Volume // that it is on
	OnVolume []string        // the names of all data that the plan has on that volume
	Services []string        // the units that need it; one of them starts the engine
	Files    []*graph.Step   // that write the files of these services, which the engine may read
}

// A Directory is one data directory of a plan on its way to its engine.
type Directory struct {
	role.Data
	host     host.Host
	volume   *storage.Volume
	onVolume []string
	services []string
	there    *graph.Step         // the last step
	set      host.EngineSettings // what askEngine was told
}

// Add adds the steps of a data directory to a graph.
func Add(c Config, plan role.Data) *Directory {
	d := &Directory{Data: plan, host: c.Host, volume: c.Volume, onVolume: c.OnVolume, services: c.Services}
	name := "data " + d.Name + ": "
	engine := c.Graph.Add(name+"engine", d.askEngine, c.Files...).Within(d.volume.Timeout)
	directory := c.Graph.Add(name+"directory", d.directory, engine, d.volume.Ready())
	d.there = c.Graph.Add(name+"bind", d.bind, directory)
	d.volume.Include(directory, d.there)
	return d
}

// There is the step that is done when the engine can use the directory.
func (d *Directory) There() *graph.Step { return d.there }

// On is the volume of the directory.
func (d *Directory) On() *storage.Volume { return d.volume }

// path is where the data directory is on its volume.
func (d *Directory) path() string { return filepath.Join(d.volume.Mount, d.Dir) }

// at is what the host is asked about the data, for one directory of it.
func (d *Directory) at(dir string) host.Data {
	return host.Data{Name: d.Name, Engine: string(d.Engine), Owner: d.Owner, Dir: dir}
}
