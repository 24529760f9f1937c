package file

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/role/expand"
	"bootagent/pkg/strictyaml"
)

// Form says which expansions a file may have.
const Form = expand.Form + ", ${volume.NAME.id}, ${volume.NAME.tag.KEY}, ${secret.NAME}"

// textMax is how long the text of a file may be before anything is put in, in
// bytes. A role file has at most 64 KiB.
const textMax = 16 << 10

// readText cuts a text at its expansions. A $ that no { follows is text, and $${ is
// the text ${. Nothing else has a meaning: there are no conditions and no functions.
func readText(known Known, text string) (parts Text, err error) {
	if len(text) > textMax {
		return nil, fmt.Errorf("too long: %d bytes; %d are allowed", len(text), textMax)
	}
	literal := ""
	for text != "" {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			literal += text
			break
		}
		if strings.HasSuffix(before, "$") {
			literal, text = literal+before+"{", rest
			continue
		}
		put, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, errors.New("${ without a }; write $${ for the text ${")
		}
		if err := known.check(put); err != nil {
			return nil, err
		}
		if literal += before; literal != "" {
			parts = append(parts, Part{Text: literal})
		}
		literal, text = "", after
		parts = append(parts, Part{Put: put})
	}
	if literal != "" {
		parts = append(parts, Part{Text: literal})
	}
	return parts, nil
}

// Known is what the files of a role may name. Where a list is nil, its section of
// the role file is misspelt, and any name will do.
type Known struct {
	Params  expand.Parameters
	Volumes []string
	Local   []string            // volumes that are not found by EC2
	Secrets []string            //
	For     map[string][]string // by secret, the services that get it
}

// check refuses what nothing can be put in for.
func (k Known) check(put string) error {
	scope, of, what := split(put)
	switch scope {
	case ofVolume:
		return k.checkVolume(of, what)
	case ofSecret:
		if k.Secrets != nil && !slices.Contains(k.Secrets, of) {
			return unknown("secret", of, k.Secrets)
		}
		if what != "" {
			return fmt.Errorf("${%s}: a secret is put in as a whole; write ${secret.%s}", put, of)
		}
		return nil
	case ofParams, "instance":
		return k.Params.Known(put)
	}
	near := strictyaml.DidYouMean(scope, []string{ofParams, "instance", ofVolume, ofSecret})
	if of == "" && slices.Contains(k.Params.Names, scope) {
		near = "; did you mean ${params." + scope + "}?"
	}
	return fmt.Errorf("unknown name %s in ${...}%s (known: %s); write $${ for the text ${", strictyaml.Quote(scope), near, Form)
}

func (k Known) checkVolume(volume, what string) error {
	key, isTag := strings.CutPrefix(what, "tag.")
	switch {
	case k.Volumes != nil && !slices.Contains(k.Volumes, volume):
		return unknown("volume", volume, k.Volumes)
	case slices.Contains(k.Local, volume):
		return fmt.Errorf("volume %q is not found by EC2, so nothing of EC2 is known of it", volume)
	case isTag:
		if err := name.CheckTagKey(key); err != nil {
			return fmt.Errorf("tag %s of volume %q: %w", strictyaml.Quote(key), volume, err)
		}
		return nil
	case what != "id":
		return fmt.Errorf("unknown value %s of volume %q%s (known: id, tag.KEY)", strictyaml.Quote(what), volume,
			strictyaml.DidYouMean(what, []string{"id", "tag"}))
	}
	return nil
}

func unknown(what, name string, known []string) error {
	list := "none"
	if len(known) > 0 {
		list = strings.Join(known, ", ")
	}
	return fmt.Errorf("unknown %s %s%s (%ss of the role: %s)", what, strictyaml.Quote(name), strictyaml.DidYouMean(name, known), what, list)
}

// word is what a value may be that nobody has given a pattern for: nothing in it
// has a meaning in the usual formats of configuration files.
var word = regexp.MustCompile(`^[a-zA-Z0-9._:@+-]*$`)

func checkWord(value string) error {
	if !word.MatchString(value) {
		return errors.New("may have only letters, digits and . _ : @ + -")
	}
	return nil
}

// CheckTag refuses the value of a tag, which everybody chooses who may tag the
// volume, unless it fits its pattern, or else is a word. Its error goes on from the
// name of the tag, and does not quote the value.
func (f File) CheckTag(put, value string) error {
	if err := CheckLine(value); err != nil {
		return err
	}
	pattern, given := f.Patterns[put]
	if !given {
		if value == "" {
			return errors.New("is empty")
		}
		if err := checkWord(value); err != nil {
			return fmt.Errorf("%w, because files.%s has no pattern for ${%s}", err, f.Name, put)
		}
		return nil
	}
	fits, err := regexp.MatchString(`^(?:`+pattern+`)$`, value)
	if err == nil && !fits {
		err = fmt.Errorf("does not match its pattern %s", pattern)
	}
	return err
}

// CheckLine refuses a value that would not stay on its line.
func CheckLine(value string) error {
	if !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("contains a line break or another character that is neither printable nor a space")
	}
	return nil
}

// Quote returns a value as it stands between double quotes in an environment file
// (systemd.exec(5), EnvironmentFile=). A shell reads it in the same way.
func Quote(value string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(value)
}
