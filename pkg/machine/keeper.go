package machine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"bootagent/pkg/bypass"
	"bootagent/pkg/files"
	"bootagent/pkg/grammar"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/systemd"
	"bootagent/pkg/systemd/guard"
)

// A Keeper keeps in RunDir what is in force: a lock that makes the agent the only
// one of the machine, the role files, where the generator finds them, and the plan,
// by which the volumes are released.
type Keeper struct {
	RunDir   string // /run/bootagent
	RolesDir string // /etc/bootagent/roles.d
	Manager  *systemd.Manager
	Log      *slog.Logger

	lock *os.File
}

// InstanceFile is the environment file that tells services which instance this is,
// below a RunDir.
func InstanceFile(runDir string) string { return filepath.Join(runDir, "instance.env") }

// PlanFile is the file of the plan that is in force, below a RunDir.
func PlanFile(runDir string) string { return filepath.Join(runDir, "plan.json") }

// Lock makes this the only agent of the machine, until Unlock.
func (k *Keeper) Lock() (err error) {
	k.lock, err = takeLock(k.RunDir)
	return err
}

// Unlock gives up the lock.
func (k *Keeper) Unlock() { k.lock.Close() }

func takeLock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another agent runs on this machine: it holds %s", lock.Name())
	}
	return lock, nil
}

// Plan keeps a plan and the role files, and which instance this is. A machine that
// is none has no file that says so.
func (k *Keeper) Plan(plan role.Plan, of host.Instance) error {
	if err := k.keepInstance(of); err != nil {
		return fmt.Errorf("cannot tell services which instance this is: %w", err)
	}
	if err := keepRoles(k.RolesDir, filepath.Join(k.RunDir, "roles.d")); err != nil {
		return err
	}
	src, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	return renameio.WriteFile(PlanFile(k.RunDir), src, 0o600)
}

// InForce returns the plan that is kept, or nil if none is.
func (k *Keeper) InForce() (*role.Plan, error) {
	src, err := os.ReadFile(PlanFile(k.RunDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	plan := new(role.Plan)
	if err == nil {
		err = json.Unmarshal(src, plan)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the plan that an agent kept in this boot of the machine: %w", err)
	}
	return plan, nil
}

func (k *Keeper) keepInstance(of host.Instance) error {
	file := InstanceFile(k.RunDir)
	if of == (host.Instance{}) {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return renameio.WriteFile(file, files.InstanceEnv(of), 0o644, renameio.WithStaticPermissions(0o644))
}

// keepRoles copies the role files that can be read, so that the generator guards
// what is in force even if a file is deleted or broken meanwhile. A copy is never
// replaced by a file that is broken.
func keepRoles(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	roles, _ := grammar.All().Load(from) // who made the plan has said what can't be read
	for _, r := range roles {
		src, err := os.ReadFile(r.File)
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(filepath.Join(to, filepath.Base(r.File)), src, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Check makes the lock again if somebody deleted its file, and the plan in force.
func (k *Keeper) Check(inForce *role.Plan, of host.Instance) error {
	_, err := os.Lstat(filepath.Join(k.RunDir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		var lock *os.File
		if lock, err = takeLock(k.RunDir); err == nil {
			k.lock.Close()
			k.lock = lock
		}
	}
	if inForce == nil {
		return err
	}
	_, missing := os.Lstat(PlanFile(k.RunDir))
	if _, untold := os.Lstat(InstanceFile(k.RunDir)); missing != nil || untold != nil && of != (host.Instance{}) {
		err = errors.Join(err, k.Plan(*inForce, of))
	}
	return err
}

// Granted reports whether a unit was granted in this boot of the machine.
func (k *Keeper) Granted(unit string) bool {
	_, err := os.Lstat(guard.GrantFile(unit))
	return err == nil
}

// AnyGranted reports whether any unit was granted in this boot of the machine.
func AnyGranted() bool {
	tokens, err := os.ReadDir(filepath.Dir(guard.GrantFile("any.service")))
	return err == nil && len(tokens) > 0
}

// Held returns the services that have a guard and no grant.
func (k *Keeper) Held() []string { return guard.Held("/") }

// Bypassed returns the bypasses that are in force.
func (k *Keeper) Bypassed() (map[string]host.Bypass, error) { return bypass.Below(k.RunDir).Bypassed() }

// WarnOfGuards logs which services of a plan could start before they are granted.
func (k *Keeper) WarnOfGuards(ctx context.Context, plan role.Plan) {
	for _, s := range plan.Services {
		switch held, err := k.Manager.Held(ctx, s.Unit); {
		case err != nil:
			k.Log.Error("cannot tell whether "+s.Unit+" is held", "error", err)
		case !held:
			k.Log.Error(s.Unit+" is not held: it can start before its data is there", "hint", "bootagent guard install")
		}
	}
}
