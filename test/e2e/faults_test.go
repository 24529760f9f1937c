package e2e

import (
	"context"
	"strings"
	"testing"

	"filippo.io/age"

	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/service"
	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/region"
)

// rig is one instance and its cloud, of which each case makes something wrong. The agent is started
// again for each: nothing that it needs is granted in this boot until all is well.
type rig struct {
	guest
	region   *region.Region
	instance *region.Instance
	volume   ec2.Volume
	key      *age.X25519Identity
}

// told gives the instance other user-data. EC2 wants it to be stopped for that; the machine runs on.
func (r rig) told(userData string) {
	r.t.Helper()
	i := r.instance.Cloud
	for _, do := range []func() error{
		i.Stop, func() error { return i.Wait(r.ctx, ec2.Stopped) },
		func() error { return i.SetUserData([]byte(userData)) },
		i.Start, func() error { return i.Wait(r.ctx, ec2.Running) },
	} {
		r.ok(do())
	}
}

func (r rig) create(v ec2.Volume) ec2.Volume {
	r.t.Helper()
	made, err := r.region.EC2.CreateVolume(v)
	r.ok(err)
	return made
}

// seals puts the secret into S3, or something in its place.
func (r rig) seals(sealed []byte) { r.t.Helper(); r.ok(r.region.S3.Put(bucket, object, sealed)) }

// A fault is something wrong, and what an operator has to read then.
type fault struct {
	name  string
	wrong func(r rig)
	right func(r rig) // nil where the next case takes care of it
	words []string    // of systemctl status bootagent, and bootagent status
	story string      // that the simulated world tells of the same, or ""
}

var ours = map[string]string{"cluster": "orders", "holds": "mysql"}

// What is wrong with what the instance is told.
var toldWrong = []fault{
	{
		"no user-data, no tag, no default", func(r rig) { r.told("") }, nil,
		[]string{"idle since", "this instance has no role", "bootagent:role", "three lines: #bootagent"},
		"",
	},
	{
		"another's user-data", func(r rig) { r.told("#cloud-config\npackages: [nginx]\n") }, nil,
		[]string{"idle since", "this instance has no role"},
		"",
	},
	{
		"an unknown role", func(r rig) { r.told("#bootagent\nversion: 1\nrole: mysql\nparams: {cluster: orders}\n") }, nil,
		[]string{"failed since", `unknown role "mysql"`, "roles of this machine: mysql-ec2, web", "mariadb.service is held", "only while the instance is stopped"},
		"",
	},
	{
		"a broken document", func(r rig) { r.told("#bootagent\nversion: 1\nroel: mysql-ec2\n") }, nil,
		[]string{"failed since", `3:1: unknown key "roel"`, `did you mean "role"?`, "mariadb.service is held", "bootagent retry"},
		"",
	},
	{
		"a parameter that is missing", func(r rig) { r.told("#bootagent\nversion: 1\nrole: mysql-ec2\n") }, nil,
		[]string{"failed since", `parameter "cluster" is not set and has no default`},
		"",
	},
	{
		"a wildcard in a parameter", func(r rig) { r.told(strings.Replace(orders, "orders", `"ord*"`, 1)) }, nil,
		[]string{"failed since", `parameter "cluster" contains *, which is not allowed`},
		"",
	},
	{
		"a path in a parameter", func(r rig) { r.told(strings.Replace(orders, "orders", `"../../other"`, 1)) }, nil,
		[]string{"failed since", `parameter "cluster" contains .., which is not allowed`},
		"",
	},
	{
		"a metadata service that is turned off", func(r rig) { r.told(orders); r.instance.Cloud.IMDS.Disable() },
		func(r rig) { r.instance.Cloud.IMDS.Heal() },
		[]string{"instance: metadata", "it is turned off for this instance", "403 Forbidden"},
		"",
	},
	{
		"a hop limit that is too low", func(r rig) { r.instance.Cloud.IMDS.BlockTokens() },
		func(r rig) { r.instance.Cloud.IMDS.Heal() },
		[]string{"never answers the request for a token", "the hop limit of its answers is too low, or a firewall drops them"},
		"",
	},
	{
		"a metadata service that is asked too often", func(r rig) { r.instance.Cloud.IMDS.Throttle(service.Always) },
		func(r rig) { r.instance.Cloud.IMDS.Heal() },
		[]string{"it was asked too often, or is in trouble"},
		"",
	},
	{
		"no IAM role", func(r rig) { r.ok(r.instance.Cloud.SetRole("")) },
		func(r rig) { r.ok(r.instance.Cloud.SetRole("db")) },
		[]string{"this instance has no IAM role, or EC2 does not tell it yet", "associate-iam-instance-profile"},
		"",
	},
	{
		"credentials that do not come", func(r rig) { r.instance.Cloud.IMDS.DelayCredentials(1 << 40) },
		func(r rig) { r.instance.Cloud.IMDS.DelayCredentials(0) },
		[]string{"this instance has no IAM role, or EC2 does not tell it yet"},
		"",
	},
}

// What is wrong with the volume.
var volumesWrong = []fault{
	{
		"no volume", func(r rig) { r.ok(r.region.EC2.Untag(r.volume.ID, "holds")) },
		func(r rig) { r.ok(r.region.EC2.Tag(r.volume.ID, ours)) },
		[]string{"waiting since", "for a volume with the tags cluster=orders, holds=mysql", "tag the volume, or make one"},
		"no-volume",
	},
	{
		"two volumes", func(r rig) { r.create(ec2.Volume{ID: "vol-0aaaaaaaaaaaaaaaa", Tags: ours}) },
		func(r rig) { r.ok(r.region.EC2.Untag("vol-0aaaaaaaaaaaaaaaa", "holds")) },
		[]string{"2 volumes have the tags cluster=orders, holds=mysql", "one is meant", "vol-0aaaaaaaaaaaaaaaa", "available in eu-central-1a"},
		"two-volumes",
	},
	{
		"a copy alone", func(r rig) {
			r.ok(r.region.EC2.Untag(r.volume.ID, "holds"))
			r.create(ec2.Volume{ID: "vol-0bbbbbbbbbbbbbbbb", Tags: map[string]string{
				"cluster": "orders", "holds": "mysql", "bootagent:volume": "vol-0cccccccccccccccc",
			}})
		},
		func(r rig) { r.ok(r.region.EC2.Tag(r.volume.ID, ours)) },
		[]string{"failed since", "volume vol-0bbbbbbbbbbbbbbbb is a copy of volume vol-0cccccccccccccccc"},
		"copy",
	},
	{
		"a volume of another zone", func(r rig) {
			r.ok(r.region.EC2.Untag(r.volume.ID, "holds"))
			r.create(ec2.Volume{ID: "vol-0dddddddddddddddd", Zone: "eu-central-1b", Tags: ours})
		},
		func(r rig) {
			r.ok(r.region.EC2.Untag("vol-0dddddddddddddddd", "holds"))
			r.ok(r.region.EC2.Tag(r.volume.ID, ours))
		},
		[]string{"failed since", "is in zone eu-central-1b and this instance is in eu-central-1a", "start the instance in eu-central-1b"},
		"other-zone",
	},
	{
		"a volume that another has", func(r rig) {
			other, err := r.region.EC2.Run(ec2.Launch{ID: "i-0eeeeeeeeeeeeeeee"})
			r.ok(err)
			r.ok(other.Wait(r.ctx, ec2.Running))
			r.ok(r.region.EC2.Attach(r.volume.ID, other.ID, "/dev/sdf"))
			r.ok(r.region.EC2.WaitVolume(r.ctx, r.volume.ID, ec2.Attached))
		},
		func(r rig) {
			r.ok(r.region.EC2.Detach(r.volume.ID))
			r.ok(r.region.EC2.WaitVolume(r.ctx, r.volume.ID, ec2.Available))
		},
		[]string{"waiting since", "to be detached from i-0eeeeeeeeeeeeeeee (running)", "since"},
		"held",
	},
	{
		"no permission", func(r rig) { r.region.IAM.Forbid("db", "ec2:AttachVolume") },
		func(r rig) { r.allow() },
		[]string{"failed since", "ec2:AttachVolume", "bootagent iam"},
		"forbidden",
	},
	{
		"EC2 throttles", func(r rig) { r.region.EC2.Fail("DescribeVolumes", service.Throttled, service.Always) },
		func(r rig) { r.region.EC2.Heal() },
		[]string{"waiting since", "RequestLimitExceeded"},
		"throttled",
	},
	{
		"EC2 is away", func(r rig) { r.region.EC2.Blackhole() },
		func(r rig) { r.region.EC2.Heal() },
		[]string{"waiting since", "ec2:DescribeVolumes"},
		"",
	},
	{
		"an attach that hangs", func(r rig) { r.region.EC2.StickAttach(r.volume.ID) },
		func(r rig) { r.region.EC2.Release(r.volume.ID) },
		[]string{"waiting since", "to be attached as /dev/sdf, asked for at"},
		"attach-hangs",
	},
}

// What is wrong with the secret. The key is on the machine.
var secretsWrong = []fault{
	{
		"a secret that was not sealed", func(r rig) { r.seals([]byte(rootSQL(password))) }, nil,
		[]string{"s3://example-secrets/orders/root.sql.age is not encrypted with age"},
		"not-sealed",
	},
	{
		"a secret that was cut off", func(r rig) { sealed := seal(r.t, rootSQL(password), r.key); r.seals(sealed[:len(sealed)-20]) }, nil,
		[]string{"secret root-sql: decrypt", "s3://example-secrets/orders/root.sql.age", "damaged"},
		"cut-off",
	},
	{
		"a secret for another key", func(r rig) { r.seals(seal(r.t, rootSQL(password), newKey(r.t))) }, nil,
		[]string{"is encrypted for other recipients: the only age identity here has the recipient"},
		"for-another-key",
	},
	{
		"no secret", func(r rig) { r.ok(r.region.S3.Delete(bucket, object)) },
		func(r rig) { r.seals(seal(r.t, rootSQL(password), r.key)) },
		[]string{"s3://example-secrets/orders/root.sql.age: access denied: s3:GetObject is missing", "or the object does not exist"},
		"no-secret",
	},
	{
		"S3 is busy", func(r rig) { r.region.S3.Fail("GetObject", service.SlowDown, service.Always) }, nil,
		[]string{"secret root-sql: fetch", "SlowDown"},
		"s3-busy",
	},
}

// allow lets the instance do what its policy says, again.
func (r rig) allow() {
	r.t.Helper()
	r.ok(r.region.IAM.SetPolicy("db", bootagent(r.t, "", "iam", "--role", "mysql-ec2", "--roles", "../../packaging/roles")))
}

func TestWhatGoesWrongOnEC2IsSaid(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
	defer cancel()
	key := newKey(t)
	reg, v := newRegion(t, onEC2(t), key)
	reg.EC2.SetDelays(ec2.Delays{})
	if err := reg.S3.Put(bucket, object, []byte("nothing")); err != nil { // no service may start before the end
		t.Fatal(err)
	}
	g, i := launch(ctx, t, reg, "wrong", ec2.Launch{UserData: []byte{}}, lab.Config{Files: map[string]image.File{
		"/etc/bootagent/agent.yaml":   {Data: []byte(region.AgentFile + "keys: [{file: /etc/bootagent/keys/machine}]\n")},
		"/etc/bootagent/keys/machine": {Data: []byte(key.String() + "\n"), Mode: 0o600},
	}})
	g.until(settles, "systemctl is-active multi-user.target")

	try := func(faults []fault) {
		for _, f := range faults {
			t.Run(f.name, func(t *testing.T) {
				r := rig{guest{g.Machine, t, ctx}, reg, i, v, key}
				if f.right != nil {
					defer f.right(r)
				}
				f.wrong(r)
				// It holds up a boot for a minute, for the network, and nobody here need wait for that.
				r.sh("systemctl stop bootagent; rm /run/bootagent/status.json; systemctl start --no-block bootagent")
				for _, words := range f.words {
					r.until(settles, "{ systemctl status --no-pager --lines 30 bootagent; bootagent status; } | grep -qF -e '%s'", words)
				}
				if f.story != "" {
					r.tells(f.story)
				}
				r.is("inactive", "systemctl is-active mariadb")
				r.is("inactive", "systemctl is-active nginx")
			})
		}
	}
	try(toldWrong)
	try(volumesWrong)
	try(secretsWrong)
	t.Run("when the causes are gone, the role comes up by itself", func(t *testing.T) {
		r := rig{guest{g.Machine, t, ctx}, reg, i, v, key}
		reg.S3.Heal()
		r.until(settles, "bootagent wait --timeout 2m")
		r.is("active", "systemctl is-active mariadb")
		r.tells("up")
		r.healthy()
	})
}
