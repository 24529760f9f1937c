// Package fleet boots a thousand instances of one account against a fake EC2 with the published token
// buckets. It runs the graph of pkg/boot, pkg/storage and the agent's EC2 client, and time is simulated. It
// writes docs/fleet.md.
package fleet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	agentec2 "bootagent/pkg/aws/ec2"
	"bootagent/pkg/aws/name"
	"bootagent/pkg/boot"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/find"
	"bootagent/pkg/storage"
	"bootagent/pkg/storage/ebs"
	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/service"
)

var (
	update = flag.Bool("update", false, "write docs/fleet.md")
	page   = "../../docs/fleet.md"
)

const (
	instances = 1000
	lacking   = 300              // instances whose volume another one holds
	wait      = 20 * time.Minute // that the role gives a volume
)

// A fleet is an account with instances, all in one zone.
type fleet struct {
	t       *testing.T
	cloud   *cloud.Cloud
	ctx     context.Context
	members []*member
	working sync.WaitGroup
}

// A member is one instance, whose agent is told to boot at a time.
type member struct {
	id, volume string
	start      time.Duration
	random     *rand.Rand

	mu sync.Mutex
	up time.Time
}

func id(prefix string, n int) string { return fmt.Sprintf("%s-%017x", prefix, n) }

// newFleet has instances that run, and a volume for each: of the lacking ones, others hold it.
func newFleet(t *testing.T, ctx context.Context, lacking int) *fleet {
	f := &fleet{t: t, ctx: ctx, cloud: cloud.New(cloud.Config{})}
	f.cloud.IAM.Allow("db", "ec2:*")
	for n := range instances {
		m := &member{id: id("i", n+1), volume: id("vol", n+1), random: rand.New(rand.NewPCG(1, uint64(n)))}
		m.start = time.Duration(m.random.Int64N(int64(time.Minute)))
		f.members = append(f.members, m)
		_, err := f.cloud.EC2.Run(ec2.Launch{ID: m.id, Role: "db"})
		must(t, err)
		_, err = f.cloud.EC2.CreateVolume(ec2.Volume{ID: m.volume, Tags: map[string]string{"cluster": "c" + strconv.Itoa(n), "holds": "mysql"}})
		must(t, err)
	}
	synctest.Wait()
	for n := range lacking {
		former, err := f.cloud.EC2.Run(ec2.Launch{ID: id("i", instances+n+1)})
		must(t, err)
		must(t, former.Wait(ctx, ec2.Running))
		must(t, f.cloud.EC2.Attach(f.members[n].volume, former.ID, "/dev/sdf"))
		must(t, f.cloud.EC2.WaitVolume(ctx, f.members[n].volume, ec2.Attached))
	}
	f.cloud.EC2.SetDelays(ec2.Typical())
	f.cloud.EC2.Fail("*", service.Fault{Delay: 100 * time.Millisecond}, service.Always) // a call takes that
	return f
}

// boot starts the agents, all of them within a minute.
func (f *fleet) boot() {
	for n, m := range f.members {
		f.working.Go(func() {
			time.Sleep(m.start)
			plan := role.Plan{Role: "mysql", Volumes: []role.Volume{{
				Name: "data", Mount: "/srv/data", Filesystem: role.XFS, Format: role.FormatNever, Timeout: wait,
				Find: find.Find{Tags: map[string]string{"cluster": "c" + strconv.Itoa(n), "holds": "mysql"}},
			}}}
			b := boot.New(plan, f.world(m), slog.New(slog.DiscardHandler))
			b.Jitter = m.jitter
			b.Run(f.ctx, func(progress []graph.Progress) {
				m.mu.Lock()
				defer m.mu.Unlock()
				done := !slices.ContainsFunc(progress, func(p graph.Progress) bool { return p.State != graph.Done })
				if done && m.up.IsZero() {
					m.up = time.Now()
				}
			})
		})
	}
}

func (m *member) jitter(below time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Duration(m.random.Int64N(int64(max(below, 1))))
}

// world is what the agent of an instance sees: EC2 as it is, and a machine that has its volume's disk
// when EC2 says so.
func (f *fleet) world(m *member) host.Host {
	keys := f.cloud.IAM.Credentials("db", m.id)
	api := agentec2.New(agentec2.Config{
		Region: f.cloud.Region(), Endpoint: "http://ec2.test", HTTP: &http.Client{Transport: cloudtest.Direct{Handler: f.cloud.EC2}}, Jitter: m.jitter,
		Credentials: aws.CredentialsProvider(credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken)),
	})
	machine := &machine{fleet: f, member: m}
	return host.Host{
		Volumes:     ebs.New(api, ebs.Instance{ID: m.id, Zone: "eu-central-1a", Region: f.cloud.Region(), Role: "mysql"}),
		Records:     machine,
		Disks:       disks{machine: machine},
		Filesystems: filesystems{machine: machine},
		Growths:     growths{},
		Ledgers:     machine,
		Mounts:      machine,
		Machine:     host.Machine{ID: m.id, BootID: "boot"},
	}
}

// No filesystem here is smaller than its disk.
type growths struct{ host.Growths }

func (growths) Size(_ context.Context, d host.Disk, _, _ string) (int64, error) { return d.Size, nil }

// A machine is what of it the story of a volume asks for.
type machine struct {
	host.Records
	host.Ledgers
	host.Mounts
	fleet  *fleet
	member *member

	mu      sync.Mutex
	mounted bool
	ledger  []byte // that this boot has written
}

func (*machine) Recorded(string, host.Find) (name.VolumeID, error) { return "", nil }
func (*machine) Record(string, host.Find, name.VolumeID) error     { return nil }
func (*machine) Stale(string) (bool, error)                        { return false, nil }
func (*machine) Stopped(context.Context, string) (string, error)   { return "", nil }
func (m *machine) serial() string                                  { return name.VolumeID(m.member.volume).Serial() }

func (m *machine) WriteLedger(_ context.Context, _ string, ledger []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ledger = ledger
	return nil
}

func (m *machine) ReadLedger(context.Context, string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ledger != nil {
		return m.ledger, nil
	}
	return (&storage.Ledger{Volume: m.member.volume, UUID: "0f0b9c3e-7d1f-4b64-8f4e-5b8a3f1b2c3d", Role: "mysql"}).Encode()
}

func (m *machine) At(string) (uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return 1, m.mounted, nil
}

func (m *machine) Mount(context.Context, host.Mount) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mounted = true
	return nil
}

func (m *machine) Unmount(context.Context, string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mounted = false
	return nil
}

type disks struct {
	host.Disks
	*machine
}

func (d disks) Find(_ context.Context, serial string) (host.Disk, bool, error) {
	v, _ := d.fleet.cloud.EC2.Volume(d.member.volume)
	there := len(v.Attachments) == 1 && v.Attachments[0].InstanceID == d.member.id && v.Attachments[0].State == ec2.Attached
	return host.Disk{Serial: serial, Path: "/dev/nvme1n1", Link: "/dev/disk/by-id/" + serial, Dev: 1, Seq: 1, Size: 1 << 30}, there && serial == d.serial(), nil
}

func (d disks) Appear(ctx context.Context, serial string) (host.Disk, error) {
	for {
		if disk, there, err := d.Find(ctx, serial); there || err != nil {
			return disk, err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return host.Disk{}, ctx.Err()
		}
	}
}

func (disks) Read(context.Context, host.Disk, host.Reading) (host.Content, error) {
	return host.Content{Filesystem: "xfs", UUID: "0f0b9c3e-7d1f-4b64-8f4e-5b8a3f1b2c3d", Words: "has an XFS filesystem"}, nil
}

type filesystems struct {
	host.Filesystems
	*machine
}

func (filesystems) Settle(context.Context, host.Disk) error        { return nil }
func (filesystems) Check(context.Context, host.Disk, string) error { return nil }

func (f filesystems) Look(ctx context.Context, _ host.Disk, _ string, _ []host.Data) (host.Look, error) {
	ledger, err := f.ReadLedger(ctx, "")
	return host.Look{Ledger: ledger}, err
}

// calls are those of some time, by action.
type calls struct {
	answered, throttled int
	most                int // in one second
}

// took gives the calls since a time, and forgets nothing.
func (f *fleet) took(from, to time.Time, of func(service.Call) bool) map[string]calls {
	all := map[string]calls{}
	perSecond := map[string]int{}
	for _, call := range f.cloud.Calls.All() {
		if call.Time.Before(from) || !call.Time.Before(to) || !of(call) {
			continue
		}
		c := all[call.Action]
		if call.Code == "RequestLimitExceeded" {
			c.throttled++
		} else {
			c.answered++
		}
		second := call.Action + call.Time.Format(time.TimeOnly)
		perSecond[second]++
		c.most = max(c.most, perSecond[second])
		all[call.Action] = c
	}
	return all
}

var actions = []string{"DescribeVolumes", "DescribeInstances", "CreateTags", "AttachVolume"}

// table is of calls, for the page.
func table(w io.Writer, all map[string]calls) {
	fmt.Fprint(w, "\n| call | answered | throttled | in the busiest second |\n| --- | --- | --- | --- |\n")
	for _, action := range actions {
		fmt.Fprintf(w, "| %s | %d | %d | %d |\n", action, all[action].answered, all[action].throttled, all[action].most)
	}
}

// after gives how long some members took, since a time, the quickest first. All have to be up.
func (f *fleet) after(members []*member, since time.Time) []time.Duration {
	var all []time.Duration
	for _, m := range members {
		m.mu.Lock()
		if m.up.IsZero() {
			f.t.Errorf("%s is starved: it is not up", m.id)
		}
		all = append(all, m.up.Sub(since))
		m.mu.Unlock()
	}
	slices.Sort(all)
	return all
}

func quantiles(w io.Writer, what string, all []time.Duration) {
	at := func(share float64) time.Duration { return all[int(share*float64(len(all)-1))].Round(time.Second) }
	fmt.Fprintf(w, "| %s | %s | %s | %s |\n", what, at(0.5), at(0.99), at(1))
}

const timesHead = "\n| | half of them | 99 of 100 | all |\n| --- | --- | --- | --- |\n"

func everybody(service.Call) bool { return true }

// A zone comes back: all instances boot within a minute, and each has its volume.
func zone(t *testing.T, w io.Writer) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		f := newFleet(t, ctx, 0)
		began := time.Now()
		f.boot()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		fmt.Fprintf(w, "\n## A zone comes back\n\n%d instances boot within a minute, and each volume is free.\n", instances)
		fmt.Fprint(w, timesHead)
		times := f.after(f.members, began)
		quantiles(w, "ready, since the first boot began", times)
		if last := times[len(times)-1]; last > 15*time.Minute {
			t.Errorf("the last one is up after %s", last)
		}
		all := f.took(began, time.Now(), everybody)
		table(w, all)
		if got := all["AttachVolume"].answered; got != instances {
			t.Errorf("%d attaches of %d volumes", got, instances)
		}
		stop()
		f.working.Wait()
		must(t, f.cloud.Close())
	})
}

// One volume too few for each of some: they wait, in vain at first.
func tooFew(t *testing.T, w io.Writer) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		f := newFleet(t, ctx, lacking)
		waiting := map[string]bool{}
		for _, m := range f.members[:lacking] {
			waiting[m.id] = true
		}
		ofThese := func(call service.Call) bool { return waiting[call.Principal] }
		began := time.Now()
		f.boot()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		free := time.Now()
		for _, m := range f.members[:lacking] {
			must(t, f.cloud.EC2.Detach(m.volume))
		}
		time.Sleep(time.Hour)
		synctest.Wait()

		fmt.Fprintf(w, "\n## One volume too few for each of %d\n\nOther instances hold the volumes of %d of the %d instances. Two hours later, all these volumes are detached at once.\n", lacking, lacking, instances)
		fmt.Fprint(w, timesHead)
		quantiles(w, "ready, instances with a volume, since the first boot began", f.after(f.members[lacking:], began))
		quantiles(w, "ready, instances without one, since their volume was detached", f.after(f.members[:lacking], free))

		fmt.Fprint(w, "\n| how often a waiting instance asks EC2 | for volumes | for holders |\n| --- | --- | --- |\n")
		for _, span := range []struct {
			what     string
			from, to time.Time
			most     float64
		}{
			{"in the 20 minutes of the timeout", began, began.Add(time.Minute + wait), 40},
			{"in each hour after that", free.Add(-time.Hour), free, 8},
		} {
			all := f.took(span.from, span.to, ofThese)
			each := func(action string) float64 { return float64(all[action].answered+all[action].throttled) / lacking }
			fmt.Fprintf(w, "| %s | %.1f times | %.1f times |\n", span.what, each("DescribeVolumes"), each("DescribeInstances"))
			if got := each("DescribeVolumes") + each("DescribeInstances"); got > span.most {
				t.Errorf("%s it asks %.1f times", span.what, got)
			}
		}
		fmt.Fprint(w, "\nIn the first hour, all instances together:\n")
		table(w, f.took(began, began.Add(time.Hour), everybody))
		stop()
		f.working.Wait()
		must(t, f.cloud.Close())
	})
}

const head = `# A fleet (explanation)

This page says how many EC2 calls a thousand instances of one account make, and how long it takes until all of them
are ready. ` + "`make fleet`" + ` writes this page. It runs the agent's own graph of a boot, its volumes and its EC2 client
with a fake EC2. The fake EC2 has [the published token buckets](https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html):
100 for each Describe call, refilled with 20 per second; 100 for CreateTags, refilled with 10 per second; 50 for
AttachVolume, refilled with 5 per second. Time is simulated, and the result is the same each time. A call takes 100 ms,
an attach 2 s. All callers of one account in one region share the buckets, so other callers reduce what is left.

An instance asks EC2 only in a boot in which it attaches a volume. While another instance holds the volume, it asks
again after half a second. Each time, it waits 1.5 times as long, up to one minute, and up to ten minutes after the
volume's ` + "`timeout`" + ` has ended. When something changes, it asks often again. It asks who holds the volume when the holder
changes, and once per hour. After EC2 throttles a call, it waits two seconds, and each time twice as long, up to two
minutes. ` + "`bootagent retry`" + ` asks at once, unless EC2 has just throttled a call.
`

func TestAFleet(t *testing.T) {
	var w bytes.Buffer
	w.WriteString(head)
	zone(t, &w)
	tooFew(t, &w)
	if t.Failed() {
		t.Log(w.String())
		return
	}
	if *update {
		must(t, os.WriteFile(page, w.Bytes(), 0o644))
		return
	}
	want, err := os.ReadFile(page)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if !bytes.Equal(w.Bytes(), want) {
		t.Errorf("docs/fleet.md is another one; make fleet writes it:\n%s", cmp.Or(w.String(), "nothing"))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
