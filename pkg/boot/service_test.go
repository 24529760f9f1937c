package boot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role/ready"
	"bootagent/pkg/service"
)

const mariadb = "mariadb.service"

// live has the database be in a state, and systemd tell of it.
func (r *run) live(m *machine, u aUnit, restarts int) {
	r.t.Helper()
	m.mu.Lock()
	again := m.units[mariadb].Active == u.Active
	m.units[mariadb] = u
	m.restarts[mariadb] = host.Restarts{Count: restarts, Died: u.Died}
	m.activeAt[mariadb] = time.Now()
	m.mu.Unlock()
	if err := r.Changed(r.t.Context(), service.Change{Unit: mariadb, Active: u.Active, Again: again}); err != nil {
		r.t.Error(err)
	}
	time.Sleep(2 * time.Second)
	synctest.Wait()
}

var (
	active  = aUnit{UnitState: host.UnitState{Active: "active", Sub: "running"}, Ended: host.Ended{Result: "success", Ran: true}}
	crashed = aUnit{UnitState: host.UnitState{Active: "activating", Sub: "auto-restart"}, Ended: host.Ended{Result: "signal", Ran: true, Died: "it was killed by SIGSEGV"}}
	begins  = aUnit{UnitState: host.UnitState{Active: "activating", Sub: "start"}, Ended: host.Ended{Result: "success", Ran: true}}
)

// upToNow brings a role up.
func upToNow(t *testing.T) (*run, *machine) {
	m := newMachine()
	m.disks[serial] = blank()
	r := start(t, plan(), m)
	r.isUp()
	return r, m
}

const upStep = "service mariadb.service: up"

// A database that dies again and again is not ready, says which restart it is at
// and what it died of, and is ready again when it holds.
func TestAServiceThatCrashesAgainAndAgainIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		time.Sleep(time.Hour)
		for n := range 8 {
			r.live(m, crashed, n)
			r.is(upStep, graph.Waiting, "mariadb.service to start again: this is restart", "after it was killed by SIGSEGV")
			r.live(m, begins, n+1)
			r.is(upStep, graph.Waiting, "mariadb.service to start again: this is restart")
			r.live(m, active, n+1)
			r.is(upStep, graph.Waiting, "mariadb.service to stay up: this is restart", "after it was killed by SIGSEGV")
			time.Sleep(20 * time.Second)
			synctest.Wait()
			if r.step(upStep).State == graph.Done {
				t.Fatalf("it is ready %d s after restart %d", 22, n+1)
			}
		}
		r.is(upStep, graph.Waiting, "this is restart 8 by systemd, after it was killed by SIGSEGV")
		if byHand, _ := m.StoppedByHand(mariadb); byHand {
			t.Error("it counts as stopped by hand")
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

// What it did before it stayed up for long counts no more.
func TestACrashAfterALongLifeIsTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		for n := range 5 {
			time.Sleep(24 * time.Hour)
			r.live(m, crashed, n)
			r.live(m, active, n+1)
			r.is(upStep, graph.Waiting, "to stay up")
			time.Sleep(30 * time.Second)
			synctest.Wait()
			r.isUp()
		}
		r.stop()
	})
}

// It may be over before anybody looked.
func TestARestartBetweenTwoLooksIsSeenByItsNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		time.Sleep(time.Hour)
		r.live(m, active, 1)
		r.is(upStep, graph.Waiting, "to stay up: this is restart 1")
		r.stop()
	})
}

// An agent that is started again over a service that has run for days does not
// have it prove anything.
func TestAServiceThatHasHeldNeedNotHoldAgainForANewAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		r.stop()
		m.restarts[mariadb], m.activeAt[mariadb] = host.Restarts{Count: 7}, time.Now()
		time.Sleep(time.Hour)
		r = start(t, plan(), m)
		r.isUp()
		r.stop()
	})
}

func TestAServiceThatNeverHoldsHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		for n := 0; n < 200; n++ {
			r.live(m, crashed, n)
			time.Sleep(3 * time.Second)
			r.live(m, active, n+1)
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if r.step(upStep).State == graph.Done {
				t.Fatalf("it is ready after %d restarts", n+1)
			}
		}
		p := r.step(upStep)
		if !p.CountsAsFailed {
			t.Errorf("it has not failed: %+v", p)
		}
		if text := p.Err.Error(); !strings.Contains(text, "waited 20m0s in vain for mariadb.service") || !strings.Contains(text, "after it was killed by SIGSEGV") {
			t.Errorf("it says %s", text)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

func TestAStopWhileTheServiceIsProbedIsSeen(t *testing.T) {
	for name, c := range map[string]struct {
		hangs bool // the probe, and does not fail
		told  bool // systemd's signal comes through
		by    host.Ended
		words string
	}{
		"by hand":                   {false, true, host.Ended{Result: "success", Ran: true}, "mariadb.service was stopped by hand"},
		"by hand, the probe hangs":  {true, true, host.Ended{Result: "success", Ran: true}, "mariadb.service was stopped by hand"},
		"by hand, and no signal":    {true, false, host.Ended{Result: "success", Ran: true}, "mariadb.service was stopped by hand"},
		"it ends by itself":         {true, true, host.Ended{Result: "success", Ran: true, ByItself: true, Died: "it exited with status 0"}, "ended by itself (success, it exited with status 0), and its unit does not start it again"},
		"it ends by itself, failed": {true, true, host.Ended{Result: "exit-code", Ran: true, ByItself: true, Died: "it exited with status 7"}, "mariadb.service failed: exit-code, it exited with status 7"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine()
				m.disks[serial] = blank()
				m.probing = func(ctx context.Context) (string, error) {
					if c.hangs {
						<-ctx.Done()
						return "", ctx.Err()
					}
					return "", errors.New("it does not answer")
				}
				r := start(t, plan(), m)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				r.is(upStep, graph.Waiting, "to serve, as mysql-ready.service tells")
				state := host.UnitState{Active: "inactive", Sub: "dead"}
				if c.by.Result != "success" {
					state = host.UnitState{Active: "failed", Sub: "failed"}
				}
				m.mu.Lock()
				m.units[mariadb] = aUnit{state, c.by}
				m.mu.Unlock()
				if c.told {
					_ = r.Changed(t.Context(), service.Change{Unit: mariadb, Active: state.Active})
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				r.is(upStep, graph.Failed, c.words)
				want := c.by.Result == "success" && !c.by.ByItself
				if byHand, _ := m.StoppedByHand(mariadb); byHand != want {
					t.Errorf("noted as stopped by hand: %t", byHand)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				r.stop()
				if starts := len(slices.DeleteFunc(m.effects, func(e string) bool { return e != "start mariadb.service" })); starts != 1 {
					t.Errorf("it was started %d times", starts)
				}
			})
		})
	}
}

// A probe that fails for ever has failed in its time, and is asked on.
func TestAServiceThatNeverServesHasFailedAndIsAskedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.probing = func(context.Context) (string, error) { return "", errors.New("it does not answer") }
		r := start(t, plan(), m)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		r.is(upStep, graph.Waiting, "to serve")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		r.is(upStep, graph.Failed, "is active but did not serve within 1m0s: it does not answer", "systemctl status mysql-ready.service")
		if !r.step(upStep).CountsAsFailed {
			t.Error("it has not failed")
		}
		m.mu.Lock()
		m.probing = nil
		m.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

// A start that takes for ever has failed in its time, and is waited on for.
func TestAServiceThatNeverStartsHasFailedAndIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.disks[serial] = blank()
		m.units[mariadb], m.started[mariadb] = begins, true
		r := start(t, plan(), m)
		time.Sleep(20*time.Minute - time.Second)
		synctest.Wait()
		r.is(upStep, graph.Waiting, "mariadb.service to start")
		time.Sleep(time.Hour)
		synctest.Wait()
		r.is(upStep, graph.Failed, "waited 20m0s in vain for mariadb.service to start")
		m.mu.Lock()
		m.units[mariadb] = active
		m.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

// What a person starts is on its way, whatever it failed of before; what systemd
// starts again and again is not.
func TestAFailedServiceThatIsStartedByAPersonBeginsAnew(t *testing.T) {
	for restarts, anew := range map[int]bool{0: true, 3: false} {
		synctest.Test(t, func(t *testing.T) {
			r, m := upToNow(t)
			r.live(m, aUnit{host.UnitState{Active: "failed"}, host.Ended{Result: "exit-code", Ran: true}}, 0)
			r.is(upStep, graph.Failed, "mariadb.service failed: exit-code")
			m.mu.Lock()
			m.probing = func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }
			m.mu.Unlock()
			r.live(m, active, restarts)
			if p := r.step(upStep); p.State != graph.Waiting || p.CountsAsFailed == anew {
				t.Errorf("after %d restarts: %+v", restarts, p)
			}
			r.stop()
		})
	}
}

// A role that has failed and whose disk is then pulled waits for the disk.
func TestAFailedStepThatIsHeldUpIsNotWhatIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		r.live(m, aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success", Ran: true}}, 0)
		if p := r.step(upStep); !p.CountsAsFailed {
			t.Fatalf("it is %+v", p)
		}
		m.pull(serial)
		r.volumes["data"].Lost("the disk was pulled")
		time.Sleep(time.Second)
		synctest.Wait()
		r.is("volume data: device", graph.Waiting, serial)
		if p := r.step(upStep); p.CountsAsFailed || p.State != graph.Pending {
			t.Errorf("it is %+v", p)
		}
		r.stop()
	})
}

func granted(string) bool { return true }

func ungranted(string) bool { return false }

// One that hangs without its disk, as Redis does, has its grant until it has ended.
func TestAServiceIsHeldAsSoonAsItHasLostItsDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		if held := r.Held(r.progress, granted); len(held) > 0 {
			t.Errorf("it is up, and held: %v", held)
		}
		m.pull(serial)
		r.volumes["data"].Lost("the disk was pulled")
		time.Sleep(time.Second)
		synctest.Wait()
		if held := r.Held(r.progress, granted); held[mariadb].Step != "volume data: device" || held[mariadb].State != graph.Waiting {
			t.Errorf("held are %v", held)
		}
		r.stop()
	})
}

// Until a new agent has found all again, a service that was granted is not held.
func TestAServiceThatWasGrantedIsNotHeldWhileANewAgentLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := upToNow(t)
		r.stop()
		for i := range r.progress {
			r.progress[i].State = graph.Pending
		}
		if held := r.Held(r.progress, granted); len(held) > 0 {
			t.Errorf("held are %v", held)
		}
		if held := r.Held(r.progress, ungranted); len(held) == 0 {
			t.Error("without a grant it is not held")
		}
	})
}

func TestAServiceThatIsStoppedAsItWaitsForItsRestartWasStoppedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		r.live(m, crashed, 0)
		r.is(upStep, graph.Waiting, "to start again")
		r.live(m, aUnit{host.UnitState{Active: "inactive", Sub: "dead"}, host.Ended{Result: "signal", Ran: true, ByItself: true, Died: crashed.Died}}, 0)
		r.is(upStep, graph.Failed, "mariadb.service was stopped by hand")
		r.stop()
		if !m.byHand[mariadb] {
			t.Error("it is not noted")
		}
	})
}

// A grant that goes in the moment in which it is made is made again.
func TestAGrantThatIsLostAndNobodyToldOfIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		m.mu.Lock()
		delete(m.granted, mariadb)
		delete(m.started, mariadb)
		m.units[mariadb] = aUnit{host.UnitState{Active: "inactive"}, host.Ended{Result: "success", Ran: true}}
		m.mu.Unlock()
		_ = r.Changed(t.Context(), service.Change{Unit: mariadb, Active: "inactive"})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.isUp()
		r.stop()
		if !m.granted[mariadb] {
			t.Error("it is not granted")
		}
	})
}

// hangs is after how long a service whose disk is gone is killed.
const hangs = 30 * time.Second

// probed is the plan with another probe, which answers what answer says.
func probed(t *testing.T, r ready.Ready, answer func(context.Context) (string, error)) (*run, *machine) {
	m := newMachine()
	m.disks[serial] = blank()
	m.probing = answer
	p := plan()
	p.Services[0].Ready = &r
	return start(t, p, m), m
}

// tcp is a probe by a connection, with small limits.
var tcp = ready.Ready{TCP: "127.0.0.1:3306", Interval: 5 * time.Second, TryTimeout: 10 * time.Second, Timeout: time.Minute}

func TestTheLastAnswerOfAProbeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer, err := "", errors.New("connection refused")
		r, m := probed(t, tcp, func(context.Context) (string, error) { return answer, err })
		time.Sleep(7 * time.Second)
		synctest.Wait()
		r.is(upStep, graph.Waiting, "to serve, as tcp 127.0.0.1:3306 tells; the last answer is: connection refused")
		m.mu.Lock()
		err = errors.New("no route to host")
		m.mu.Unlock()
		time.Sleep(tcp.Interval)
		synctest.Wait()
		r.is(upStep, graph.Waiting, "the last answer is: no route to host")
		time.Sleep(time.Minute)
		synctest.Wait()
		r.is(upStep, graph.Failed, "mariadb.service is active but did not serve within 1m0s: no route to host")
		m.mu.Lock()
		answer, err = "it accepts a connection", nil
		m.mu.Unlock()
		time.Sleep(tcp.Interval)
		synctest.Wait()
		r.isUp()
		if got := r.step(upStep).Answer; got != answer {
			t.Errorf("the answer is %q", got)
		}
		r.stop()
	})
}

// One that hangs has no more than its limit, and is asked again after a rest.
func TestAProbeThatHangsIsEndedAndAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var asked []time.Duration
		r, _ := probed(t, tcp, func(ctx context.Context) (string, error) {
			asked = append(asked, time.Since(began).Round(time.Second))
			<-ctx.Done()
			return "", context.Cause(ctx)
		})
		time.Sleep(58 * time.Second)
		synctest.Wait()
		r.is(upStep, graph.Waiting, "the last answer is: no answer within 10s")
		time.Sleep(time.Minute)
		synctest.Wait()
		r.is(upStep, graph.Failed, "did not serve within 1m0s: no answer within")
		r.stop()
		for i, at := range asked[1:] {
			if rest := at - asked[i]; rest != tcp.TryTimeout+tcp.Interval {
				t.Errorf("tries %s and %s after the start", asked[i], at)
			}
		}
		if len(asked) < 7 {
			t.Errorf("it was asked at %s only", asked)
		}
	})
}

// The limit is systemd's: the agent does not lift it, and says what does.
func TestAServiceThatHitItsStartLimitStaysDownUntilAPersonStartsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, m := upToNow(t)
		for n := range 5 {
			r.live(m, crashed, n)
			r.live(m, active, n+1)
		}
		hit := aUnit{UnitState: host.UnitState{Active: "failed", Sub: "failed"}, Ended: host.Ended{Result: "start-limit-hit", Ran: true, Died: "it was killed by SIGSEGV"}}
		r.live(m, hit, 5)
		r.is(upStep, graph.Failed, "mariadb.service was started too often, and systemd does not start it again (StartLimitBurst= of its unit, it was killed by SIGSEGV)",
			"systemctl reset-failed mariadb.service && systemctl start mariadb.service")
		starts := func() (n int) {
			for _, e := range m.effects {
				if e == "start mariadb.service" {
					n++
				}
			}
			return n
		}
		if time.Sleep(24 * time.Hour); starts() != 1 {
			t.Errorf("it was started %d times", starts())
		}
		r.live(m, active, 0)
		r.isUp()
		r.stop()
	})
}
