package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/status"
)

// holdsNginx is the Keeper of a machine on which nginx.service is held, and bypassed.
type holdsNginx struct{ keepsNothing }

func (holdsNginx) Held() []string { return []string{"nginx.service"} }

func (holdsNginx) Bypassed() (map[string]host.Bypass, error) {
	return map[string]host.Bypass{"nginx.service": {Unit: "nginx.service", Reason: "down", By: "alice"}}, nil
}

func TestABypassOfWhatIsNotHeldIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := lives(t, newEdited(t))
		_, err := a.Bypass(t.Context(), host.Bypass{Unit: "cron.service", Reason: "down"})
		if err == nil || err.Error() != "cron.service is not held" || !fault.IsPermanent(err) || fault.HintOf(err) != "systemctl start cron.service" {
			t.Errorf("got %v, hint %q", err, fault.HintOf(err))
		}
	})
}

func TestWithoutAPlanTheAgentCannotBypassAndTellsWhatIsBypassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdited(t)
		e.write("user-data", "#bootagent\nversion: 1\nrole: wep\n")
		a := lives(t, e)
		a.tells(t, status.Failed, "wep")
		synctest.Wait()
		a.Keep = holdsNginx{}
		if _, err := a.Bypass(t.Context(), host.Bypass{Unit: "nginx.service", Reason: "down"}); !errors.Is(err, ErrNoPlan) {
			t.Errorf("got %v, want ErrNoPlan", err)
		}
		if _, err := a.EndBypass(t.Context(), "nginx.service"); !errors.Is(err, ErrNoPlan) {
			t.Errorf("got %v, want ErrNoPlan", err)
		}
		a.Inspect(t.Context()) // a person has bypassed it without the agent
		now, _ := a.report.now()
		if len(now.Bypassed) != 1 || now.Bypassed[0].By != "alice" || !strings.Contains(now.Reason, "wep") {
			t.Errorf("it tells %+v", now)
		}
	})
}
