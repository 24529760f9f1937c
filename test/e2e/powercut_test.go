package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
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

// A lifeWithCuts is one volume, and the machine that has it. The power is cut while the database is
// made, while a client commits, and while the machine shuts down. Both disks of the machine lose then
// what was not flushed.
type lifeWithCuts struct {
	guest
	random *rand.Rand
	disk   *qemu.Disk
	acked  int // the client saw the rows 1 to acked committed
}

// TestNoCommitIsLostWhenThePowerIsCut counts the rows that a client saw committed after each power cut.
func TestNoCommitIsLostWhenThePowerIsCut(t *testing.T) {
	img := newImage(t)
	t.Run("mariadb", func(t *testing.T) {
		for seed := *cutSeed; seed < *cutSeed+uint64(*cuts+2)/3; seed++ {
			t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
				l := startWithCuts(t, img, seed)
				l.cutWhileMade()
				l.cutUnderLoad()
				l.cutAtShutdown()
				if seed == *cutSeed {
					l.cutWithoutFlushes()
				}
			})
		}
	})
}

func startWithCuts(t *testing.T, img *image.Image, seed uint64) *lifeWithCuts {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*runFor)
	t.Cleanup(cancel)
	m := labtest.Machine(t, img, "power", lab.Config{
		Files: map[string]image.File{"/etc/bootagent/user-data": {Data: []byte(mysql)}}, Ports: []int{3306}, Cache: qemu.Volatile,
	})
	l := &lifeWithCuts{guest: guest{m, t, ctx}, random: rand.New(rand.NewPCG(seed, 0)), disk: newDisk(t)}
	l.disk.Cache = qemu.Volatile
	l.plug(l.disk)
	l.boot()
	return l
}

func (l *lifeWithCuts) boot() {
	l.t.Helper()
	l.ok(l.Boot(l.ctx))
}

// up waits until the database serves.
func (l *lifeWithCuts) up() {
	l.t.Helper()
	l.until(settles, "bootagent wait --timeout 2m")
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

// cutWhileMade cuts the power while the filesystem and the database are made.
func (l *lifeWithCuts) cutWhileMade() {
	l.t.Helper()
	l.until(settles, "systemctl is-active bootagent")
	l.wait(12 * time.Second)
	l.cut()
	l.up()
	l.createUser()
	l.exec("CREATE TABLE orders (id INT PRIMARY KEY)")
}

// cutUnderLoad cuts the power while a client commits.
func (l *lifeWithCuts) cutUnderLoad() {
	l.t.Helper()
	l.commitUntil(0, func() { l.wait(5 * time.Second); l.Kill() })
	l.boot()
	l.up()
	l.allThere()
}

// cutAtShutdown cuts the power while the machine shuts down, and a client still commits.
func (l *lifeWithCuts) cutAtShutdown() {
	l.t.Helper()
	l.commitUntil(0, func() {
		ctx, cancel := context.WithTimeout(l.ctx, time.Duration(l.random.Int64N(int64(6*time.Second))))
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

// cutWithoutFlushes cuts the power of a machine whose disk ignores flushes. Rows have to be lost, or the
// power cuts before were none.
func (l *lifeWithCuts) cutWithoutFlushes() {
	l.t.Helper()
	l.powerOff()
	l.disk.Cache = qemu.Deaf
	l.boot()
	l.up()
	l.commitUntil(l.acked+20, nil)
	l.cut()
	l.until(settles, "bootagent wait --timeout 60s || bootagent status | grep -q 'failed since'")
	if got := l.sh("mariadb --skip-column-names -e 'SELECT COUNT(*) FROM shop.orders'"); got == fmt.Sprint(l.acked) {
		l.t.Errorf("all of %d rows are there after a power cut on a disk that ignores flushes: nothing was cut", l.acked)
	}
}

// commitUntil commits rows until row last is, or until the connection is lost because of what meanwhile does.
func (l *lifeWithCuts) commitUntil(last int, meanwhile func()) {
	l.t.Helper()
	db := l.database()
	ended := make(chan struct{})
	for first := l.acked; l.acked < last || meanwhile != nil; {
		if _, err := db.ExecContext(l.ctx, "INSERT INTO orders VALUES (?)", l.acked+1); err != nil {
			if meanwhile == nil || l.acked == first {
				l.t.Fatal(err)
			}
			break
		}
		l.acked++
		if l.acked == first+1 && meanwhile != nil {
			go func() { defer close(ended); meanwhile() }()
		}
	}
	if meanwhile != nil {
		<-ended
	}
	l.t.Logf("the client saw %d rows committed", l.acked)
}

// allThere fails the test unless all rows are there that the client saw committed. The row after them may be.
func (l *lifeWithCuts) allThere() {
	l.t.Helper()
	var rows, highest int
	if err := l.database().QueryRowContext(l.ctx, "SELECT COUNT(*), COALESCE(MAX(id), 0) FROM orders").Scan(&rows, &highest); err != nil {
		l.t.Fatal(err)
	}
	if rows != highest || rows < l.acked || rows > l.acked+1 {
		l.t.Errorf("the client saw %d rows committed, and %d are there, up to row %d", l.acked, rows, highest)
	}
	l.acked = rows
}
