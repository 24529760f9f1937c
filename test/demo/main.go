// Demo runs the story of the README on the lab's fake EC2: one image; an instance that becomes a
// database server by its user-data, with an EBS volume and a secret; a second instance that takes over
// the volume when the first is terminated; and an instance that becomes a web server. It checks each
// step, and exits with 1 if a check fails.
package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	_ "github.com/go-sql-driver/mysql"

	"bootagent/test/cloud/ec2"
	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/region"
)

const (
	mysql = "#bootagent\nversion: 1\nrole: mysql-ec2\nparams: {cluster: orders}\n"
	web   = "#bootagent\nversion: 1\nrole: web\n"

	// The object with the secret, where the example role looks for it.
	bucket, object = "example-secrets", "orders/root.sql.age"
	password       = "only-who-knows-the-secret"

	rootSQL = `CREATE DATABASE IF NOT EXISTS shop;
CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY '` + password + `';
ALTER USER app@'%' IDENTIFIED BY '` + password + `';
GRANT ALL ON shop.* TO app@'%';
`
	// MariaDB runs the SQL of its credential at each start.
	initFile = "[mariadbd]\ninit-file = /run/credentials/mariadb.service/root-sql\n"

	within  = 15 * time.Minute // for the whole demo, under emulation
	settles = 3 * time.Minute  // until one role is ready
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %v\n", err)
		os.Exit(1)
	}
	say("The demo has succeeded: all checks passed.")
}

func run(ctx context.Context) (err error) {
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
	img, err := newImage(ctx)
	if err != nil {
		return err
	}
	defer img.Close()
	aws, err := region.New(img, dir, ec2.Typical(), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, aws.Close()) }()

	key, err := prepare(aws)
	if err != nil {
		return err
	}
	if err := database(ctx, aws, key); err != nil {
		return err
	}
	if err := takeover(ctx, aws, key); err != nil {
		return err
	}
	return webServer(ctx, aws)
}

func newImage(ctx context.Context) (*image.Image, error) {
	on, err := image.Chosen()
	if err != nil {
		return nil, err
	}
	debs, err := filepath.Glob("../build/bootagent_*_" + on.Architecture + ".deb")
	if err != nil || len(debs) != 1 {
		return nil, fmt.Errorf("build/ does not contain exactly one package for %s, but %q: run make package", on.Architecture, debs)
	}
	return image.Build(ctx, image.Spec{
		Debs: debs,
		Files: map[string]image.File{
			"/etc/bootagent/agent.yaml":                {Data: []byte(region.AgentFile)},
			"/etc/mysql/mariadb.conf.d/91-secrets.cnf": {Data: []byte(initFile)},
		},
		Commands: [][]string{
			{"sh", "-c", "cd /usr/share/doc/bootagent/examples/roles.d && cp mysql-ec2.yaml web.yaml /etc/bootagent/roles.d/"},
			{"bootagent", "validate"},
			{"bootagent", "guard", "install"},
		},
	}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// prepare makes the secret, the policy and the volume in the cloud. It returns the key, which is not in
// the cloud.
func prepare(aws *region.Region) (*age.X25519Identity, error) {
	say("The operator makes a key, which stays out of the cloud, and encrypts the SQL that sets the password.")
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	recovery, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	sealed, err := host(rootSQL, "secret", "encrypt", "--recipient", key.Recipient().String(), "--recovery", recovery.Recipient().String())
	if err != nil {
		return nil, err
	}
	if err := aws.S3.Put(bucket, object, sealed); err != nil {
		return nil, err
	}
	fmt.Printf("    $ bootagent secret encrypt --recipient %s --recovery %s <root.sql >root.sql.age\n", key.Recipient(), recovery.Recipient())
	fmt.Printf("    %d bytes in s3://%s/%s\n", len(sealed), bucket, object)

	say("The IAM policy of the instances allows this and nothing else:")
	policy, err := host("", "iam", "--role", "mysql-ec2", "--roles", "../packaging/roles")
	if err != nil {
		return nil, err
	}
	fmt.Printf("    $ bootagent iam --role mysql-ec2\n    %s\n", indented(policy))
	if err := aws.IAM.SetPolicy("db", policy); err != nil {
		return nil, err
	}
	tags := map[string]string{"cluster": "orders", "holds": "mysql"}
	volume, err := aws.EC2.CreateVolume(ec2.Volume{Tags: tags})
	if err != nil {
		return nil, err
	}
	say("There is an empty volume, %s, with the tags cluster=orders and holds=mysql.", volume.ID)
	return key, nil
}

// host runs bootagent on this host, as an operator does.
func host(stdin string, args ...string) ([]byte, error) {
	cmd := exec.Command("../build/amd64/bootagent", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("bootagent %s: %w\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out.Bytes(), nil
}

// database runs the first instance, from its launch until it is terminated.
func database(ctx context.Context, aws *region.Region, key *age.X25519Identity) error {
	i, err := launch(ctx, aws, "first", "An instance is launched with this user-data:", mysql)
	if err != nil {
		return err
	}
	defer i.Close()
	if err := follow(ctx, i, "everything but the secret to be ready", func(status string) bool {
		return strings.Contains(status, "for the age identity (private key) for the secrets") && strings.Contains(status, "is held: key:")
	}); err != nil {
		return err
	}
	if err := show(ctx, i, "bootagent status", "systemctl status mariadb --lines 3"); err != nil {
		return err
	}
	if err := expect(ctx, i, "inactive", "systemctl is-active mariadb"); err != nil {
		return err
	}
	if err := unlock(ctx, i, key); err != nil {
		return err
	}
	if err := ready(ctx, i); err != nil {
		return err
	}
	if err := show(ctx, i, "systemctl status bootagent --lines 0", "bootagent timeline", "findmnt /srv/data", "findmnt /var/lib/mysql"); err != nil {
		return err
	}
	say("A client logs in with the password of the secret, and writes a row.")
	for _, query := range []string{
		"CREATE TABLE orders (id INT PRIMARY KEY, name TEXT)",
		"INSERT INTO orders VALUES (1, 'the first order')",
	} {
		fmt.Println("   ", query)
		if err := withDatabase(i, func(db *sql.DB) error { _, err := db.ExecContext(ctx, query); return err }); err != nil {
			return err
		}
	}
	say("The instance is terminated: MariaDB stops before its volume is unmounted, and then EC2 detaches it.")
	return terminate(ctx, i, "Stopped mariadb.service", "Unmounted var-lib-mysql.mount", "Unmounted srv-data.mount")
}

// takeover runs a second instance, which finds the same volume by its tags.
func takeover(ctx context.Context, aws *region.Region, key *age.X25519Identity) error {
	i, err := launch(ctx, aws, "second", "A second instance is launched with the same user-data.", mysql)
	if err != nil {
		return err
	}
	defer i.Close()
	if err := unlock(ctx, i, key); err != nil {
		return err
	}
	if err := ready(ctx, i); err != nil {
		return err
	}
	if err := show(ctx, i, "bootagent timeline"); err != nil {
		return err
	}
	var name string
	err = withDatabase(i, func(db *sql.DB) error {
		return db.QueryRowContext(ctx, "SELECT name FROM orders WHERE id = 1").Scan(&name)
	})
	if err != nil {
		return err
	}
	fmt.Printf("    SELECT name FROM orders WHERE id = 1\n    → %s\n", name)
	if name != "the first order" {
		return fmt.Errorf("the row is %q", name)
	}
	return terminate(ctx, i, "Stopped mariadb.service", "Unmounted srv-data.mount")
}

// webServer runs an instance of the same image with another role.
func webServer(ctx context.Context, aws *region.Region) error {
	i, err := launch(ctx, aws, "web", "The same image is launched with another role:", web)
	if err != nil {
		return err
	}
	defer i.Close()
	if err := ready(ctx, i); err != nil {
		return err
	}
	if err := show(ctx, i, "bootagent status", "systemctl is-active nginx mariadb", "systemctl start mariadb"); err != nil {
		return err
	}
	if err := expect(ctx, i, "active\ninactive", "systemctl is-active nginx mariadb"); err != nil {
		return err
	}
	resp, err := http.Get("http://" + i.Addr(80))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Println("    GET / →", resp.Status)
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(err, errors.New("nginx does not serve"))
	}
	return terminate(ctx, i)
}

// launch launches an instance, prints its user-data, and waits until the agent runs.
func launch(ctx context.Context, aws *region.Region, name, headline, userData string) (*region.Instance, error) {
	say("%s", headline)
	fmt.Println("    " + indented([]byte(userData)))
	i, err := aws.Launch(ctx, name, ec2.Launch{Role: "db", UserData: []byte(userData)}, lab.Config{Ports: []int{3306, 80}})
	if err != nil {
		return nil, err
	}
	if err := i.Boot(ctx); err != nil {
		i.Close()
		return nil, err
	}
	if err := i.Until(ctx, "the control socket of bootagent", "test", "-S", "/run/bootagent/control.sock"); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// unlock passes the key to the agent. It uses the guest agent where an operator uses SSH.
func unlock(ctx context.Context, i *region.Instance, key *age.X25519Identity) error {
	say("The operator brings the key.")
	r, err := i.Input(ctx, []byte(key.String()+"\n"), "bootagent", "unlock")
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("bootagent unlock: %s", r.Stderr)
	}
	if err != nil {
		return err
	}
	fmt.Printf("    $ ssh root@instance bootagent unlock <orders.key\n    %s\n", indented([]byte(r.Stdout)))
	return nil
}

func indented(text []byte) string {
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n    ")
}

// ready prints the agent's journal until the role is ready.
func ready(ctx context.Context, i *region.Instance) error {
	return follow(ctx, i, "the role to be ready", func(status string) bool { return strings.Contains(status, ": ready since ") })
}

// follow prints new lines of the agent's journal until its status is as wanted.
func follow(ctx context.Context, i *region.Instance, what string, is func(status string) bool) error {
	ctx, cancel := context.WithTimeout(ctx, settles)
	defer cancel()
	for {
		status, err := i.Run(ctx, "bootagent", "status")
		if err != nil {
			return err
		}
		fresh, err := i.Output(ctx, "journalctl", "--boot", "--no-pager", "--quiet", "--unit=bootagent", "--output=short",
			"--cursor-file=/run/demo-cursor", "_COMM=bootagent")
		if err != nil {
			return err
		}
		for line := range strings.Lines(fresh) {
			fmt.Print("    ", line)
		}
		switch {
		case is(status.Stdout):
			return nil
		case status.Exit == 1:
			return fmt.Errorf("the role failed:\n%s", status.Stdout)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s:\n%s", settles, what, status.Stdout)
		}
	}
}

// show runs command lines, and prints them with their output.
func show(ctx context.Context, i *region.Instance, lines ...string) error {
	for _, line := range lines {
		r, err := i.Run(ctx, "sh", "-c", line+" 2>&1")
		if err != nil {
			return err
		}
		fmt.Printf("\n    # %s\n    %s\n", line, indented([]byte(r.Stdout)))
	}
	return nil
}

// expect fails if the output of a command line differs from want.
func expect(ctx context.Context, i *region.Instance, want, line string) error {
	r, err := i.Run(ctx, "sh", "-c", line)
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(r.Stdout)); got != want {
		return fmt.Errorf("%s: got %q, want %q", line, got, want)
	}
	return nil
}

// terminate terminates an instance, and fails if its console lacks these lines in this order.
func terminate(ctx context.Context, i *region.Instance, order ...string) error {
	if err := i.Terminate(ctx); err != nil {
		return err
	}
	console, err := i.Console()
	if err != nil {
		return err
	}
	for _, line := range order {
		_, rest, found := strings.Cut(console, line)
		if !found {
			return fmt.Errorf("the console lacks %q, or has it in another order", line)
		}
		fmt.Println("   ", line)
		console = rest
	}
	return nil
}

func withDatabase(i *region.Instance, do func(*sql.DB) error) error {
	db, err := sql.Open("mysql", "app:"+password+"@tcp("+i.Addr(3306)+")/shop?timeout=30s")
	if err != nil {
		return err
	}
	defer db.Close()
	return do(db)
}

func say(format string, args ...any) { fmt.Printf("\n── "+format+"\n", args...) }
