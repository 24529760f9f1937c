package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/grammar"
	"bootagent/pkg/systemd/guard"
)

const dbRole = `version: 1
role: db
volumes:
  data: {find: {id: vol-0123456789abcdef0}, format: if-blank, mount: /srv/data}
  logs: {find: {serial: "LOGS00001"}, filesystem: ext4, mount: /srv/logs}
data:
  mysql: {volume: data, dir: mysql, bind: /var/lib/mysql, engine: mariadb, owner: mysql, if-absent: initialize}
secrets:
  sql: {from: "file:///etc/sql.age", services: [mariadb.service]}
services:
  mariadb.service: {ready: {unit: mysql-ready.service}}
`

const work = "[Unit]\nAfter=network.target\n[Service]\nExecStart=/usr/sbin/work\n"

// whole is an image that has all that its role needs.
func whole() map[string]string {
	oneshot := "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/x\n"
	return map[string]string{
		"etc/bootagent/roles.d/db.yaml":          dbRole,
		"etc/bootagent/agent.yaml":               "keys: [operator, {file: /run/keys/brought}]\n",
		"etc/passwd":                             "root:x:0:0::/root:/bin/sh\nmysql:x:100:100::/:/bin/false\n",
		"etc/fstab":                              "# /srv/data is bootagent's\nUUID=1 / ext4 defaults 0 1\nnone swap swap\n/dev/x /srv ext4 defaults 0 2\n",
		"etc/sql.age":                            "age-encryption.org/v1\n-> X25519 x\n",
		"usr/sbin/mkfs.xfs":                      "#!",
		"usr/sbin/e2fsck":                        "#!",
		"usr/bin/blkid":                          "#!",
		"usr/sbin/wipefs":                        "#!",
		"usr/sbin/mariadbd":                      "#!",
		"usr/bin/mariadb-install-db":             "#!",
		"sbin":                                   "-> usr/sbin",
		"lib":                                    "-> usr/lib",
		"var/lib/bootagent/":                     "",
		"usr/lib/systemd/system/mariadb.service": work + "[Install]\nWantedBy=multi-user.target\n",
		"usr/lib/systemd/system/mysql-ready.service":                   oneshot,
		"usr/lib/systemd/system/bootagent.service":                     "[Unit]\nAfter=network.target\n" + work,
		"usr/lib/systemd/system/default.target":                        "-> multi-user.target",
		"usr/lib/systemd/system/multi-user.target":                     "[Unit]\nRequires=basic.target\nAfter=basic.target\n",
		"usr/lib/systemd/system/basic.target":                          "[Unit]\nRequires=sysinit.target sockets.target\nAfter=sysinit.target sockets.target\nDefaultDependencies=no\n",
		"usr/lib/systemd/system/sysinit.target":                        "[Unit]\nDefaultDependencies=no\n",
		"usr/lib/systemd/system/sockets.target":                        "[Unit]\n",
		"usr/lib/systemd/system/network.target":                        "[Unit]\n",
		"usr/lib/systemd/system/net.service":                           "[Unit]\nBefore=network.target\nWants=network.target\n[Service]\nExecStart=/usr/sbin/net\n",
		"etc/systemd/system/multi-user.target.wants/":                  "",
		"etc/systemd/system/multi-user.target.wants/bootagent.service": "-> /lib/systemd/system/bootagent.service",
		"etc/systemd/system/multi-user.target.wants/mariadb.service":   "-> /lib/systemd/system/mariadb.service",
		"etc/systemd/system/multi-user.target.wants/net.service":       "-> /lib/systemd/system/net.service",
	}
}

// build writes a directory: path → text. A text that begins with "-> " is a link.
func build(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(file, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		if target, link := strings.CutPrefix(text, "-> "); link {
			must(t, os.Symlink(target, file))
			continue
		}
		mode := os.FileMode(0o644)
		if text == "#!" {
			mode = 0o755
		}
		must(t, os.WriteFile(file, []byte(text), mode))
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// load gives an image with its guards installed.
func load(t *testing.T, root string, kept bool) Image {
	t.Helper()
	roles, err := grammar.All().Load(filepath.Join(root, "etc/bootagent/roles.d"))
	must(t, err)
	img := Image{Root: root, Roles: roles, Kept: kept}
	_, err = guard.Install(root, Holds(roles))
	must(t, err)
	return img
}

func check(t *testing.T, img Image) Report {
	t.Helper()
	r, err := img.Check(t.Context())
	must(t, err)
	return r
}

// needsVerifier skips where systemd's verifier is not installed.
func needsVerifier(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed (package systemd): the order of units is not checked")
	}
}

func TestAnImageThatHasAllSaysWhatWasChecked(t *testing.T) {
	needsVerifier(t)
	r := check(t, load(t, build(t, whole()), true))
	if len(r.Problems)+len(r.Unchecked) > 0 {
		t.Errorf("problems %q, not checked %q", r.Problems, r.Unchecked)
	}
	got := strings.Join(r.Checked, "\n")
	for _, words := range []string{
		"1 ready unit: found (mysql-ready.service)",
		"1 owner of data: found (mysql)",
		" programs: found (/sbin/mkfs.xfs, /usr/bin/blkid, ",
		"3 mount points: neither /etc/fstab nor a unit mounts them (/srv/data, /srv/logs, /var/lib/mysql)",
		"/etc/bootagent, /var/lib/bootagent, /run/bootagent: no keys, no unencrypted secrets, no state of an agent",
		"the order of units at boot, with the guards and a grant for each service: no cycles",
	} {
		if !strings.Contains(got, words) {
			t.Errorf("checked\n%s\nwithout %q", got, words)
		}
	}
}

// command is what a problem says to run.
var command = regexp.MustCompile(`(?:: |and )(rm .*)$`)

func TestWhatAnImageLacksIsTold(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // the order of units is not what this is about
	for _, test := range []struct {
		name  string
		files map[string]string // over the whole image; "gone" removes one
		words []string          // of the one problem each; none is none
	}{
		{"no ready unit", map[string]string{"usr/lib/systemd/system/mysql-ready.service": "gone"}, []string{"db.yaml: the ready unit of mariadb.service: mysql-ready.service: has no unit file"}},
		{"a ready unit that is masked", map[string]string{"etc/systemd/system/mysql-ready.service": "-> /dev/null"}, []string{"mysql-ready.service: is masked, so nothing can start it: systemctl --root "}},
		{
			"no program and no user of a probe",
			map[string]string{"etc/bootagent/roles.d/db.yaml": strings.Replace(dbRole, "unit: mysql-ready.service", "command: [/usr/bin/mysqladmin, ping], user: prober", 1)},
			[]string{"the probe of mariadb.service runs as prober, but that user is neither in ", "there is no executable /usr/bin/mysqladmin, which probes mariadb.service: install it in the image"},
		},
		{"no owner", map[string]string{"etc/passwd": "root:x:0:0::/root:/bin/sh\nmysqlx:x:1:1::/:\n"}, []string{`data "mysql" has the owner mysql, but that user is neither in `}},
		{"an owner that is made at boot", map[string]string{"etc/passwd": "", "usr/lib/sysusers.d/mysql.conf": "#u x\nu mysql - \"MySQL\" /var/lib/mysql\n"}, nil},
		{"no owner of a file", map[string]string{"etc/bootagent/roles.d/db.yaml": dbRole + "files: {x: {content: x, owner: redis, services: [mariadb.service]}}\n"}, []string{`db.yaml: file "x" has the owner redis, but that user is neither in `}},
		{"no group of a file", map[string]string{"etc/bootagent/roles.d/db.yaml": dbRole + "files: {x: {content: x, owner: mysql, group: dba, services: [mariadb.service]}}\n"}, []string{`db.yaml: file "x" has the group dba, but that group is neither in `}},
		{"an owner and a group of a file", map[string]string{
			"etc/bootagent/roles.d/db.yaml": dbRole + "files: {x: {content: x, group: dba, services: [mariadb.service]}}\n",
			"usr/lib/sysusers.d/mysql.conf": "g dba -\n",
		}, nil},
		{"no mkfs", map[string]string{"usr/sbin/mkfs.xfs": "gone"}, []string{`there is no executable /sbin/mkfs.xfs, which makes the filesystem of volume "data": install xfsprogs in the image`}},
		{"a program that can't be run", map[string]string{"usr/sbin/mkfs.xfs": "text"}, []string{"there is no executable /sbin/mkfs.xfs"}},
		{
			"an engine whose path has its version",
			map[string]string{
				"etc/bootagent/roles.d/db.yaml":          strings.Replace(dbRole, "engine: mariadb", "engine: postgres", 1),
				"usr/lib/postgresql/15/bin/postgres":     "#!",
				"usr/lib/postgresql/15/bin/initdb":       "text",
				"usr/lib/postgresql/16/bin/initdb":       "#!",
				"usr/lib/postgresql/README/postgres.txt": "text",
			},
			nil,
		},
		{
			"no engine whose path has its version",
			map[string]string{
				"etc/bootagent/roles.d/db.yaml":      strings.Replace(dbRole, "engine: mariadb", "engine: postgres", 1),
				"usr/lib/postgresql/15/bin/postgres": "#!",
			},
			[]string{`there is no executable initdb, which makes the directory of data "mysql": install the engine postgres in the image`},
		},
		{"no tool of several places", map[string]string{"usr/bin/blkid": "gone"}, []string{`there is no executable blkid, which says what is on the disk of volume "data": install util-linux`}},
		{
			"no program that brings a key",
			map[string]string{"etc/bootagent/agent.yaml": "keys: [{command: [/usr/bin/fetch, --key]}]\n"},
			[]string{"etc/bootagent/agent.yaml: the key command /usr/bin/fetch is missing or not executable"},
		},
		{
			"a program that brings a key",
			map[string]string{"etc/bootagent/agent.yaml": "keys: [{command: [/usr/bin/fetch, --key]}]\n", "usr/bin/fetch": "#!"},
			nil,
		},
		{
			"a line of fstab for the mount point",
			map[string]string{"etc/fstab": "#\n\n/dev/nvme1n1 /srv/data xfs defaults,nofail 0 2\n"},
			[]string{`etc/fstab:3: the line mounts /srv/data, but bootagent mounts /srv/data, the mount point of volume "data" in `},
		},
		{"for the bind", map[string]string{"etc/fstab": "/a /var/lib/mysql/ none bind,noauto\n"}, []string{`fstab:1: the line mounts /var/lib/mysql/, but bootagent mounts /var/lib/mysql, the bind mount of data "mysql"`}},
		{"for what is below", map[string]string{"etc/fstab": "/a /srv/logs/x\\040y none bind\n"}, []string{"the line mounts /srv/logs/x y, but bootagent mounts /srv/logs, the mount point"}},
		{"by a link", map[string]string{"etc/fstab": "/a /data xfs\n", "data": "-> /srv/data"}, []string{"the line mounts /data, but bootagent mounts /srv/data, the mount point"}},
		{
			"for the disk",
			map[string]string{"etc/fstab": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0 /mnt xfs\n"},
			[]string{`but bootagent mounts this disk, volume "data" of `},
		},
		{"for a disk by its serial", map[string]string{"etc/fstab": "/dev/disk/by-id/nvme-X_LOGS00001 /mnt xfs\n"}, []string{`but bootagent mounts this disk, volume "logs" of `}},
		{"for a neighbour", map[string]string{"etc/fstab": "/a /srv/data2 xfs\n/b /srv/logs.old xfs\n/c /var/lib none\n"}, nil},
		{
			"a unit for the mount point",
			map[string]string{"etc/systemd/system/srv-data.mount": "[Mount]\nWhat=/x\nWhere=/srv/data\n", "usr/lib/systemd/system/var-lib-mysql.automount": "[Automount]\nWhere=/var/lib/mysql\n"},
			[]string{`srv-data.mount: the unit mounts /srv/data, but bootagent mounts that, the mount point of volume "data"`, `var-lib-mysql.automount: the unit mounts /var/lib/mysql, but bootagent mounts that, the bind mount`},
		},
		{"a unit file on the volume", map[string]string{"etc/systemd/system/mariadb.service": "-> ../../../srv/data/mariadb.service", "srv/data/mariadb.service": work}, []string{"mariadb.service: its unit file /srv/data/mariadb.service is below /srv/data"}},
		{
			"kept state",
			map[string]string{"var/lib/bootagent/instance.json": "{}", "var/lib/bootagent/secrets/x.age": "", "run/bootagent/roles.d/x.yaml": ""},
			[]string{"var/lib/bootagent/instance.json: an agent left this state of one machine", "var/lib/bootagent/secrets: an agent left this state of one machine", "run/bootagent/roles.d: an agent left this state of one machine"},
		},
		{
			"a key that the settings name",
			map[string]string{"etc/bootagent/agent.yaml": "keys: [{file: /etc/keys/k}]\n", "etc/keys/k": "x"},
			[]string{"etc/keys/k: /etc/bootagent/agent.yaml names this key, and everybody who has a copy of the image could decrypt every secret with it: get the key at boot, and rm "},
		},
		{
			"a key that they don't",
			map[string]string{"etc/bootagent/old/key.txt": "# created\nAGE-SECRET-KEY-1QQ\n", "etc/bootagent/pq": "AGE-SECRET-KEY-PQ-1QQ\n"},
			[]string{"etc/bootagent/old/key.txt: the file contains a secret key of age", "etc/bootagent/pq: the file contains a secret key of age"},
		},
		{"a key, once", map[string]string{"etc/bootagent/agent.yaml": "keys: [{file: /etc/bootagent/k}]\n", "etc/bootagent/k": "AGE-SECRET-KEY-1QQ"}, []string{"names this key"}},
		{"settings that can't be read", map[string]string{"etc/bootagent/agent.yaml": "keys: [\n"}, []string{"etc/bootagent/agent.yaml:"}},
		{"a secret in the clear", map[string]string{"etc/sql.age": "ALTER USER x"}, []string{`etc/sql.age: secret "sql" of `}},
		{"a sealed secret in text", map[string]string{"etc/sql.age": "-----BEGIN AGE ENCRYPTED FILE-----\nx\n"}, nil},
		{"a secret that is brought later", map[string]string{"etc/sql.age": "gone"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := whole()
			for name, text := range test.files {
				files[name] = text
				if text == "gone" {
					delete(files, name)
				}
			}
			img := load(t, build(t, files), true)
			r := check(t, img)
			if len(r.Problems) != len(test.words) {
				t.Fatalf("problems %q, not %q", r.Problems, test.words)
			}
			for i, words := range test.words {
				if !strings.Contains(r.Problems[i], words) {
					t.Errorf("problem %q, without %q", r.Problems[i], words)
				}
				// What it says to run mends it.
				if match := command.FindStringSubmatch(r.Problems[i]); match != nil {
					sh := exec.Command("/bin/sh", "-ec", "PATH=/usr/bin:/bin; "+match[1])
					if out, err := sh.CombinedOutput(); err != nil {
						t.Errorf("%q: %v\n%s", match[1], err, out)
					}
					if again := check(t, img).Problems; slices.Contains(again, r.Problems[i]) {
						t.Errorf("after %q it is told still: %q", match[1], r.Problems[i])
					}
				}
			}
		})
	}
}

func TestAMachineThatHasRunMayKeepThings(t *testing.T) {
	files := whole()
	files["var/lib/bootagent/instance.json"] = "{}"
	r := check(t, load(t, build(t, files), false))
	if len(r.Problems) > 0 || !strings.Contains(strings.Join(r.Unchecked, "\n"), "keys and kept state: an agent has run on this machine") {
		t.Errorf("problems %q, not checked %q", r.Problems, r.Unchecked)
	}
}

func TestOrderingCyclesAreTold(t *testing.T) {
	needsVerifier(t)
	for _, test := range []struct {
		name  string
		files map[string]string
		words []string // of the one problem; none is none
	}{
		{
			"a held service that comes before the network",
			map[string]string{"usr/lib/systemd/system/mariadb.service": "[Unit]\nBefore=network.target\n[Service]\nExecStart=/x\n"},
			[]string{"ordering cycle: ", "mariadb.service", "so mariadb.service, which its guard orders after bootagent.service, can't start before the units that bootagent.service waits for"},
		},
		{
			"by a drop-in, and not enabled",
			map[string]string{
				"etc/systemd/system/mariadb.service.d/x.conf":                "[Unit]\nBefore=bootagent.service\n",
				"etc/systemd/system/multi-user.target.wants/mariadb.service": "gone",
			},
			[]string{"so mariadb.service, which its guard orders after bootagent.service"},
		},
		{
			"a service of the generator's, on a machine",
			map[string]string{
				// Not after network.target itself: that would be a second cycle, which
				// systemd reports or not, by the order in which it visits units.
				"usr/lib/systemd/system/mariadb.service": "[Service]\nExecStart=/x\n",

				"run/systemd/generator/early.service":                         "[Unit]\nAfter=mariadb.service\nBefore=net.service\n[Service]\nExecStart=/x\n",
				"run/systemd/generator/multi-user.target.wants/early.service": "-> ../early.service",
			},
			[]string{"early.service", "so mariadb.service, which its guard orders"},
		},
		{
			"others",
			map[string]string{
				"usr/lib/systemd/system/a.service":                     "[Unit]\nAfter=b.service\nWants=b.service\n" + work,
				"usr/lib/systemd/system/b.service":                     "[Unit]\nAfter=a.service\n" + work,
				"etc/systemd/system/multi-user.target.wants/a.service": "-> /usr/lib/systemd/system/a.service",
			},
			[]string{"a.service", "b.service", "so remove one of these orders (After= or Before=)"},
		},
		{
			"noise that is none",
			map[string]string{
				"usr/lib/systemd/system/a.service":                     "[Unit]\nColour=blue\nAfter=nowhere.service\nRequires=nowhere.service\n[Service]\nType=odd\nExecStart=nowhere\n",
				"usr/lib/systemd/system/b.service":                     "[Unit]\nWants=nothing.service\nDocumentation=odd\n[Service]\nExecStart=/nowhere\n",
				"etc/systemd/system/multi-user.target.wants/a.service": "-> /usr/lib/systemd/system/a.service",
				"etc/systemd/system/multi-user.target.wants/b.service": "-> /usr/lib/systemd/system/b.service",
				"etc/systemd/system/multi-user.target.wants/c.service": "-> /nowhere",
			},
			nil,
		},
		{
			"what is masked, or no longer wanted",
			map[string]string{
				"usr/lib/systemd/system/a.service":                         "[Unit]\nAfter=multi-user.target\nBefore=basic.target\n" + work,
				"usr/lib/systemd/system/b.service":                         "[Unit]\nAfter=multi-user.target\nBefore=basic.target\n" + work,
				"usr/lib/systemd/system/multi-user.target.wants/a.service": "-> ../a.service",
				"usr/lib/systemd/system/multi-user.target.wants/b.service": "-> ../b.service",
				"etc/systemd/system/a.service":                             "-> /dev/null",
				"etc/systemd/system/multi-user.target.wants/b.service":     "-> /dev/null",
			},
			nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := whole()
			for name, text := range test.files {
				files[name] = text
				if text == "gone" {
					delete(files, name)
				}
			}
			r := check(t, load(t, build(t, files), true))
			if len(r.Unchecked) > 0 {
				t.Errorf("not checked: %q", r.Unchecked)
			}
			if len(r.Problems) != min(1, len(test.words)) {
				t.Fatalf("problems %q", r.Problems)
			}
			for _, words := range test.words {
				if !strings.Contains(r.Problems[0], words) {
					t.Errorf("problem %q, without %q", r.Problems[0], words)
				}
			}
		})
	}
}

// A verifier that is not there, or says nothing of use, is told: no cycle told
// is not no cycle.
func TestAVerifierThatDoesNotAnswerIsTold(t *testing.T) {
	for name, test := range map[string]struct{ program, words string }{
		"none":         {"", "ordering cycles: systemd-analyze is not installed here; run bootagent guard check where the package systemd is installed"},
		"one too old":  {"#!/bin/sh\necho 'Unknown option --root' >&2\nexit 1\n", "did not report a cycle that was added as a test (exit status 1): Unknown option --root"},
		"a silent one": {"#!/bin/sh\nexit 0\n", "did not report a cycle that was added as a test (exit status 0): it printed nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			img := load(t, build(t, whole()), true)
			dir := t.TempDir()
			if test.program != "" {
				must(t, os.WriteFile(filepath.Join(dir, "systemd-analyze"), []byte(test.program), 0o755))
			}
			t.Setenv("PATH", dir)
			r := check(t, img)
			if len(r.Problems) > 0 || len(r.Unchecked) != 1 || !strings.Contains(r.Unchecked[0], test.words) {
				t.Errorf("problems %q, not checked %q", r.Problems, r.Unchecked)
			}
		})
	}
	t.Run("an image without the agent", func(t *testing.T) {
		files := whole()
		delete(files, "usr/lib/systemd/system/bootagent.service")
		r := check(t, load(t, build(t, files), true))
		if len(r.Unchecked) != 1 || !strings.Contains(r.Unchecked[0], "ordering cycles: there is no bootagent.service below ") {
			t.Errorf("not checked %q", r.Unchecked)
		}
	})
}

func TestFindCycles(t *testing.T) {
	for name, test := range map[string]struct{ said, want string }{
		"none": {"Unit x.service not found.\nbasic.target: Job cyc.service/start deleted to break ordering cycle starting with basic.target/start\n", ""},
		"systemd 252": {
			"basic.target: Found ordering cycle on cyc.service/start\nbasic.target: Found dependency on multi-user.target/start\n" +
				"basic.target: Found dependency on basic.target/start\nbasic.target: Job cyc.service/start deleted to break ordering cycle starting with basic.target/start\n",
			"cyc.service multi-user.target basic.target",
		},
		"one told twice": {
			"a.service: Found ordering cycle on b.service/start\na.service: Found dependency on a.service/start\n" +
				"x: other\nb.service: Found ordering cycle on a.service/start\nb.service: Found dependency on b.service/start\n",
			"b.service a.service",
		},
		"two": {
			"Found ordering cycle on b.service/start\nFound dependency on a.service/start\nFound ordering cycle on d@1.service/start\nFound dependency on srv-a\\x2db.mount/start\n",
			"b.service a.service; d@1.service srv-a\\x2db.mount",
		},
		"on one line": {"Found ordering cycle: a.service/start after b.service/start after a.service/start\n", "a.service b.service"},
	} {
		var got []string
		for _, cycle := range findCycles(test.said) {
			got = append(got, strings.Join(cycle, " "))
		}
		if all := strings.Join(got, "; "); all != test.want {
			t.Errorf("%s: %q, not %q", name, all, test.want)
		}
	}
}
