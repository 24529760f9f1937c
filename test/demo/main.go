// Demo tells the story of the README as it happens: one image, a machine that becomes a database
// server by its user-data, another one that takes over its volume, and one that becomes a web server.
// It ends non-zero if any of it did not hold.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"bootagent/test/lab"
)

const (
	serial = "vol0123456789abcdef0"
	mysql  = "#bootagent\nversion: 1\nrole: mysql\nparams: {disk: " + serial + "}\n"
	web    = "#bootagent\nversion: 1\nrole: web\n"

	within  = 15 * time.Minute // all of it, emulated, with room
	settles = 3 * time.Minute  // one role coming up
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := tell(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		os.Exit(1)
	}
	say("All of it held.")
}

func tell(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "bootagent-demo-")
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "\nThe consoles of the machines are in", dir)
		}
	}()

	say("One image for every role: Debian with MariaDB and nginx enabled, bootagent's package, two role files.")
	img, err := image(ctx)
	if err != nil {
		return err
	}
	defer img.Close()

	disk, err := lab.NewDisk(filepath.Join(dir, "volume.raw"), serial, 512<<20)
	if err != nil {
		return err
	}
	if err := database(ctx, img, dir, disk); err != nil {
		return err
	}
	if err := takeover(ctx, img, dir, disk); err != nil {
		return err
	}
	return webServer(ctx, img, dir)
}

func image(ctx context.Context) (*lab.Image, error) {
	debs, err := filepath.Glob("../build/bootagent_*_amd64.deb")
	if err != nil || len(debs) != 1 {
		return nil, fmt.Errorf("there is not one package in build/, but %q: make package", debs)
	}
	return lab.Build(ctx, lab.Spec{
		Debs: debs,
		Files: map[string]lab.File{
			"/etc/bootagent/agent.yaml": {Data: []byte("user-data: {file: /etc/bootagent/user-data}\n")},
		},
		Commands: [][]string{
			{"sh", "-c", "cp /usr/share/doc/bootagent/examples/roles.d/*.yaml /etc/bootagent/roles.d/"},
			{"bootagent", "validate"},
			{"bootagent", "guard", "install"},
		},
	}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// database is the first boot of a database server, up to its power-off.
func database(ctx context.Context, img *lab.Image, dir string, disk *lab.Disk) error {
	m, err := boot(ctx, img, filepath.Join(dir, "first"), "A machine boots with this user-data:", mysql)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := show(ctx, m, "systemctl status bootagent --lines 0", "systemctl status mariadb --lines 3"); err != nil {
		return err
	}
	if err := expect(ctx, m, "inactive", "systemctl is-active mariadb; ls /var/lib/mysql"); err != nil {
		return err
	}
	say("Now the disk is plugged in, blank.")
	if err := m.Plug(ctx, disk); err != nil {
		return err
	}
	if err := ready(ctx, m); err != nil {
		return err
	}
	if err := show(ctx, m, "systemctl status bootagent --lines 0", "bootagent status", "findmnt /srv/data", "findmnt /var/lib/mysql"); err != nil {
		return err
	}
	say("A client writes a row over TCP.")
	grant := "CREATE DATABASE shop; CREATE USER app@'%' IDENTIFIED BY 'app'; GRANT ALL ON shop.* TO app@'%'"
	if _, err := m.Output(ctx, "mariadb", "--execute", grant); err != nil {
		return err
	}
	for _, query := range []string{
		"CREATE TABLE orders (id INT PRIMARY KEY, name TEXT)",
		"INSERT INTO orders VALUES (1, 'the first order')",
	} {
		fmt.Println("   ", query)
		if err := withDatabase(m, func(db *sql.DB) error { _, err := db.ExecContext(ctx, query); return err }); err != nil {
			return err
		}
	}
	say("Power-off: MariaDB stops before its volume is unmounted.")
	return powerOff(ctx, m, "Stopped mariadb.service", "Unmounted var-lib-mysql.mount", "Unmounted srv-data.mount")
}

// takeover is another machine that gets the volume.
func takeover(ctx context.Context, img *lab.Image, dir string, disk *lab.Disk) error {
	m, err := boot(ctx, img, filepath.Join(dir, "second"), "A second machine boots with the same user-data, and gets the same disk.", mysql)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Plug(ctx, disk); err != nil {
		return err
	}
	if err := ready(ctx, m); err != nil {
		return err
	}
	var name string
	err = withDatabase(m, func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT name FROM orders WHERE id = 1").Scan(&name)
	})
	if err != nil {
		return err
	}
	fmt.Printf("    SELECT name FROM orders WHERE id = 1\n    → %s\n", name)
	if name != "the first order" {
		return fmt.Errorf("the row is %q", name)
	}
	return powerOff(ctx, m, "Stopped mariadb.service", "Unmounted srv-data.mount")
}

// webServer is the same image with another role.
func webServer(ctx context.Context, img *lab.Image, dir string) error {
	m, err := boot(ctx, img, filepath.Join(dir, "web"), "The same image boots with another role:", web)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := ready(ctx, m); err != nil {
		return err
	}
	if err := show(ctx, m, "bootagent status", "systemctl is-active nginx mariadb", "systemctl start mariadb"); err != nil {
		return err
	}
	if err := expect(ctx, m, "active\ninactive", "systemctl is-active nginx mariadb"); err != nil {
		return err
	}
	resp, err := http.Get("http://" + m.Addr(80))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Println("    GET / →", resp.Status)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(err, errors.New("nginx does not serve"))
	}
	return powerOff(ctx, m)
}

// boot boots a machine and says so.
func boot(ctx context.Context, img *lab.Image, dir, words, userData string) (*lab.Machine, error) {
	say("%s", words)
	fmt.Println("    " + strings.ReplaceAll(strings.TrimSpace(userData), "\n", "\n    "))
	m, err := img.Machine(ctx, lab.Config{
		Dir: dir, Ports: []int{3306, 80},
		Files: map[string]lab.File{"/etc/bootagent/user-data": {Data: []byte(userData)}},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := m.Boot(ctx); err != nil {
		m.Close()
		return nil, err
	}
	if err := m.Until(ctx, "bootagent to tell its status", "test", "-e", "/run/bootagent/status.json"); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// ready follows what the agent tells in the journal until the role is ready.
func ready(ctx context.Context, m *lab.Machine) error {
	ctx, cancel := context.WithTimeout(ctx, settles)
	defer cancel()
	told := 0
	for {
		out, err := m.Output(ctx, "journalctl", "--boot", "--no-pager", "--unit=bootagent", "--output=short", "_COMM=bootagent")
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		for _, line := range lines[min(told, len(lines)):] {
			fmt.Println("   ", line)
		}
		told = len(lines)
		status, err := m.Run(ctx, "bootagent", "status")
		switch {
		case err != nil:
			return err
		case status.Exit == 0:
			return nil
		case status.Exit == 1:
			return fmt.Errorf("the role failed:\n%s", status.Stdout)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("the role was not ready within %s:\n%s", settles, status.Stdout)
		}
	}
}

// show prints command lines and what they print.
func show(ctx context.Context, m *lab.Machine, lines ...string) error {
	for _, line := range lines {
		r, err := m.Run(ctx, "sh", "-c", line+" 2>&1")
		if err != nil {
			return err
		}
		fmt.Printf("\n    # %s\n    %s\n", line, strings.ReplaceAll(strings.TrimSpace(string(r.Stdout)), "\n", "\n    "))
	}
	return nil
}

// expect fails unless a command line prints what is wanted.
func expect(ctx context.Context, m *lab.Machine, want, line string) error {
	r, err := m.Run(ctx, "sh", "-c", line)
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(r.Stdout)); got != want {
		return fmt.Errorf("%s: got %q, want %q", line, got, want)
	}
	return nil
}

// powerOff shuts a machine down, and wants its console to tell these in this order.
func powerOff(ctx context.Context, m *lab.Machine, order ...string) error {
	if err := m.PowerOff(ctx); err != nil {
		return err
	}
	console, err := m.Console()
	if err != nil {
		return err
	}
	for _, line := range order {
		_, rest, found := strings.Cut(console, line)
		if !found {
			return fmt.Errorf("the console does not tell %q where it should", line)
		}
		fmt.Println("   ", line)
		console = rest
	}
	return nil
}

func withDatabase(m *lab.Machine, do func(*sql.DB) error) error {
	db, err := sql.Open("mysql", "app:app@tcp("+m.Addr(3306)+")/shop?timeout=30s")
	if err != nil {
		return err
	}
	defer db.Close()
	return do(db)
}

func say(format string, args ...any) { fmt.Printf("\n── "+format+"\n", args...) }
