package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/service"
	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/labtest"
	"bootagent/test/lab/region"
)

const (
	orders = "#bootagent\nversion: 1\nrole: mysql-ec2\nparams: {cluster: orders}\n"
	bucket = "example-secrets"
	object = "orders/root.sql.age"

	// password is what must be nowhere but in memory.
	password = "canary-7d1f0c4be29a"
)

// rootSQL is what MariaDB runs at each of its starts.
func rootSQL(password string) string {
	return strings.ReplaceAll(`CREATE DATABASE IF NOT EXISTS shop;
CREATE USER IF NOT EXISTS app@'%' IDENTIFIED BY 'PASSWORD';
ALTER USER app@'%' IDENTIFIED BY 'PASSWORD';
GRANT ALL ON shop.* TO app@'%';
`, "PASSWORD", password)
}

// onEC2 is what an operator bakes for EC2: the example roles of the package, as they are.
func onEC2(t *testing.T) *image.Image {
	t.Helper()
	return labtest.Image(t, image.Spec{
		Debs: []string{deb(t)},
		Files: map[string]image.File{
			"/etc/bootagent/agent.yaml":                {Data: []byte(region.AgentFile)},
			"/etc/mysql/mariadb.conf.d/91-secrets.cnf": {Data: []byte("[mariadbd]\ninit-file = /run/credentials/mariadb.service/root-sql\n")},
		},
		Commands: [][]string{
			{"cp", examples + "mysql-ec2.yaml", examples + "web.yaml", "/etc/bootagent/roles.d/"},
			{"bootagent", "guard", "install"},
			{"bootagent", "guard", "check"},
		},
	})
}

// newRegion is a region with the role's secret, its least policy and an empty volume for it.
func newRegion(t *testing.T, img *image.Image, key *age.X25519Identity) (*region.Region, ec2.Volume) {
	t.Helper()
	r, err := region.New(img, labtest.Dir(t), ec2.Typical(), labtest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	policy := bootagent(t, "", "iam", "--role", "mysql-ec2", "--roles", "../../packaging/roles")
	if err := r.IAM.SetPolicy("db", policy); err != nil {
		t.Fatal(err)
	}
	if err := r.S3.Put(bucket, object, seal(t, rootSQL(password), key)); err != nil {
		t.Fatal(err)
	}
	v, err := r.EC2.CreateVolume(ec2.Volume{Tags: map[string]string{"cluster": "orders", "holds": "mysql"}})
	if err != nil {
		t.Fatal(err)
	}
	return r, v
}

// bootagent runs the program of the package on this host.
func bootagent(t *testing.T, stdin string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("../../build/amd64/bootagent", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("bootagent %s: %v\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out.Bytes()
}

func newKey(t *testing.T) *age.X25519Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func seal(t *testing.T, secret string, key *age.X25519Identity) []byte {
	t.Helper()
	return bootagent(t, secret, "secret", "encrypt", "--recipient", key.Recipient().String(), "--recovery", newKey(t).Recipient().String())
}

// launch boots an instance of the region.
func launch(ctx context.Context, t *testing.T, r *region.Region, name string, l ec2.Launch, config lab.Config) (guest, *region.Instance) {
	t.Helper()
	l.Role = "db"
	if l.UserData == nil {
		l.UserData = []byte(orders)
	}
	config.Ports = []int{3306}
	i, err := r.Launch(ctx, name, l, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { labtest.Leave(t, i.Machine) })
	if err := i.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	return guest{i.Machine, t, ctx}, i
}

// unlock brings a key, as an operator does over SSH.
func (g guest) unlock(key *age.X25519Identity) {
	g.t.Helper()
	r, err := g.Input(g.ctx, []byte(key.String()+"\n"), "bootagent", "unlock")
	if err != nil || r.Exit != 0 || !strings.Contains(r.Stdout, "1 age identity added, for the recipient "+key.Recipient().String()) {
		g.t.Fatalf("bootagent unlock: %+v, %v", r, err)
	}
}

// step is a subtest that those after it stand on.
func step(name string, g guest, do func(guest)) {
	g.t.Run(name, func(t *testing.T) { do(guest{g.Machine, t, g.ctx}) })
	if g.t.Failed() {
		g.t.FailNow()
	}
}

func TestTheWholeWayOnEC2(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
	defer cancel()
	key := newKey(t)
	r, v := newRegion(t, onEC2(t), key)

	// All that passes by itself goes wrong on the first boot.
	delays := ec2.Typical()
	delays.Start = 40 * time.Second // the agent asks before EC2 calls the instance running
	r.EC2.SetDelays(delays)
	r.EC2.SetLag(time.Second)
	r.EC2.Fail("AttachVolume", service.DoneButUnavailable, 1)
	r.EC2.Fail("Describe*", service.Throttled, 2)
	r.EC2.Fail("CreateTags", service.InternalError, 1)
	r.S3.Fail("GetObject", service.SlowDown, 1)
	r.S3.Fail("GetObject", service.Fault{Cut: 100}, 1)

	capture := filepath.Join(t.TempDir(), "first.pcap")
	first, i := launch(ctx, t, r, "first", ec2.Launch{}, lab.Config{Capture: capture})
	i.Cloud.IMDS.DelayCredentials(5 * time.Second)

	step("the service waits for its secret, and all else goes on", first, func(g guest) {
		g.until(settles, "bootagent status | grep -q 'done .* data mysql: bind' && bootagent status | grep -q 'done .* secret root-sql: fetch'")
		g.says("bootagent status; echo exit $?", "mysql-ec2: waiting since", "for the age identity (private key) for the secrets", "give it to the agent: bootagent unlock", "exit 4")
		g.says("systemctl status mariadb", "may not start yet", "key: waiting since")
		g.is("active", "systemctl is-active bootagent")
		g.is("inactive", "systemctl is-active mariadb")
		g.is("", "find /run/bootagent/secrets -type f")
		g.tells("no-key")
	})
	step("a key of another opens nothing", first, func(g guest) {
		g.unlock(newKey(t))
		g.until(settles, "bootagent status | grep -q 'is encrypted for other recipients'")
		g.is("inactive", "systemctl is-active mariadb")
	})
	step("the operator's key opens the secret, and who knows the password logs in", first, func(g guest) {
		g.unlock(key)
		g.until(settles, "bootagent wait --timeout 2m")
		g.healthy()
		g.exec("CREATE TABLE orders (id INT PRIMARY KEY, name TEXT)")
		g.exec("INSERT INTO orders VALUES (1, 'first order')")
		g.is("400 root root", "stat --format '%%a %%U %%G' /run/bootagent/secrets/mariadb.service/root-sql")
		g.is("ramfs", "findmnt --noheadings --output FSTYPE --target /run/bootagent/secrets/mariadb.service/root-sql")
		g.t.Log(g.sh("bootagent timeline"))
	})
	step("the volume says what it is", first, func(g guest) {
		now, _ := r.EC2.Volume(v.ID)
		t := g.t
		if now.Tags["bootagent:volume"] != v.ID || !strings.HasPrefix(now.Tags["bootagent:filesystem"], "made ") {
			t.Errorf("its tags are %q", now.Tags)
		}
		if len(now.Attachments) != 1 || now.Attachments[0].State != ec2.Attached {
			t.Errorf("its attachments are %+v", now.Attachments)
		}
	})
	step("the agent asked for what its policy allows, and for all of it but a detach", first, func(g guest) {
		want := "ec2:AttachVolume ec2:CreateTags ec2:DescribeInstances ec2:DescribeVolumes ec2:DescribeVolumesModifications s3:GetObject"
		if got := strings.Join(r.Calls.Needs(), " "); got != want {
			g.t.Errorf("it asked for %s; the policy is for %s", got, want)
		}
	})
	step("services do not reach the metadata service, and the agent does", first, func(g guest) {
		g.says("systemctl show --property IPAddressDeny mariadb", "169.254.169.254")
	})
	step("the secret is nowhere but in memory", first, func(g guest) { canary(g, key, capture) })
	step("what is staged outlives the agent, and no key is asked for again", first, func(g guest) {
		g.sh("systemctl kill --signal=KILL --kill-whom=main bootagent")
		g.until(settles, "journalctl -b -u bootagent | grep -q 'Scheduled restart job' && bootagent wait --timeout 60s")
		g.is("active", "systemctl is-active mariadb")
	})
	step("the instance goes, and with it the volume", first, func(g guest) {
		if err := i.Terminate(ctx); err != nil {
			g.t.Fatal(err)
		}
		if err := r.EC2.WaitVolume(ctx, v.ID, ec2.Available); err != nil {
			g.t.Fatal(err)
		}
		if where := findIn(g.t, password, v.Path, first.DiskPath(), capture); len(where) > 0 {
			g.t.Errorf("the password is in %q", where)
		}
	})

	config := withFiles(t, r, v, key)
	second, i := launch(ctx, t, r, "second", ec2.Launch{}, config)
	step("a second instance takes the volume", second, func(g guest) {
		g.until(settles, "test -S /run/bootagent/control.sock")
		g.unlock(key) // maybe before anything asks for it
		g.until(settles, "bootagent wait --timeout 2m")
		if got := g.row(); got != "first order" {
			g.t.Errorf("the row is %q", got)
		}
		g.healthy()
		g.t.Log(g.sh("bootagent timeline"))
	})
	step("services read what differs from instance to instance", second, func(g guest) { readsFiles(g, r, v, i) })
	step("a service with imds: allow reaches the metadata service, also where the kernel has no BPF", second, func(g guest) { reachesIMDS(g, i) })
	step("the second instance is turned off", second, func(g guest) {
		g.powerOff()
		if where := findIn(g.t, replicaPassword, v.Path, second.DiskPath()); len(where) > 0 {
			g.t.Errorf("the password of a file is in %q", where)
		}
		g.inOrder("Stopped mariadb.service", "Unmounted srv-data.mount", "Stopped bootagent-release.service", "Stopped target network.target")
	})
}

// TestAHealthyInstanceStandsAlone reboots one whose key is on its own disk, with more and more of
// AWS away.
func TestAHealthyInstanceStandsAlone(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
	defer cancel()
	key := newKey(t)
	r, v := newRegion(t, onEC2(t), key)
	g, i := launch(ctx, t, r, "alone", ec2.Launch{}, lab.Config{Files: map[string]image.File{
		"/etc/bootagent/agent.yaml":   {Data: []byte(region.AgentFile + "keys: [{file: /etc/bootagent/keys/machine}]\n")},
		"/etc/bootagent/keys/machine": {Data: []byte(key.String() + "\n"), Mode: 0o600},
	}})
	g.until(settles, "bootagent wait --timeout 2m")
	g.exec("CREATE TABLE orders (id INT PRIMARY KEY, name TEXT)")
	g.exec("INSERT INTO orders VALUES (1, 'first order')")

	g.tells("up")
	step("what a person stopped stays stopped", g, func(g guest) {
		g.sh("systemctl stop mariadb")
		g.tells("stopped-by-hand")
		g.sh("bootagent retry")
		g.tells("up")
	})
	step("a volume that is taken away takes the service with it, and brings it back", g, func(g guest) {
		g.ok(r.EC2.Detach(v.ID))
		g.tells("pulled")
		g.is("", "pidof mariadbd") // it hangs on what it can't write, and is killed
		g.ok(r.EC2.WaitVolume(ctx, v.ID, ec2.Available))
		g.ok(r.EC2.Attach(v.ID, i.Cloud.ID, "/dev/sdf"))
		g.tells("up")
		if got := g.row(); got != "first order" {
			g.t.Errorf("the row is %q", got)
		}
	})

	// up is when, after the kernel was started, the role was ready.
	up := func(name, story string, words ...string) (took time.Duration) {
		step(name, g, func(g guest) {
			t := g.t
			if err := g.Reboot(ctx); err != nil {
				t.Fatal(err)
			}
			g.until(settles, "bootagent wait --timeout 2m")
			if got := g.row(); got != "first order" {
				t.Errorf("the row is %q", got)
			}
			g.tells(story)
			g.says("systemctl status bootagent", append(words, "mysql-ec2: ready since")...)
			var usec int64
			fmt.Sscan(g.sh("systemctl show --value --property ActiveEnterTimestampMonotonic bootagent-role"), &usec)
			took = time.Duration(usec) * time.Microsecond
			t.Log(g.sh("bootagent timeline"))
		})
		return took
	}
	plain := up("with all there is", "up")
	r.EC2.Blackhole()
	r.S3.Blackhole()
	noAPI := up("without EC2 and S3", "without-ec2-and-s3", "secret root-sql: fetch: uses the ciphertext cached at")
	i.Cloud.IMDS.Blackhole()
	nothing := up("without the metadata service as well", "alone", "instance: metadata: uses the answer cached")
	t.Logf("role ready after %.1f s; without EC2 and S3 %.1f s, %.2f times; without IMDS as well %.1f s, %.2f times",
		plain.Seconds(), noAPI.Seconds(), noAPI.Seconds()/plain.Seconds(), nothing.Seconds(), nothing.Seconds()/plain.Seconds())

	step("the metadata service comes back, and what was relied on is confirmed", g, func(g guest) {
		i.Cloud.IMDS.Heal()
		g.until(settles, "! systemctl status bootagent | grep -q 'uses the answer cached'")
	})
}
