package pgstart

import (
	"errors"
	"strings"
	"testing"

	"bootagent/pkg/systemd/execstart"
)

func exec(path string, args ...string) []execstart.Exec {
	return []execstart.Exec{{Path: path, Argv: append([]string{path}, args...)}}
}

func TestHowAServiceStartsPostgreSQL(t *testing.T) {
	const debian = "/usr/lib/postgresql/15/bin/postgres|/usr/pgsql-15/bin/postgres -D /etc/postgresql/15/main -c config_file=/etc/postgresql/15/main/postgresql.conf"
	for name, c := range map[string]struct {
		commands []execstart.Exec
		env      []string
		want     string // the servers and the options, or what is unclear
		dir      string // of its configuration
	}{
		"Debian's":                   {exec("/usr/bin/pg_ctlcluster", "--skip-systemctl-redirect", "15-main", "start"), nil, debian, "/etc/postgresql/15/main"},
		"Debian's, by hand":          {exec("/usr/bin/pg_ctlcluster", "15", "main", "start"), nil, debian, "/etc/postgresql/15/main"},
		"Debian's, with options":     {exec("/usr/bin/pg_ctlcluster", "-o", "-c port=5433 -c 'data_directory=/srv/my data'", "start", "15/main"), nil, debian + " -c port=5433 -c data_directory=/srv/my data", "/etc/postgresql/15/main"},
		"Debian's, in another place": {exec("/usr/bin/pg_ctlcluster", "--bindir=/opt/pg/bin", "15", "main", "start"), nil, strings.Replace(debian, "/usr/lib/postgresql/15/bin/postgres|/usr/pgsql-15/bin", "/opt/pg/bin", 1), "/etc/postgresql/15/main"},
		"Debian's, of an old one":    {exec("/usr/bin/pg_ctlcluster", "9.6-a-b", "start"), nil, "/usr/lib/postgresql/9.6/bin/postgres|/usr/pgsql-9.6/bin/postgres -D /etc/postgresql/9.6/a-b -c config_file=/etc/postgresql/9.6/a-b/postgresql.conf", "/etc/postgresql/9.6/a-b"},
		"Red Hat's":                  {exec("/usr/bin/postmaster", "-D", "${PGDATA}"), []string{"PGDATA=/var/lib/pgsql/data"}, "/usr/bin/postmaster -D /var/lib/pgsql/data", "/var/lib/pgsql/data"},
		"of postgresql.org, for it":  {exec("/usr/pgsql-15/bin/postgres", "-D", "${PGDATA}"), []string{"PGDATA=/var/lib/pgsql/15/data/"}, "/usr/pgsql-15/bin/postgres -D /var/lib/pgsql/15/data/", "/var/lib/pgsql/15/data/"},
		"without options":            {exec("/usr/bin/postgres"), []string{"PGDATA=/a", "PGDATA=/b"}, "/usr/bin/postgres", "/b"},
		"by pg_ctl":                  {exec("/usr/bin/pg_ctl", "start", "-D", "${PGDATA}", "-s", "-o", "-p ${PGPORT} -c 'config_file=/etc/pg/x.conf'", "-w", "-t", "300"), []string{"PGDATA=/d", "PGPORT=5432"}, "/usr/bin/postgres -D /d -p 5432 -c config_file=/etc/pg/x.conf", "/d"},
		"by pg_ctl, in long":         {exec("/usr/bin/pg_ctl", "--pgdata=/d", "--options", "-F", "--wait", "--log", "/x", "start"), nil, "/usr/bin/postgres -D /d -F", "/d"},
		"by pg_ctl, another server":  {exec("/usr/bin/pg_ctl", "-D/d", "-p", "/opt/pg/bin/postgres", "start"), nil, "/opt/pg/bin/postgres -D /d", "/d"},
		"by a script":                {exec("/bin/sh", "-c", "exec /usr/bin/postgres -D $D --config-file=/etc/x.conf"), []string{"D=/d"}, "/usr/bin/postgres -D /d --config-file=/etc/x.conf", "/d"},
		"a reload":                   {exec("/usr/bin/pg_ctl", "reload", "-D", "/d"), nil, "it runs pg_ctl reload", ""},
		"a stop":                     {exec("/usr/bin/pg_ctlcluster", "15-main", "stop"), nil, "it runs pg_ctlcluster 15-main stop", ""},
		"a shell's work":             {exec("/usr/bin/pg_ctl", "start", "-o", "-c x=$(hostname)"), nil, "it gives options to a shell: -c x=$(hostname)", ""},
		"Debian's umbrella":          {exec("/bin/true"), nil, "it starts nothing itself; name the unit of the cluster in the role file, such as postgresql@15-main.service", ""},
		"a wrapper":                  {exec("/usr/local/bin/run", "/usr/bin/postgres"), nil, "it runs /usr/local/bin/run, which may start postgres with other arguments", ""},
		"not installed":              {nil, nil, "it has no ExecStart=; is the package of the engine installed", ""},
	} {
		ways, err := Of([]execstart.Service{{Unit: "postgresql.service", Commands: c.commands, Environment: c.env}})
		if err != nil {
			e := (*execstart.UnclearError)(nil)
			if !errors.As(err, &e) || !strings.Contains(err.Error(), "with which arguments postgresql.service starts p") || !strings.Contains(err.Error(), ": "+c.want) || e.Hint() == "" {
				t.Errorf("%s: got %v; want %s", name, err, c.want)
			}
			continue
		}
		if len(ways) != 1 {
			t.Errorf("%s: got %+v", name, ways)
			continue
		}
		got := strings.TrimSpace(strings.Join(ways[0].Servers, "|") + " " + strings.Join(ways[0].Options, " "))
		if dir, _ := ways[0].Directory(); got != c.want || dir != c.dir {
			t.Errorf("%s:\ngot  %s (%s)\nwant %s (%s)", name, got, dir, c.want, c.dir)
		}
	}
	web := execstart.Service{Unit: "web.service", Commands: exec("/usr/bin/web")}
	if _, err := Of([]execstart.Service{web}); err == nil || !strings.Contains(err.Error(), "neither it nor another service of the role that needs the data runs postgres, pg_ctl or pg_ctlcluster") {
		t.Errorf("a service of another program: got %v", err)
	}
	if ways, err := Of(nil); err != nil || ways != nil {
		t.Errorf("no services: got %v, %v", ways, err)
	}
}

func TestServicesThatStartItInOneWayAreOne(t *testing.T) {
	start := func(unit, dir string) execstart.Service {
		return execstart.Service{Unit: unit, Commands: exec("/usr/bin/postgres", "-D", dir)}
	}
	if ways, err := Of([]execstart.Service{start("a.service", "/a"), start("b.service", "/b"), start("c.service", "/a")}); err != nil || len(ways) != 2 {
		t.Errorf("got %+v, %v", ways, err)
	}
}

func TestTheFileOfSettingsIsTheOneThatOptionsName(t *testing.T) {
	for want, options := range map[string][]string{
		"":       {"-D", "/d", "-p", "5432"},
		"/a":     {"-D", "/d", "-c", "config_file=/a"},
		"/b":     {"--config-file=/b", "-i"},
		"/c":     {"-ic", "config_file=/c"},
		"/d/e f": {"-c", "config-file=/a", "--config_file=/d/e f"},
	} {
		if _, file := (Start{Options: options}).Directory(); file != want {
			t.Errorf("%q: got %q, want %q", options, file, want)
		}
	}
}

// Whatever a unit says, there is one way, or it is unclear.
func FuzzOf(f *testing.F) {
	f.Add("/usr/bin/pg_ctl", "start", "-o", "-c 'a=b' -D/x")
	f.Add("/usr/bin/pg_ctlcluster", "15-main", "start", "--")
	f.Add("/usr/bin/postgres", "-D", "", "-c")
	f.Fuzz(func(t *testing.T, program, one, two, three string) {
		ways, err := Of([]execstart.Service{{Unit: "x.service", Commands: exec(program, one, two, three)}})
		if err == nil && len(ways) != 1 || err != nil && !errors.As(err, new(*execstart.UnclearError)) {
			t.Errorf("got %+v, %v", ways, err)
		}
		for _, way := range ways {
			way.Directory()
		}
	})
}
