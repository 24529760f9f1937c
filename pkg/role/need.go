package role

import (
	"slices"
	"strings"

	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
)

// A Need names a volume, a data directory, a secret or a file of the same role.
type Need struct {
	Kind NeedKind `json:"kind"`
	Name string   `json:"name"`
}

// String returns a need as a role file writes it: "data.mysql".
func (n Need) String() string { return string(n.Kind) + "." + n.Name }

// NeedKind is the kind of thing that a service can need.
type NeedKind string

// The kinds of things that a service can need.
const (
	KindVolume NeedKind = "volume"
	KindData   NeedKind = "data"
	KindSecret NeedKind = "secret"
	KindFile   NeedKind = "file"
)

// needSections are the keys of the file whose names a service can need.
var needSections = []struct {
	kind    NeedKind
	section string
}{{KindVolume, "volumes"}, {KindData, "data"}, {KindSecret, "secrets"}, {KindFile, "files"}}

// needWords are all words that a service can need.
func (d *reading) needWords() (words []string, lost bool) {
	for _, s := range needSections {
		lost = lost || d.lost(s.section)
		for _, name := range d.known[s.section] {
			words = append(words, Need{s.kind, name}.String())
		}
	}
	return words, lost
}

func parseNeed(word string) Need {
	kind, name, _ := strings.Cut(word, ".")
	return Need{NeedKind(kind), name}
}

// readNeeds reads what a service says that it needs.
func (d *reading) readNeeds(r key.Reader) (needs []Need) {
	words, lost := d.needWords()
	list, _ := r.List()
	for _, entry := range list {
		if lost && !slices.Contains(words, entry.String()) {
			continue // the section that would declare it is misspelt
		}
		word, ok := "", false
		if len(words) > 0 {
			word, ok = entry.OneOf(words...)
		} else if word, is := entry.TextOf("what the service needs"); is {
			entry.Failf("%s can't need %s: the role has no volumes, data, secrets or files", r.What, strictyaml.Quote(word))
		}
		need := parseNeed(word)
		if ok && slices.Contains(needs, need) {
			entry.Failf("%s needs %s twice", r.What, word)
		}
		needs = append(needs, need)
	}
	return needs
}

// allNeeds are what a service needs: what it says, or else all volumes and data
// of the role; the volume of the data that it needs, since the service has to
// stop when either goes; and the secrets and files that are for it, whatever it
// says, since it can't start without them.
func (d *reading) allNeeds(s servicing) []Need {
	needs := s.Needs
	if words, _ := d.needWords(); !s.chosen {
		for _, word := range words {
			if need := parseNeed(word); need.Kind == KindVolume || need.Kind == KindData {
				needs = append(needs, need)
			}
		}
	}
	for _, data := range d.role.Data {
		if slices.Contains(needs, Need{KindData, data.Name}) {
			needs = append(needs, Need{KindVolume, data.Volume})
		}
	}
	for _, secret := range d.role.Secrets {
		if slices.Contains(secret.Services, s.Unit) {
			needs = append(needs, Need{KindSecret, secret.Name})
		}
	}
	for _, file := range d.role.Files {
		if slices.Contains(file.Services, s.Unit) {
			needs = append(needs, Need{KindFile, file.Name})
		}
	}
	slices.SortFunc(needs, func(a, b Need) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(needs)
}

// ServicesOf returns the services of the plan that need some data.
func (p *Plan) ServicesOf(data string) (units []string) {
	for _, s := range p.Services {
		if slices.Contains(s.Needs, Need{KindData, data}) {
			units = append(units, s.Unit)
		}
	}
	return units
}

// MountsOf returns the mount points of the volumes and data that a service of the plan
// stands on, sorted.
func (p *Plan) MountsOf(unit string) (at []string) {
	i := slices.IndexFunc(p.Services, func(s Service) bool { return s.Unit == unit })
	if i < 0 {
		return nil
	}
	needs := slices.Clone(p.Services[i].Needs)
	for _, d := range p.Data {
		if slices.Contains(needs, Need{KindData, d.Name}) {
			at, needs = append(at, d.Bind), append(needs, Need{KindVolume, d.Volume})
		}
	}
	for _, v := range p.Volumes {
		if slices.Contains(needs, Need{KindVolume, v.Name}) {
			at = append(at, v.Mount)
		}
	}
	slices.Sort(at)
	return slices.Compact(at)
}
