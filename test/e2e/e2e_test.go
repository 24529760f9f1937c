// Package e2e runs the package as users get it, in machines with a real systemd, real disks and a
// real MariaDB.
package e2e

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"bootagent/pkg/status"
	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/labtest"
	"bootagent/test/lab/qemu"
	"bootagent/test/story"
)

const (
	serial   = "vol0123456789abcdef0"
	mib      = 1 << 20
	mysql    = "#bootagent\nversion: 1\nrole: mysql\nparams: {disk: " + serial + "}\n"
	web      = "#bootagent\nversion: 1\nrole: web\n"
	runFor   = 10 * time.Minute // longest that one scenario takes, emulated, with room
	examples = "/usr/share/doc/bootagent/examples/roles.d/"
	settles  = 2 * time.Minute // longest that the agent takes to come to rest after something happened
)

// image is what an operator bakes: Debian, the package, the example roles, the guards; and units that try
// to start MariaDB in every other way there is.
func newImage(t *testing.T) *image.Image {
	t.Helper()
	return labtest.Image(t, image.Spec{
		Debs: []string{deb(t)},
		Files: map[string]image.File{
			"/etc/bootagent/agent.yaml": {Data: []byte("user-data: {file: /etc/bootagent/user-data}\n")},
			"/etc/systemd/system/needs-database.service": {Data: []byte(`[Unit]
Description=Service that wants the database
Requires=mariadb.service
After=mariadb.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
`)},
			// What a person isolates, and the tests go on in.
			"/etc/systemd/system/lab-rescue.target":                       {Data: []byte("[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n")},
			"/etc/systemd/system/qemu-guest-agent.service.d/isolate.conf": {Data: []byte("[Unit]\nIgnoreOnIsolate=yes\n")},
			"/etc/systemd/system/poke-database.timer": {Data: []byte(`[Timer]
OnActiveSec=1
Unit=mariadb.service
[Install]
WantedBy=timers.target
`)},
			"/etc/systemd/system/front-database.socket": {Data: []byte(`[Socket]
ListenStream=/run/front-database.sock
Service=mariadb.service
[Install]
WantedBy=sockets.target
`)},
		},
		Commands: [][]string{
			{"cp", examples + "mysql.yaml", examples + "web.yaml", "/etc/bootagent/roles.d/"},
			{"systemctl", "enable", "needs-database.service", "poke-database.timer", "front-database.socket"},
			{"bootagent", "guard", "install"},
			{"bootagent", "guard", "check"},
		},
	})
}

// deb is the package that make package has built for the platform.
func deb(t *testing.T) string {
	t.Helper()
	on, err := image.Chosen()
	if err != nil {
		t.Fatal(err)
	}
	debs, err := filepath.Glob("../../build/bootagent_*_" + on.Architecture + ".deb")
	if err != nil || len(debs) != 1 {
		t.Fatalf("there is not one package in build/, but %q: make package", debs)
	}
	return debs[0]
}

func packageFile(t *testing.T) []byte {
	t.Helper()
	src, err := os.ReadFile(deb(t))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// machine boots a machine of the image with user-data, and more files if any.
func machine(ctx context.Context, t *testing.T, img *image.Image, name, userData string, more map[string]image.File) *lab.Machine {
	t.Helper()
	files := map[string]image.File{"/etc/bootagent/user-data": {Data: []byte(userData)}}
	for path, file := range more {
		files[path] = file
	}
	m := labtest.Machine(t, img, name, lab.Config{Files: files, Ports: []int{3306, 80}})
	if err := m.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	return m
}

func newDisk(t *testing.T) *qemu.Disk {
	t.Helper()
	disk, err := qemu.NewDisk(filepath.Join(t.TempDir(), "data.raw"), serial, 512*mib)
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

// guest is a machine in a test: what fails in it fails the test.
type guest struct {
	*lab.Machine
	t   *testing.T
	ctx context.Context
}

// sh runs a command line in the guest and returns what it prints, whatever its exit code is.
func (g guest) sh(line string, args ...any) string {
	g.t.Helper()
	r, err := g.Run(g.ctx, "/bin/sh", "-c", "exec 2>&1; "+fmt.Sprintf(line, args...))
	if err != nil {
		g.t.Fatalf("%s: %v", line, err)
	}
	return strings.TrimSpace(string(r.Stdout))
}

// until waits until a command line succeeds in the guest.
func (g guest) until(within time.Duration, line string, args ...any) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.ctx, within)
	defer cancel()
	line = fmt.Sprintf(line, args...)
	if err := g.Until(ctx, line, "/bin/sh", "-c", line); err != nil {
		g.t.Fatalf("%v\n\n%s\n\n%s", err, g.sh("bootagent status"), g.sh("journalctl --no-pager -b -u bootagent -u bootagent-role -n 50"))
	}
}

func (g guest) ok(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// is fails the test unless a command line prints what is wanted.
func (g guest) is(want, line string, args ...any) {
	g.t.Helper()
	if got := g.sh(line, args...); got != want {
		g.t.Errorf("%s: got %q, want %q", fmt.Sprintf(line, args...), got, want)
	}
}

// says fails the test unless a command line prints all of the words.
func (g guest) says(line string, words ...string) {
	g.t.Helper()
	got := g.sh("%s", line)
	for _, w := range words {
		if !strings.Contains(got, w) {
			g.t.Errorf("%s does not say %q:\n%s", line, w, got)
		}
	}
}

// tells fails the test unless the agent comes to tell a story that the simulated world tells of the same.
func (g guest) tells(name string) {
	g.t.Helper()
	want, err := story.Told(name)
	if err != nil {
		g.t.Fatal(err)
	}
	got := ""
	for end := time.Now().Add(settles); got != want && time.Now().Before(end) && g.ctx.Err() == nil; time.Sleep(time.Second) {
		var s status.Status
		if err := json.Unmarshal([]byte(g.sh("bootagent status --json 2>/dev/null")), &s); err != nil {
			continue // it is being started
		}
		got = story.Of(s)
	}
	if got != want {
		g.t.Errorf("of %q the machine tells\n%s\nand the simulated world\n%s", name, got, want)
	}
}

func (g guest) plug(d *qemu.Disk) {
	g.t.Helper()
	if err := g.Plug(g.ctx, d); err != nil {
		g.t.Fatal(err)
	}
}

func (g guest) unplug(d *qemu.Disk) {
	g.t.Helper()
	if err := g.Unplug(g.ctx, d); err != nil {
		g.t.Fatal(err)
	}
}

func (g guest) powerOff() {
	g.t.Helper()
	if err := g.PowerOff(g.ctx); err != nil {
		g.t.Fatal(err)
	}
}

// createUser lets a client in over TCP. In a real role, SQL from a secret does this.
func (g guest) createUser() {
	g.t.Helper()
	g.sh(`mariadb -e "CREATE DATABASE shop; CREATE USER app@'%%' IDENTIFIED BY '%s'; GRANT ALL ON shop.* TO app@'%%'"`, password)
}

// database connects to the machine's MariaDB over TCP, as a client does.
func (g guest) database() *sql.DB {
	g.t.Helper()
	db, err := sql.Open("mysql", "app:"+password+"@tcp("+g.Addr(3306)+")/shop?timeout=20s&readTimeout=60s")
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { db.Close() })
	return db
}

func (g guest) exec(query string, args ...any) {
	g.t.Helper()
	if _, err := g.database().ExecContext(g.ctx, query, args...); err != nil {
		g.t.Fatalf("%s: %v", query, err)
	}
}

// row reads the one row that the first machine wrote.
func (g guest) row() string {
	g.t.Helper()
	var name string
	err := g.database().QueryRowContext(g.ctx, "SELECT name FROM orders WHERE id = 1").Scan(&name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		g.t.Fatal(err)
	}
	return name
}
