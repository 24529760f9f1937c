package secret

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"bootagent/pkg/strictyaml"
)

// providerKinds lists the kinds of key providers. Each has a file of its own. A
// new kind is a file and one line here.
var providerKinds = []providerKind{
	operatorKind,
	fileKind,
	commandKind,
}

// A providerKind is one kind of key provider. agent.yaml lists a provider under
// keys: as the name alone, or as a map from the name to what the provider needs.
type providerKind struct {
	name string
	form string // how agent.yaml writes it, as errors and the reference show it

	// read reads what stands beside the name. It returns nothing where that is
	// wrong, and does not quote it: it may be a key. A kind whose name stands
	// alone has no read.
	read func(v strictyaml.Value) (args []string)

	// provider returns the provider for what read returned.
	provider func(args []string, run Run) Provider

	// What guard check looks for in an image: a file with a key, which must not be
	// there, and a program, which must. Nil is for kinds that have none.
	keyFile, program func(args []string) (path string)
}

// A Provider is one place that age identities come from.
type Provider interface {
	// Provide adds age identities to those that are here, and returns their
	// recipients. *fault.Pending says that a person has to bring one; another
	// error says why there is none now, and may be gone at the next call.
	Provide(ctx context.Context, keys *Keys) (recipients []string, err error)
}

// A ProviderConfig is one provider as agent.yaml lists it.
type ProviderConfig struct {
	Kind string   // its name: "file"
	Args []string // what stands beside the name: a path, or a program and its arguments
}

// KeyFile is the path of the file with the key of a provider, or "".
func (c ProviderConfig) KeyFile() string {
	return c.path(func(k providerKind) func([]string) string { return k.keyFile })
}

// Program is the path of the program that a provider runs, or "".
func (c ProviderConfig) Program() string {
	return c.path(func(k providerKind) func([]string) string { return k.program })
}

// path returns a path that the kind of a provider knows, or "".
func (c ProviderConfig) path(of func(providerKind) func(args []string) string) string {
	for _, kind := range providerKinds {
		if path := of(kind); kind.name == c.Kind && path != nil {
			return path(c.Args)
		}
	}
	return ""
}

// Run runs a program and returns what it prints. Its error has what the program
// wrote to standard error, and nothing of what it printed.
type Run func(ctx context.Context, argv []string) (stdout []byte, err error)

// DefaultProviders are those of an agent.yaml without keys: a person.
func DefaultProviders() []ProviderConfig { return []ProviderConfig{{Kind: operatorKind.name}} }

// Providers returns the providers that agent.yaml lists, in its order.
func Providers(listed []ProviderConfig, run Run) (all []Provider) {
	for _, config := range listed {
		for _, kind := range providerKinds {
			if kind.name == config.Kind {
				all = append(all, kind.provider(config.Args, run))
			}
		}
	}
	return all
}

// ReadProviders reads the list of providers in agent.yaml. Its mistakes are told
// to the document of the value.
func ReadProviders(v strictyaml.Value) (listed []ProviderConfig) {
	list, ok := v.List()
	if ok && len(list) == 0 {
		v.Failf(`"keys" in the settings has no source; leave the key out for [operator]`)
	}
	for _, entry := range list {
		config := readProvider(entry)
		if config.Kind == "" {
			continue
		}
		if slices.ContainsFunc(listed, func(c ProviderConfig) bool { return reflect.DeepEqual(c, config) }) {
			entry.Failf("duplicate source of keys")
		}
		listed = append(listed, config)
	}
	return listed
}

// readProvider reads one provider. Its errors do not quote what stands there
// instead of one: it may be a key.
func readProvider(v strictyaml.Value) (config ProviderConfig) {
	if word := v.String(); word != "" {
		var words []string
		for _, kind := range providerKinds {
			if kind.read != nil {
				continue
			}
			if kind.name == word {
				return ProviderConfig{Kind: word}
			}
			words = append(words, kind.name)
		}
		v.Failf("a source of keys must be %s%s", providerForms(), strictyaml.DidYouMean(word, words))
		return config
	}
	source := v.Map("a source of keys")
	var given []strictyaml.Value
	var of providerKind
	for _, kind := range providerKinds {
		if kind.read == nil {
			continue
		}
		if value := source.Take(kind.name); value.Given() {
			given, of = append(given, value), kind
		}
	}
	source.Done()
	if len(given) != 1 {
		v.Failf("a source of keys must be one of %s", providerForms())
		return config
	}
	if args := of.read(given[0]); len(args) > 0 {
		config = ProviderConfig{of.name, args}
	}
	return config
}

// providerForms says what a provider may be: "operator or {file: /path}".
func providerForms() string {
	var forms []string
	for _, kind := range providerKinds {
		forms = append(forms, kind.form)
	}
	last := len(forms) - 1
	return strings.Join(forms[:last], ", ") + " or " + forms[last]
}
