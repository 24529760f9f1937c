// Package userdata reads the user-data of an instance, which selects a role
// and its parameters. It touches neither disk nor network.
package userdata

import (
	"bytes"
	"errors"
	"fmt"

	"bootagent/pkg/strictyaml"
)

// A Selection is what the user-data of an instance says: its role, the values
// of the role's parameters, and the disks bound to the role's volumes. Whether
// they fit the role, the role knows (role.Plan).
type Selection struct {
	Role    string
	Params  map[string]string
	Volumes map[string]string // name of the volume: EBS volume ID or serial number

	places map[string]string // of what params and volumes set, by section.name
}

// Place returns where the user-data sets a parameter or a volume, as
// "FILE:LINE:COLUMN". It is "" where the user-data does not; section is params
// or volumes.
func (s Selection) Place(section, name string) string { return s.places[section+"."+name] }

// The user-data of an instance that leaves its role to others: there is none,
// or it is plainly meant for another program, such as cloud-init.
var (
	ErrNone    = errors.New("there is no user-data")
	ErrForeign = errors.New("the user-data is not meant for bootagent")
)

// version is the version of the grammar that is read here.
const version = 1

// mark is the first line of user-data that is meant for bootagent.
const mark = "#bootagent"

// Parse reads user-data: a document whose first line is #bootagent, as it is
// or packed by gzip, or a MIME message with one part of the type
// application/vnd.bootagent+yaml. Where tools wrapped either by mistake, the
// error says what to remove. Errors name the user-data as name.
//
// ErrNone and ErrForeign say that a role may come from elsewhere. All other
// errors are strictyaml.Errors: the user-data is meant for bootagent, or seems
// to be, and is broken, so no other role may be taken in its place. Errors
// quote keys and the name of the role, and no other value, since what people
// put into user-data may be secret.
func Parse(name string, raw []byte) (Selection, error) {
	text, err := unpack(name, raw)
	if err != nil {
		return Selection{}, err
	}
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return Selection{}, ErrNone
	case firstLine(text) == mark:
		return decode(name, text)
	}
	s := &search{name: name}
	part, err := s.findPart(text)
	switch {
	case err != nil:
		return Selection{}, err
	case part != nil:
		return decodePart(part)
	}
	var layers []string
	if isGzip(raw) {
		layers = []string{"gzip"}
	}
	if err := s.hidden(text, layers); err != nil {
		return Selection{}, err
	}
	if err := strayHeader(name, text); err != nil {
		return Selection{}, err
	}
	switch {
	case s.refused != nil:
		return Selection{}, s.refused
	case onlyTag.Match(text):
		return Selection{}, broken(name, 1, unrendered)
	}
	return Selection{}, ErrForeign
}

// decodePart reads our part of a message, which may lack our first line.
func decodePart(p *part) (Selection, error) {
	text, err := unpack(p.name, p.text)
	if err != nil {
		return Selection{}, err
	}
	selected, err := decode(p.name, text)
	if err != nil && firstLine(text) != mark {
		var layers []string
		if isGzip(p.text) {
			layers = []string{"gzip"}
		}
		s := &search{name: p.name}
		if wrapped := s.unwrap(text, layers); wrapped != nil {
			return Selection{}, wrapped
		}
	}
	return selected, err
}

func decode(name string, text []byte) (Selection, error) {
	if err := findTags(name, text); err != nil {
		return Selection{}, err
	}
	doc := strictyaml.Parse(name, text)
	root := doc.Root("the user-data")
	s := Selection{places: make(map[string]string)}
	texts := func(section, example string) map[string]string {
		values := make(map[string]string)
		for _, e := range root.Take(section).Example(example).Map(section).Entries() {
			key, _ := e.Key.Name()
			values[key], _ = e.Value.Text()
			line, column := e.Value.Place()
			s.places[section+"."+key] = fmt.Sprintf("%s:%d:%d", name, line, column)
		}
		return values
	}
	if root.Version(version) {
		s.Role, _ = root.Need("role").Name()
		s.Params = texts("params", "params: {cluster: orders}")
		s.Volumes = texts("volumes", "volumes: {data: vol-0123456789abcdef0}")
		root.Done()
	}
	if err := doc.Err(); err != nil {
		return Selection{}, err
	}
	return s, nil
}
