package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"bootagent/test/lab"
	"bootagent/test/lab/image"
	"bootagent/test/lab/labtest"
	"bootagent/test/lab/qemu"
)

var (
	cuts    = flag.Int("cuts", 3, "how many power cuts each engine has to survive, three to a life")
	cutSeed = flag.Uint64("cut-seed", 1, "the first seed of the moments at which the power is cut")
)

// A lifeWithCuts is two volumes, and the machine that has them, with all engines of its platform. The power
// is cut while the databases are made, while a client of each engine commits, and while the machine shuts
// down. All disks of the machine lose then what was not flushed.
type lifeWithCuts struct {
	guest
	random  *rand.Rand
	disks   []*qemu.Disk
	clients []*client
}

// TestNoCommitIsLostWhenThePowerIsCut counts the rows that a client of each engine saw committed, after each
// power cut.
func TestNoCommitIsLostWhenThePowerIsCut(t *testing.T) {
	on, err := image.Chosen()
	if err != nil {
		t.Fatal(err)
	}
	img := allEngines(t, on, engines(on))
	for seed := *cutSeed; seed < *cutSeed+uint64(*cuts+2)/3; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			l := startWithCuts(t, img, engines(on), seed)
			l.cutWhileMade()
			l.cutUnderLoad()
			l.cutAtShutdown()
			if seed == *cutSeed {
				l.cutWithoutFlushes()
			}
		})
	}
}

func startWithCuts(t *testing.T, img *image.Image, engines []engine, seed uint64) *lifeWithCuts {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
	t.Cleanup(cancel)
	key := newKey(t)
	m := labtest.Machine(t, img, "power", lab.Config{
		Files: map[string]image.File{
			"/etc/bootagent/user-data":            {Data: []byte(userData)},
			"/etc/bootagent/agent.yaml":           {Data: []byte("user-data: {file: /etc/bootagent/user-data}\nkeys: [{file: /etc/bootagent/keys/lab}]\n")},
			"/etc/bootagent/keys/lab":             {Data: []byte(key.String() + "\n"), Mode: 0o600},
			"/etc/bootagent/secrets/greeting.age": {Data: seal(t, greeting, key)},
		},
		Ports: []int{3306, 5432, 6379, 9092}, Cache: qemu.Volatile,
	})
	l := &lifeWithCuts{guest: guest{m, t, ctx}, random: rand.New(rand.NewPCG(seed, 0)), disks: twoDisks(t)}
	for _, e := range engines {
		if c := clients()[e.name]; c != nil {
			l.clients = append(l.clients, c)
		}
	}
	for _, d := range l.disks {
		l.plug(d)
	}
	l.boot()
	return l
}

func (l *lifeWithCuts) boot() {
	l.t.Helper()
	l.ok(l.Boot(l.ctx))
}

// up waits until all services serve.
func (l *lifeWithCuts) up() {
	l.t.Helper()
	l.until(2*settles, "bootagent wait --timeout 2m")
}

// wait waits for a random time of at most so long.
func (l *lifeWithCuts) wait(most time.Duration) {
	d := time.Duration(l.random.Int64N(int64(most)))
	l.t.Logf("the power is cut %s later", d)
	time.Sleep(d)
}

// cut cuts the power, and boots the machine again.
func (l *lifeWithCuts) cut() {
	l.t.Helper()
	l.Kill()
	l.boot()
}

// cutWhileMade cuts the power while the filesystems and the databases are made.
func (l *lifeWithCuts) cutWhileMade() {
	l.t.Helper()
	l.until(settles, "systemctl is-active bootagent")
	l.wait(30 * time.Second)
	l.cut()
	l.until(settles, "test -e /srv/log/import || { %s; }", copyByHand)
	l.up()
	for _, c := range l.clients {
		for _, line := range letIn(c.name) {
			l.sh("cd /; %s", line)
		}
	}
}

// letIn lets a client in over TCP.
func letIn(engine string) []string {
	switch engine {
	case "MariaDB":
		return []string{`mariadb -e "CREATE DATABASE shop; CREATE USER app@'%' IDENTIFIED BY '` + password + `'; GRANT ALL ON shop.* TO app@'%'"`}
	case "PostgreSQL":
		return []string{
			`runuser -u postgres -- psql -Xc "CREATE ROLE app LOGIN PASSWORD '` + password + `'"`,
			`runuser -u postgres -- psql -Xc "CREATE DATABASE shop OWNER app"`,
		}
	default:
		return nil
	}
}

// cutUnderLoad cuts the power while clients commit.
func (l *lifeWithCuts) cutUnderLoad() {
	l.t.Helper()
	l.commitUntil(func() { l.wait(5 * time.Second); l.Kill() })
	l.boot()
	l.up()
	l.allThere()
}

// cutAtShutdown cuts the power while the machine shuts down, and clients still commit.
func (l *lifeWithCuts) cutAtShutdown() {
	l.t.Helper()
	l.commitUntil(func() {
		ctx, cancel := context.WithTimeout(l.ctx, time.Duration(l.random.Int64N(int64(8*time.Second))))
		defer cancel()
		if err := l.PowerOff(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			l.t.Errorf("the power button: %v", err)
		}
		l.Kill()
	})
	l.boot()
	l.up()
	l.allThere()
}

// cutWithoutFlushes cuts the power of a machine whose volumes ignore flushes. Rows have to be lost, or the
// power cuts before were none.
func (l *lifeWithCuts) cutWithoutFlushes() {
	l.t.Helper()
	l.powerOff()
	for _, d := range l.disks {
		d.Cache = qemu.Deaf
	}
	l.boot()
	l.up()
	l.commitUntil(func() { time.Sleep(5 * time.Second); l.Kill() })
	l.boot()
	l.until(settles, "bootagent wait --timeout 60s || bootagent status | grep -q 'failed since'")
	lost := false
	for _, c := range l.clients {
		rows, err := l.rows(c)
		l.t.Logf("without flushes, %s has %d rows of %d: %v", c.name, rows, c.acked, err)
		lost = lost || err != nil || rows < c.acked
	}
	if !lost {
		l.t.Error("all rows are there after a power cut on disks that ignore flushes: nothing was cut")
	}
}

// commitUntil has each client commit rows until its connection is lost because of what meanwhile does.
func (l *lifeWithCuts) commitUntil(meanwhile func()) {
	l.t.Helper()
	var begun, ended sync.WaitGroup
	begun.Add(len(l.clients))
	for _, c := range l.clients {
		conn, err := c.open(l.ctx, l.guest)
		if err != nil {
			l.t.Fatalf("%s: %v", c.name, err)
		}
		ended.Go(func() {
			defer conn.Close()
			begin := sync.OnceFunc(begun.Done)
			defer begin()
			for first := c.acked; ; begin() {
				if err := conn.commit(l.ctx, c.acked+1); err != nil {
					if c.acked == first {
						l.t.Errorf("%s: %v", c.name, err)
					}
					return
				}
				c.acked++
			}
		})
	}
	begun.Wait()
	meanwhile()
	ended.Wait()
	var saw []string
	for _, c := range l.clients {
		saw = append(saw, fmt.Sprintf("%d of %s", c.acked, c.name))
	}
	l.t.Logf("the clients saw rows committed: %s", strings.Join(saw, ", "))
}

func (l *lifeWithCuts) rows(c *client) (int, error) {
	conn, err := c.open(l.ctx, l.guest)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.count(l.ctx)
}

// allThere fails the test unless all rows are there that the clients saw committed. The row after them may be.
func (l *lifeWithCuts) allThere() {
	l.t.Helper()
	for _, c := range l.clients {
		rows, err := l.rows(c)
		if err != nil || rows < c.acked || rows > c.acked+1 {
			l.t.Errorf("the client of %s saw %d rows committed, and %d are there: %v", c.name, c.acked, rows, err)
		}
		c.acked = rows
	}
}
