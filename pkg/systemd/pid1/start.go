package pid1

import (
	"context"
	"fmt"
	"slices"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"bootagent/pkg/systemd/execstart"
)

// StartOf returns how systemd starts a service. It does not read the files of
// EnvironmentFile=.
func (c *Conn) StartOf(ctx context.Context, unit string) (execstart.Service, error) {
	s, err := c.startOf(ctx, unit)
	if err != nil {
		return s, fmt.Errorf("cannot ask systemd how %s is started: %w", unit, err)
	}
	return s, nil
}

// UserOf returns the User= of a service, or "" where it has none.
func (c *Conn) UserOf(ctx context.Context, unit string) (string, error) {
	p, err := c.properties(ctx, unit, "User")
	if err != nil {
		return "", fmt.Errorf("cannot ask systemd which user %s runs as: %w", unit, err)
	}
	return text(p["User"]), nil
}

func (c *Conn) startOf(ctx context.Context, unit string) (s execstart.Service, err error) {
	s.Unit = unit
	conn, err := c.connection()
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
		{"WorkingDirectory", func(v any) { s.WorkingDirectory = text(v) }},
		{"ProtectSystem", func(v any) { s.Sandbox.ProtectSystem = text(v) }},
		{"ProtectHome", func(v any) { s.Sandbox.ProtectHome = text(v) }},
		{"PrivateTmp", func(v any) { s.Sandbox.PrivateTmp = v == true }},
		{"ReadWritePaths", func(v any) { s.Sandbox.ReadWrite = words(v) }},
		{"ReadOnlyPaths", func(v any) { s.Sandbox.ReadOnly = words(v) }},
		{"InaccessiblePaths", func(v any) { s.Sandbox.Inaccessible = words(v) }},
		{"TemporaryFileSystem", func(v any) { s.Sandbox.Temporary = firsts(v) }},
		{"StateDirectory", func(v any) { s.Sandbox.State = words(v) }},
	} {
		var got *dbus.Property
		if got, err = conn.GetServicePropertyContext(ctx, unit, p.name); err != nil {
			return s, err
		}
		p.take(got.Value.Value())
	}
	return s, nil
}

// managerEnvironment returns the environment of all services: DefaultEnvironment=
// and what systemctl set-environment added.
func managerEnvironment(ctx context.Context, conn *bus) ([]string, error) {
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() { // this call takes no context
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

// firsts returns the first text of each entry of a list.
func firsts(v any) (all []string) {
	list, _ := v.([][]any)
	for _, entry := range list {
		if len(entry) > 0 {
			all = append(all, text(entry[0]))
		}
	}
	return all
}

// execs reads an ExecStartEx, which is a(sasasttttuii) on the bus: the path, the
// arguments, the names of the prefixes, and times.
func execs(v any) (all []execstart.Exec) {
	list, _ := v.([][]any)
	for _, entry := range list {
		if len(entry) < 3 {
			continue
		}
		all = append(all, execstart.Exec{
			Path: text(entry[0]), Argv: words(entry[1]),
			Literal: slices.Contains(words(entry[2]), "no-env-expand"),
		})
	}
	return all
}
