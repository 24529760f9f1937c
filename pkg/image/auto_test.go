package image

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/fault"
	"bootagent/pkg/role"
)

func TestWhereAutoBindsIsAskedOnAMachineOnly(t *testing.T) {
	bound := func(path string, err error) func(context.Context, role.Plan) (role.Plan, error) {
		return func(_ context.Context, plan role.Plan) (role.Plan, error) {
			if len(plan.Services) == 0 || len(plan.Volumes) == 0 {
				t.Errorf("the engine is asked about %+v", plan)
			}
			plan.Data = slices.Clone(plan.Data)
			plan.Data[0].Bind = path
			return plan, err
		}
	}
	for name, c := range map[string]struct {
		bind                        func(context.Context, role.Plan) (role.Plan, error)
		problem, checked, unchecked string
	}{
		"an image":  {nil, "", "", `where data "mysql" of /etc/bootagent/roles.d/db.yaml is bound (bind: auto): the engine is asked when the image boots`},
		"a machine": {bound("/var/lib/mariadb", nil), "", `where bind: auto binds: data "mysql" of /etc/bootagent/roles.d/db.yaml to /var/lib/mariadb`, ""},
		"a refusal": {bound("", fault.Refuse("move it", "nothing can be bound there")), "db.yaml: nothing can be bound there: move it", "", ""},
		"no answer": {bound("", errors.New("no bus")), "", "", "the engine is asked at boot, and gives no answer now: no bus"},
		// What is mounted at the path that the engine says is found like what is at a written one.
		"in fstab": {bound("/var/lib/fstab", nil), "mounts /var/lib/fstab, but bootagent mounts /var/lib/fstab, the bind mount of data", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			files := whole()
			files["etc/bootagent/roles.d/db.yaml"] = strings.Replace(files["etc/bootagent/roles.d/db.yaml"], "bind: /var/lib/mysql", "bind: auto", 1)
			if name == "in fstab" {
				files["etc/fstab"] = "/dev/sdb /var/lib/fstab ext4 defaults 0 0\n"
			}
			i := load(t, build(t, files), true)
			i.Bind = c.bind
			r := check(t, i)
			for what, lines := range map[string]struct {
				got  []string
				want string
			}{"problem": {r.Problems, c.problem}, "checked": {r.Checked, c.checked}, "unchecked": {r.Unchecked, c.unchecked}} {
				plain := strings.ReplaceAll(strings.Join(lines.got, "\n"), i.Root, "")
				if !strings.Contains(plain, lines.want) {
					t.Errorf("%s: got %s, want %s", what, plain, lines.want)
				}
			}
			if len(r.Problems) > 0 != (c.problem != "") {
				t.Errorf("problems: %q", r.Problems)
			}
		})
	}
}
