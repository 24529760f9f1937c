// Package directory knows how a role file declares a data directory. It looks at
// none.
package directory

import (
	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
)

// Data is one data directory: a directory of a volume, bound onto the path
// where its engine looks for it.
type Data struct {
	Name     string   `json:"name"`
	Volume   string   `json:"volume"`         // name of the volume
	Dir      string   `json:"dir"`            // directory below the volume's root, one path element, or Root
	Bind     string   `json:"bind"`           // absolute, clean path where the engine expects it; "" with Auto, as long as the engine was not asked
	Auto     bool     `json:"auto,omitempty"` // bind is where the engine says that it keeps its data
	Engine   Engine   `json:"engine"`
	Plain    bool     `json:"plain,omitempty"` // the engine is a service that keeps any files
	Owner    string   `json:"owner"`           // user name
	Group    string   `json:"group,omitempty"` // group name; "" is the owner's own where the directory is made, and any where it is there
	Mode     string   `json:"mode,omitempty"`  // octal digits; "" is 0700 where the directory is made, and any where it is there
	IfAbsent IfAbsent `json:"if-absent"`
	CopyFrom string   `json:"copy-from,omitempty"` // directory of the image, with Copy
	Beside   []string `json:"beside,omitempty"`    // former data of the volume, beside which it may be initialised
}

// auto is the bind that is where the engine says that it keeps its data.
const auto = "auto"

// Root is the dir of data that has its whole volume.
const Root = "."

// Engine is the name of a database engine, one of those of the Grammar.
type Engine string

// IfAbsent says what to do where a volume has no such data directory yet.
type IfAbsent string

// Fail, the default, makes its absence an error. The others apply to a filesystem
// that never held this data: Initialize has the engine make a new, empty database,
// Copy copies a directory of the image, Wait waits for a person who copies it.
const (
	Fail       IfAbsent = "fail"
	Initialize IfAbsent = "initialize"
	Copy       IfAbsent = "copy"
	Wait       IfAbsent = "wait"
)

// A File is what the role file around a data directory knows.
type File struct {
	Engines []string // the words for engines; none for any
	Plain   []string // those of them that keep any files

	Volume func(r key.Reader) string       // reads the name of a volume of the file
	Bind   func(r key.Reader, path string) // takes note of where something is bound, or refuses it
	Taken  map[string]string               // volume and directory, and whose it is
}

// Kind is the kind of a data directory.
func Kind(names, example string) key.Kind {
	return key.Kind{Type: key.Map, Names: names, Entry: &key.Kind{Type: key.Object, Keys: keys.Keys()}, Example: example}
}

// Read reads one data directory.
func Read(f *File, e strictyaml.Entry) Data {
	d := reading{Data: Data{IfAbsent: Fail}}
	d.Name, _ = e.Key.Name()
	what := "data " + strictyaml.Quote(e.Key.String())
	keys.Decode(f, e.Value, what, &d)
	d.together(what)
	return d.Data
}
