// Package file knows how a role file declares the small configuration files that
// the agent writes for services: from a text with expansions, or as variables of an
// environment file. It writes no file.
package file

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"bootagent/pkg/role/expand"
)

// Dir is the directory of the machine in which the files are.
const Dir = "/run/bootagent/files"

// A File is one file that services need. In a Plan, the values of the parameters
// and of the instance are put in; those of volumes and secrets are not.
type File struct {
	Name     string            `json:"name"`
	Content  Text              `json:"content,omitempty"` // nil where it has variables
	Env      []Variable        `json:"env,omitempty"`     // sorted by name
	Owner    string            `json:"owner"`             // user name
	Group    string            `json:"group,omitempty"`   // name; "" is the group of the owner
	Mode     Mode              `json:"mode"`
	Services []string          `json:"services"`           // units of services of the role
	Patterns map[string]string `json:"patterns,omitempty"` // for values of tags, by what is put in
}

// A Variable is one of an environment file.
type Variable struct {
	Name  string `json:"name"`
	Value Text   `json:"value"`
}

// A Text is a sequence of parts.
type Text []Part

// A Part is some text as it is, or the name of what is put in:
// "volume.data.tag.server-id" for ${volume.data.tag.server-id}.
type Part struct {
	Text string `json:"text,omitempty"`
	Put  string `json:"put,omitempty"`
}

// Mode says who may read a file. Nobody but the agent writes one.
type Mode string

// The modes of files: All by everybody, OfGroup by the owner and the group,
// OfOwner by the owner alone.
const (
	All     Mode = "0444"
	OfGroup Mode = "0440"
	OfOwner Mode = "0400"
)

// with adds a part. Texts that follow each other are one part.
func (t Text) with(part Part) Text {
	if last := len(t) - 1; last >= 0 && part.Put == "" && t[last].Put == "" {
		t[last].Text += part.Text
		return t
	}
	return append(t, part)
}

// String returns the text as a role file has it.
func (t Text) String() string {
	var b strings.Builder
	for _, part := range t {
		if part.Put != "" {
			b.WriteString("${" + part.Put + "}")
		}
		b.WriteString(strings.ReplaceAll(part.Text, "${", "$${"))
	}
	return b.String()
}

// Path returns where the file is on the machine.
func (f File) Path() string { return Dir + "/" + f.Name }

// Puts lists what is put into the file, sorted.
func (f File) Puts() (puts []string) {
	for _, text := range f.texts() {
		for _, part := range text {
			if part.Put != "" {
				puts = append(puts, part.Put)
			}
		}
	}
	slices.Sort(puts)
	return slices.Compact(puts)
}

func (f File) texts() []Text {
	texts := []Text{f.Content}
	for _, v := range f.Env {
		texts = append(texts, v.Value)
	}
	return texts
}

// Volumes names the volumes of which a value is put in, sorted.
func (f File) Volumes() []string { return f.named(ofVolume) }

// Secrets names the secrets that are put in, sorted.
func (f File) Secrets() []string { return f.named(ofSecret) }

func (f File) named(scope string) (names []string) {
	for _, put := range f.Puts() {
		if of, name, _ := split(put); of == scope {
			names = append(names, name)
		}
	}
	return slices.Compact(names)
}

// The scopes of what only the machine itself can put in.
const (
	ofVolume = "volume"
	ofSecret = "secret"
)

// OfVolume returns the volume of which a value is put in, and the key of the tag,
// which is "" for the ID of the volume.
func (p Part) OfVolume() (volume, tag string, is bool) {
	scope, name, what := split(p.Put)
	tag, _ = strings.CutPrefix(what, "tag.")
	if what == "id" {
		tag = ""
	}
	return name, tag, scope == ofVolume
}

// OfSecret returns the name of the secret that is put in.
func (p Part) OfSecret() (name string, is bool) {
	scope, name, _ := split(p.Put)
	return name, scope == ofSecret
}

// split cuts what is put in: volume, data, tag.server-id.
func split(put string) (scope, name, what string) {
	scope, rest, _ := strings.Cut(put, ".")
	name, what, _ = strings.Cut(rest, ".")
	return scope, name, what
}

// Expand returns the file with the values of the parameters and of the instance.
// Patterned says which parameters have a pattern of their own; the value of any
// other has to be a word.
func (f File) Expand(known expand.Values, patterned func(param string) bool) (File, error) {
	put := func(text Text) (expanded Text, err error) {
		for _, part := range text {
			scope, name, _ := split(part.Put)
			if part.Put == "" || scope == ofVolume || scope == ofSecret {
				expanded = expanded.with(part)
				continue
			}
			value, err := known.Of(part.Put)
			if err == nil && !(scope == ofParams && patterned(name)) {
				err = checkWord(value)
				if err != nil {
					err = fmt.Errorf("${%s}: the value %w; give the parameter a pattern that allows it", part.Put, err)
				}
			}
			if err != nil {
				return nil, err
			}
			expanded = expanded.with(Part{Text: value})
		}
		return expanded, nil
	}
	f.Services, f.Patterns, f.Env = slices.Clone(f.Services), maps.Clone(f.Patterns), slices.Clone(f.Env)
	var err error
	if f.Content, err = put(f.Content); err != nil {
		return f, err
	}
	for i := range f.Env {
		if f.Env[i].Value, err = put(f.Env[i].Value); err != nil {
			return f, err
		}
	}
	return f, nil
}

const ofParams = "params"
