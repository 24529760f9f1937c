package byhand

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bootagent/pkg/bypass"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/journal"
	"bootagent/pkg/role"
	"bootagent/pkg/secret/credential"
	"bootagent/pkg/systemd"
	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/unit"
)

// startDirectly starts a held service without the agent: with the grant that its guard
// asks for, and an empty line for each secret that is not staged. Nothing is proven,
// mounted or made.
func (m Machine) startDirectly(ctx context.Context, want host.Bypass, why error) (answer string, err error) {
	if !slices.Contains(guard.Held("/"), want.Unit) {
		return "", fault.Refuse("systemctl start "+want.Unit, "%s is not held: it has no guard, or it has its grant", want.Unit)
	}
	log, flush := journal.New(os.Stderr)
	defer flush()
	manager := systemd.Beside(m.RunDir, slog.New(slog.DiscardHandler))
	mounts, err := m.mountsOf(want.Unit)
	if err != nil {
		return "", err
	}
	store := credential.Store{Root: filepath.Join(m.RunDir, "secrets")}
	for _, name := range guard.Credentials("/", want.Unit) {
		staged, err := store.Staged(want.Unit, name)
		if err == nil && staged == "" {
			err = store.Stage(want.Unit, name, []byte("\n"), credential.Nothing)
		}
		if err != nil {
			return "", err
		}
	}
	if err := bypass.Below(m.RunDir).Bypass(want); err != nil {
		return "", err
	}
	log.Warn("BYPASS: "+want.String(), "by", want.By, "reason", want.Reason, "without the agent", why.Error(), unit.JournalField, want.Unit)
	if err := manager.Grant(ctx, want.Unit, mounts); err != nil {
		return "", err
	}
	if err := manager.Start(ctx, want.Unit); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s is being started without proof, and without the agent (%v)", want.Unit, why), nil
}

// mountsOf are the mount points of a service, by the plan that was last in force, where
// something is mounted: the service has to stop before they go.
func (m Machine) mountsOf(name string) (at []string, err error) {
	var plan role.Plan
	src, err := os.ReadFile(filepath.Join(m.RunDir, "plan.json"))
	if err != nil || json.Unmarshal(src, &plan) != nil {
		return nil, nil // nothing says what it stands on
	}
	for _, where := range plan.MountsOf(name) {
		_, mounted, err := systemd.MountedAt(where)
		if err != nil {
			return nil, err
		}
		if mounted {
			at = append(at, where)
		}
	}
	return at, nil
}

// endDirectly ends a bypass without the agent. It stops the service, because nothing
// tells whether all that it needs is there.
func (m Machine) endDirectly(ctx context.Context, name string) (answer string, err error) {
	all, err := bypass.Below(m.RunDir).Bypassed()
	if _, ok := all[name]; !ok {
		if err == nil {
			err = fault.Permanent(fmt.Errorf("no bypass of %s is in force", name))
		}
		return "", err
	}
	if err := systemd.Beside(m.RunDir, slog.New(slog.DiscardHandler)).Revoke(ctx, name); err != nil {
		return "", err
	}
	if err := bypass.Below(m.RunDir).EndBypass(name); err != nil {
		return "", err
	}
	return "the bypass of " + strings.TrimSpace(name) + " has ended; it is stopped, because without the agent nothing tells whether all that it needs is there", nil
}
