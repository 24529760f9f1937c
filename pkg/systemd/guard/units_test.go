package guard

import (
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/systemd/unitfile/unitfiletest"
)

// links are names that are links, and what systemd makes of each: the unit's
// own name and file, or nothing.
var links = []struct {
	name      string
	machine   machine
	unit      string // of which the machine has "mysql.service" or what is here
	own, file string
	words     string // of the problem, if the role names the unit
}{
	{
		name:    "to a template",
		machine: machine{"usr/lib/systemd/system/mysql@.service": service, "etc/systemd/system/mysql.service": "-> /lib/systemd/system/mysql@.service", "lib": "-> usr/lib"},
		words:   "its file /etc/systemd/system/mysql.service is a link to mysql@.service, which is a template, and mysql.service is not an instance of it, so systemd ignores the link: in the role, name an instance instead, such as mysql@main.service, and rm ",
	},
	{
		name: "to a template with instances",
		machine: machine{
			"usr/lib/systemd/system/mysql@.service": service, "usr/lib/systemd/system/mysql.service": "-> mysql@.service",
			"etc/systemd/system/multi-user.target.wants/mysql@a.service": "-> /usr/lib/systemd/system/mysql@.service",
			"usr/lib/systemd/system/mysql@b.service":                     service,
		},
		words: "in the role, name mysql@a.service or mysql@b.service instead, and rm ",
	},
	{
		name: "to a template, over a unit that is none",
		machine: machine{
			"usr/lib/systemd/system/mysql@.service": service, "etc/systemd/system/mysql.service": "-> /usr/lib/systemd/system/mysql@.service",
			"usr/lib/systemd/system/mysql.service": service,
		},
		file:  "/usr/lib/systemd/system/mysql.service",
		words: "so systemd ignores the link and uses /usr/lib/systemd/system/mysql.service: ",
	},
	{
		name:    "to an instance",
		machine: machine{"usr/lib/systemd/system/mysql@.service": service, "usr/lib/systemd/system/mysql.service": "-> mysql@a.service"},
		words:   "a link to mysql@a.service, which is an instance of a template, and mysql.service is not, so systemd ignores the link: in the role, name mysql@a.service instead, and rm ",
	},
	{
		name:    "of an instance to another",
		machine: machine{"usr/lib/systemd/system/db@.service": service, "usr/lib/systemd/system/mysql@a.service": "-> db@b.service"},
		unit:    "mysql@a.service",
		words:   "a link to db@b.service, which is another instance, so systemd ignores the link: in the role, name db@b.service instead",
	},
	{
		name:    "of an instance to what is none",
		machine: machine{"usr/lib/systemd/system/db.service": service, "usr/lib/systemd/system/mysql@a.service": "-> db.service"},
		unit:    "mysql@a.service",
		words:   "a link to db.service, which is not an instance of a template, and mysql@a.service is, so systemd ignores the link",
	},
	{
		name:    "of an instance to its like",
		machine: machine{"usr/lib/systemd/system/db@.service": service, "usr/lib/systemd/system/mysql@a.service": "-> db@a.service"},
		unit:    "mysql@a.service", own: "db@a.service", file: "/usr/lib/systemd/system/db@.service",
	},
	{
		name:    "of an instance to a template",
		machine: machine{"usr/lib/systemd/system/db@.service": service, "usr/lib/systemd/system/mysql@a.service": "-> db@.service"},
		unit:    "mysql@a.service", own: "db@a.service", file: "/usr/lib/systemd/system/db@.service",
	},
	{
		name:    "of a template to another",
		machine: machine{"usr/lib/systemd/system/db@.service": service, "usr/lib/systemd/system/mysql@.service": "-> db@.service"},
		unit:    "mysql@a.service", own: "db@a.service", file: "/usr/lib/systemd/system/db@.service",
	},
	{
		name:    "to a unit of another type",
		machine: machine{"usr/lib/systemd/system/db.socket": "[Socket]\nListenStream=1\n", "usr/lib/systemd/system/mysql.service": "-> db.socket"},
		words:   "a link to db.socket, which is a unit of another type, so systemd ignores the link: in the role, name a unit that has its own file, and rm ",
	},
	{
		name:    "to a unit",
		machine: machine{"usr/lib/systemd/system/db.service": service, "etc/systemd/system/mysql.service": "-> /usr/lib/systemd/system/db.service"},
		own:     "db.service", file: "/usr/lib/systemd/system/db.service",
	},
	{
		name: "to a link to a unit",
		machine: machine{
			"usr/lib/systemd/system/db.service": service, "usr/lib/systemd/system/mysqld.service": "-> db.service",
			"etc/systemd/system/mysql.service": "-> /usr/lib/systemd/system/mysqld.service",
		},
		own: "db.service", file: "/usr/lib/systemd/system/db.service",
	},
	{
		name: "to a link to a template",
		machine: machine{
			"usr/lib/systemd/system/db@.service": service, "usr/lib/systemd/system/mysqld.service": "-> db@.service",
			"etc/systemd/system/mysql.service": "-> /usr/lib/systemd/system/mysqld.service",
		},
		words: "its file /etc/systemd/system/mysql.service is a link to mysqld.service, and /usr/lib/systemd/system/mysqld.service is a link to db@.service, which is a template, and mysqld.service is not an instance of it, so systemd has no such unit",
	},
	{
		name:    "to nothing",
		machine: machine{"etc/systemd/system/mysql.service": "-> /usr/lib/systemd/system/db.service"},
		words:   "its file /etc/systemd/system/mysql.service is a link to db.service, and systemd finds no unit of that name",
	},
	{
		name:    "in a circle",
		machine: machine{"usr/lib/systemd/system/db.service": "-> mysql.service", "usr/lib/systemd/system/mysql.service": "-> db.service"},
		words:   "is a link to db.service, and systemd finds no unit of that name",
	},
	{
		name:    "to itself elsewhere",
		machine: machine{"usr/lib/systemd/system/mysql.service": service, "etc/systemd/system/mysql.service": "-> /usr/lib/systemd/system/mysql.service"},
		file:    "/usr/lib/systemd/system/mysql.service",
	},
	{
		name:    "out of the directories of units",
		machine: machine{"srv/units/db@.service": service, "etc/systemd/system/mysql.service": "-> ../../../srv/units/db@.service"},
		file:    "/etc/systemd/system/mysql.service",
	},
	{
		name: "to a link out of the directories of units",
		machine: machine{
			"srv/units/db.service": service, "etc/systemd/system/db.service": "-> ../../../srv/units/db.service",
			"etc/systemd/system/mysql.service": "-> db.service",
		},
		own: "db.service", file: "/etc/systemd/system/db.service",
	},
	{
		name:    "out of the directories of units, to nothing",
		machine: machine{"etc/systemd/system/mysql.service": "-> /srv/units/db.service"},
		words:   "its file /etc/systemd/system/mysql.service is a link to /srv/units/db.service, which does not exist: put the unit file there",
	},
	{
		name:    "to a file below a directory of units",
		machine: machine{"usr/lib/systemd/system/more/mysql.service": service, "usr/lib/systemd/system/db.service": "-> more/mysql.service"},
		unit:    "db.service",
		words:   "is a link to mysql.service, and systemd finds no unit of that name",
	},
	{
		name:    "to one that is masked",
		machine: machine{"etc/systemd/system/db.service": "-> /dev/null", "etc/systemd/system/mysql.service": "-> db.service"},
		words:   "is masked, so nothing can start it: systemctl --root ",
	},
}

func TestNamesThatAreLinks(t *testing.T) {
	for _, test := range links {
		t.Run(test.name, func(t *testing.T) {
			name := test.unit
			if name == "" {
				name = "mysql.service"
			}
			root := test.machine.root(t)
			problems, err := CheckUnits(root, []Hold{hold(name)})
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			for _, p := range problems {
				said = append(said, p.String())
			}
			switch {
			case test.words == "" && len(said) > 0:
				t.Errorf("problems: %q", said)
			case test.words != "" && (len(said) != 1 || !strings.Contains(said[0], test.words)):
				t.Errorf("problems: %q, without %q", said, test.words)
			}
			// What nobody can hold, is not said to be held.
			if err := cannotHold(root, []Hold{hold(name)}); (err != nil) != (test.words != "" && !strings.Contains(test.words, "masked")) {
				t.Errorf("install says %v", err)
			}
			if strings.Contains(test.words, "masked") {
				return
			}
			tree, err := readTree(root)
			if err != nil {
				t.Fatal(err)
			}
			own, file := tree.Find(name)
			if want := test.own; own != want && (want != "" || own != name) || test.file != "" && file != test.file {
				t.Errorf("it is %s with %q", own, file)
			}
			units, told := unitfiletest.Analyze(t, "LC_ALL=C", "--root="+root, name)
			if test.own == "" && test.file == "" {
				for unit := range units {
					if slices.Contains(units.Values(unit, "Unit Load State"), "loaded") {
						t.Errorf("systemd has %s:\n%s", unit, told)
					}
				}
				return
			}
			if got := units.Values(own, "Fragment Path"); !slices.Contains(got, root+file) {
				t.Errorf("systemd has %s from %q, we from %s\n%s", own, got, file, told)
			}
		})
	}
}

const umbrella = "[Service]\nType=oneshot\nExecStart=/bin/true\nExecReload=/bin/true\nRemainAfterExit=on\n"

func TestAServiceThatRunsNothingIsRefused(t *testing.T) {
	for _, test := range []struct {
		name    string
		machine machine
		words   string // "" if it does its own work
	}{
		{"the work itself", machine{"usr/lib/systemd/system/postgresql.service": service}, ""},
		{
			"Debian's, with clusters",
			machine{
				"usr/lib/systemd/system/postgresql.service": umbrella, "usr/lib/systemd/system/postgresql@.service": service,
				"etc/postgresql/15/main/postgresql.conf": "", "etc/postgresql/17/other-one/postgresql.conf": "", "etc/postgresql/17/empty/start.conf": "",
			},
			"postgresql.service: runs nothing itself (/usr/lib/systemd/system/postgresql.service), so the services that do the work would start without their data: " +
				"in the role, name postgresql@15-main.service or postgresql@17-other-one.service instead (and list postgresql.service under also-guard of it, if that has to be held, too)",
		},
		{
			"Debian's, without",
			machine{"usr/lib/systemd/system/postgresql.service": umbrella, "usr/lib/systemd/system/postgresql@.service": service},
			"in the role, name the instance of postgresql@.service that runs, such as postgresql@15-main.service",
		},
		{
			"instances that are enabled, and one with a file",
			machine{
				"usr/lib/systemd/system/postgresql.service": umbrella, "usr/lib/systemd/system/postgresql@.service": service,
				"etc/systemd/system/multi-user.target.wants/postgresql@a.service":        "-> /usr/lib/systemd/system/postgresql@.service",
				"run/systemd/generator/postgresql.service.wants/postgresql@16-x.service": "-> /usr/lib/systemd/system/postgresql@.service",
				"usr/lib/systemd/system/postgresql@default.service":                      service,
			},
			"in the role, name postgresql@16-x.service or postgresql@a.service or postgresql@default.service instead",
		},
		{
			"its parts",
			machine{"usr/lib/systemd/system/postgresql.service": umbrella, "usr/lib/systemd/system/pg-a.service": "[Unit]\nPartOf=postgresql.service\n" + service},
			"in the role, name pg-a.service instead",
		},
		{"nothing to be found", machine{"usr/lib/systemd/system/postgresql.service": umbrella}, "in the role, name the service that does the work"},
		{"by another name", machine{"usr/lib/systemd/system/pg.service": umbrella, "usr/lib/systemd/system/postgresql.service": "-> pg.service"}, "runs nothing itself (/usr/lib/systemd/system/pg.service)"},
		{"no start at all", machine{"usr/lib/systemd/system/postgresql.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStop=/usr/bin/x\n"}, "runs nothing itself"},
		{"a shell", machine{"usr/lib/systemd/system/postgresql.service": "[Service]\nExecStart=-/bin/sh -c 'exit 0'\n"}, "runs nothing itself"},
		{"a shell that does something", machine{"usr/lib/systemd/system/postgresql.service": "[Service]\nExecStart=/bin/sh -c 'exec /x'\n"}, ""},
		{"work before the start", machine{"usr/lib/systemd/system/postgresql.service": "[Service]\nType=oneshot\nExecStartPre=/usr/bin/work\nExecStart=/bin/true\n"}, ""},
		{
			"a drop-in that gives it work",
			machine{"usr/lib/systemd/system/postgresql.service": umbrella, "etc/systemd/system/postgresql.service.d/x.conf": "[Service]\nExecStart=\nExecStart=/usr/bin/work\n"},
			"",
		},
		{
			"a drop-in that takes its work",
			machine{"usr/lib/systemd/system/postgresql.service": service, "etc/systemd/system/postgresql.service.d/x.conf": "[Service]\nExecStart=\nExecStart=@/usr/bin/true true\n"},
			"runs nothing itself",
		},
		{"a script of System V init", machine{"etc/init.d/postgresql": "#!/bin/sh\n"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := test.machine.root(t)
			_, err := Install(root, []Hold{hold("postgresql.service")})
			if test.words == "" && err != nil || test.words != "" && (err == nil || !strings.Contains(err.Error(), test.words)) {
				t.Errorf("install says %v, not %q", err, test.words)
			}
			if _, err := os.Stat(path.Join(root, Path("postgresql.service"))); err != nil {
				t.Errorf("it is not held all the same: %v", err)
			}
			problems, err := Check(root, []Hold{hold("postgresql.service")})
			if err != nil || (len(problems) > 0) != (test.words != "") || test.words != "" && !strings.Contains(problems[0].String(), test.words) {
				t.Errorf("check says %v, %v", problems, err)
			}
			// With the service that does the work, it may be held all the same.
			_, err = Install(root, []Hold{hold("work.service"), {Unit: "postgresql.service", Service: "work.service"}})
			if err != nil {
				t.Errorf("beside another it is %v", err)
			}
		})
	}
}

// The role file was written for another version of PostgreSQL than the image has,
// whose own cluster nothing would hold.
func TestAClusterThatIsNotThereIsToldWithThoseThatAre(t *testing.T) {
	const template, conf = "usr/lib/systemd/system/postgresql@.service", "/main/postgresql.conf"
	for name, test := range map[string]struct {
		machine machine
		words   string
	}{
		"it is there":     {machine{template: service, "etc/postgresql/15" + conf: "", "etc/postgresql/17" + conf: ""}, ""},
		"another version": {machine{template: service, "etc/postgresql/17" + conf: ""}, "postgresql@15-main.service: has no cluster in /etc/postgresql: in the role, name postgresql@17-main.service instead"},
		"none":            {machine{template: service}, ""}, // it may be made at boot
		"its own file":    {machine{"usr/lib/systemd/system/postgresql@15-main.service": service, "etc/postgresql/17" + conf: ""}, ""},
	} {
		problems, err := CheckUnits(test.machine.root(t), []Hold{hold("postgresql@15-main.service")})
		if err != nil || (len(problems) > 0) != (test.words != "") || len(problems) > 0 && problems[0].String() != test.words {
			t.Errorf("%s: %q, %v", name, problems, err)
		}
	}
}

// A unit that is needed is not held by another name of it either.
func TestANeededUnitIsNotHeldByAnotherName(t *testing.T) {
	root := machine{
		"usr/lib/systemd/system/ssh.service": service, "etc/systemd/system/shell.service": "-> /usr/lib/systemd/system/ssh.service",
		"usr/lib/systemd/system/a.service": service,
	}.root(t)
	all, err := Expand(root, []Hold{hold("a.service"), hold("shell.service")})
	if err == nil || !strings.Contains(err.Error(), "cannot hold shell.service: it is another name of ssh.service, which is needed to log in") {
		t.Errorf("the error is %v", err)
	}
	if got := units(all); got != "a.service" {
		t.Errorf("held is %s", got)
	}
}
