package systemd

import (
	"context"
	"fmt"
	"slices"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// A Start is how systemd starts a service, as it has loaded it: with its
// drop-ins, and with specifiers put in, but not variables.
type Start struct {
	Commands         []Exec   // ExecStart=
	Environment      []string // that of all services, and Environment=
	EnvironmentFiles []string // EnvironmentFile=: paths, or patterns of them
	Unset            []string // UnsetEnvironment=
	Root             string   // RootDirectory= or RootImage=, or ""
}

// An Exec is one command of a service.
type Exec struct {
	Path    string
	Argv    []string // with argv[0]
	Literal bool     // no variable is put in
}

// StartOf returns how a service is started.
func (m *Manager) StartOf(ctx context.Context, unit string) (Start, error) {
	s, err := m.startOf(ctx, unit)
	if err != nil {
		return s, fmt.Errorf("cannot ask systemd how %s is started: %w", unit, err)
	}
	return s, nil
}

func (m *Manager) startOf(ctx context.Context, unit string) (s Start, err error) {
	conn, err := m.connection()
	if err != nil {
		return s, err
	}
	if s.Environment, err = managerEnvironment(ctx, conn); err != nil {
		return s, err
	}
	for _, p := range []struct {
		name string
		take func(v any)
	}{
		{"ExecStartEx", func(v any) { s.Commands = execs(v) }},
		{"Environment", func(v any) { s.Environment = slices.Concat(s.Environment, words(v)) }},
		{"EnvironmentFiles", func(v any) { s.EnvironmentFiles = firsts(v) }},
		{"UnsetEnvironment", func(v any) { s.Unset = words(v) }},
		{"RootDirectory", func(v any) { s.Root += text(v) }},
		{"RootImage", func(v any) { s.Root += text(v) }},
	} {
		var got *dbus.Property
		if got, err = conn.GetServicePropertyContext(ctx, unit, p.name); err != nil {
			return s, err
		}
		p.take(got.Value.Value())
	}
	return s, nil
}

// managerEnvironment is what all services are given: DefaultEnvironment= and
// what systemctl set-environment added.
func managerEnvironment(ctx context.Context, conn *bus) ([]string, error) {
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() { // the call takes no context
		text, err := conn.GetManagerProperty("Environment")
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		if a.err != nil {
			return nil, a.err
		}
		v, err := godbus.ParseVariant(a.text, godbus.Signature{})
		return words(v.Value()), err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func words(v any) []string {
	list, _ := v.([]string)
	return list
}

// firsts are the texts that the entries of a list begin with.
func firsts(v any) (all []string) {
	list, _ := v.([][]any)
	for _, entry := range list {
		if len(entry) > 0 {
			all = append(all, text(entry[0]))
		}
	}
	return all
}

// execs reads an ExecStartEx, a(sasasttttuii): the path, the arguments, and
// what is written before the path, in words.
func execs(v any) (all []Exec) {
	list, _ := v.([][]any)
	for _, entry := range list {
		if len(entry) < 3 {
			continue
		}
		all = append(all, Exec{
			Path: text(entry[0]), Argv: words(entry[1]),
			Literal: slices.Contains(words(entry[2]), "no-env-expand"),
		})
	}
	return all
}
