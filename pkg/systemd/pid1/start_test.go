package pid1

import (
	"reflect"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"bootagent/pkg/systemd/execstart"
	"bootagent/pkg/systemd/pid1/pid1test"
)

// toldEx is how the bus tells an entry of ExecStartEx, and toldFile one of
// EnvironmentFiles, and toldTemporary one of TemporaryFileSystem.
type (
	toldEx struct {
		Path             string
		Argv, Flags      []string
		Start, MonoStart uint64
		Exit, MonoExit   uint64
		PID              uint32
		Code, Status     int32
	}
	toldFile struct {
		Path     string
		Optional bool
	}
	toldTemporary struct{ Path, Options string }
)

func TestHowAServiceIsStartedIsWhatSystemdHasLoaded(t *testing.T) {
	p, c := newConn(t)
	p.Environment = []string{"LANG=C", `MYSQLD_OPTS=--a "b c" --d`}
	p.Units["mariadb@a.service"] = &pid1test.Unit{Active: "inactive", Props: map[string]godbus.Variant{
		"ExecStartEx": godbus.MakeVariant([]toldEx{
			{Path: "/usr/sbin/mariadbd", Argv: []string{"mariadbd", "$MYSQLD_MULTI_INSTANCE"}},
			{Path: "/bin/true", Argv: []string{"/bin/true", "$X"}, Flags: []string{"no-env-expand", "ignore-failure"}},
		}),
		"Environment":      godbus.MakeVariant([]string{"MYSQLD_MULTI_INSTANCE=--defaults-group-suffix=.a"}),
		"EnvironmentFiles": godbus.MakeVariant([]toldFile{{"/run/mysqld/wsrep-new-cluster", true}, {"/etc/default/mariadb", false}}),
		"UnsetEnvironment": godbus.MakeVariant([]string{"LANG"}),
		"RootDirectory":    godbus.MakeVariant("/srv/root"),
		"WorkingDirectory": godbus.MakeVariant("!/srv"), "ProtectSystem": godbus.MakeVariant("strict"), "ProtectHome": godbus.MakeVariant("read-only"),
		"PrivateTmp": godbus.MakeVariant(true), "ReadWritePaths": godbus.MakeVariant([]string{"-/var/lib/redis"}),
		"ReadOnlyPaths": godbus.MakeVariant([]string{"/a"}), "InaccessiblePaths": godbus.MakeVariant([]string{"/b"}),
		"TemporaryFileSystem": godbus.MakeVariant([]toldTemporary{{"/c", "ro"}}), "StateDirectory": godbus.MakeVariant([]string{"d"}),
	}}
	got, err := c.StartOf(t.Context(), "mariadb@a.service")
	ok(t, err)
	want := execstart.Service{
		Unit: "mariadb@a.service",
		Commands: []execstart.Exec{
			{Path: "/usr/sbin/mariadbd", Argv: []string{"mariadbd", "$MYSQLD_MULTI_INSTANCE"}},
			{Path: "/bin/true", Argv: []string{"/bin/true", "$X"}, Literal: true},
		},
		Environment:      []string{"LANG=C", `MYSQLD_OPTS=--a "b c" --d`, "MYSQLD_MULTI_INSTANCE=--defaults-group-suffix=.a"},
		EnvironmentFiles: []string{"/run/mysqld/wsrep-new-cluster", "/etc/default/mariadb"},
		Unset:            []string{"LANG"},
		Root:             "/srv/root", WorkingDirectory: "!/srv",
		Sandbox: execstart.Sandbox{
			ProtectSystem: "strict", ProtectHome: "read-only", PrivateTmp: true, ReadWrite: []string{"-/var/lib/redis"},
			ReadOnly: []string{"/a"}, Inaccessible: []string{"/b"}, Temporary: []string{"/c"}, State: []string{"d"},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAServiceThatIsNotThereHasNoCommands(t *testing.T) {
	_, c := newConn(t)
	if got, err := c.StartOf(t.Context(), "mariadb.service"); err != nil || len(got.Commands) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}
