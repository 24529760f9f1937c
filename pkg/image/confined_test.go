package image

import (
	"context"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/apparmor"
	"bootagent/pkg/grammar"
	"bootagent/pkg/role"
)

func TestWhatAServiceIsGivenIsWhatItsRoleHasForIt(t *testing.T) {
	root := build(t, map[string]string{"db.yaml": strings.Replace(dbRole, "services:\n  mariadb.service: {ready: {unit: mysql-ready.service}}\n",
		`files:
  server-id.cnf: {content: "x", services: [mariadb.service]}
services:
  mariadb.service: {also-guard: [backup.service]}
  nginx.service: {needs: [volume.logs]}
`, 1)})
	roles, err := grammar.All().Load(root)
	got := Image{Roles: roles}.Given(t.Context())
	if err != nil || len(got) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if g := got[0]; g.Service != "mariadb.service" || !g.Credentials ||
		!slices.Equal(g.Files, []string{"/run/bootagent/files/server-id.cnf"}) || !slices.Equal(g.Data, []string{"/var/lib/mysql"}) {
		t.Errorf("got %+v", g)
	}
	if g := got[1]; g.Service != "nginx.service" || g.Credentials || len(g.Files)+len(g.Data) > 0 {
		t.Errorf("got %+v", g)
	}
}

// The credential of the role is what the profile does not allow.
func TestCheckTellsWhatAppArmorKeepsFromAService(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // without systemd-analyze: the order of units is not checked
	files := whole()
	files["etc/apparmor.d/worker"] = "profile worker /usr/sbin/work {\n  /var/lib/mysql/ r,\n  /var/lib/mysql/** rwk,\n  include if exists <local/worker>\n}\n"
	root := build(t, files)
	img := load(t, root, true)
	r := check(t, img)
	want := "/etc/apparmor.d/worker: the profile worker of AppArmor, which confines mariadb.service, does not allow what the roles give it " +
		"(/run/credentials/mariadb.service/* r): run bootagent guard install --root " + root
	if !r.Install || !slices.Equal(r.Problems, []string{want}) {
		t.Errorf("without rules: %+v", r)
	}
	if _, err := apparmor.Install(root, img.Given(t.Context()), apparmor.Loader(t.Context(), root)); err != nil {
		t.Fatal(err)
	}
	if r := check(t, img); len(r.Problems) > 0 || !slices.Contains(r.Checked, "1 profile of AppArmor: allowed is what the roles give (worker)") {
		t.Errorf("with rules: %+v", r)
	}
}

// MySQL's profile in Debian has no such flag.
func TestAServiceWhoseMessageAppArmorKeepsBackIsAProblem(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // without systemd-analyze: the order of units is not checked
	const service, profile = "usr/lib/systemd/system/mariadb.service", "etc/apparmor.d/usr.sbin.work"
	for name, c := range map[string]struct {
		unit, flags, imdsd string
		told               bool
	}{
		"it notifies":                            {"Type=notify\n", "", "systemd-imdsd.socket", true},
		"it notifies of a reload, too":           {"Type=notify-reload\n", "flags=(complain) ", "systemd-imdsd.socket", true},
		"its profile attaches what is elsewhere": {"Type=notify\n", "flags=(complain, attach_disconnected) ", "systemd-imdsd.socket", false},
		"its profile confines nothing":           {"Type=notify\n", "flags=(unconfined) ", "systemd-imdsd.socket", false},
		"it does not notify":                     {"Type=notify\nType=simple\n", "", "systemd-imdsd.socket", false},
		"nothing is hidden from it":              {"Type=notify\n", "", "other.socket", false},
	} {
		t.Run(name, func(t *testing.T) {
			files := whole()
			files[service] += "[Service]\n" + c.unit
			files["usr/lib/systemd/system/"+c.imdsd] = "[Socket]\n"
			files[profile] = "/usr/sbin/work " + c.flags + "{\n  /run/credentials/** r,\n  /var/lib/mysql/ r,\n  /var/lib/mysql/** rwk,\n}\n"
			root := build(t, files)
			img := load(t, root, true)
			r := check(t, img)
			want := "/etc/apparmor.d/usr.sbin.work: the profile /usr/sbin/work of AppArmor keeps mariadb.service from telling systemd that it is ready (Type=notify), " +
				"because its guard hides the socket of systemd-imdsd in a mount namespace: run sed -i "
			if !c.told && len(r.Problems) > 0 || c.told && (len(r.Problems) != 1 || !strings.HasPrefix(r.Problems[0], want) || r.Install) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

// What guard install allows is what guard check asks for: both ask the engine.
func TestWhereAutoBindsIsAllowed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	files := whole()
	files["etc/bootagent/roles.d/db.yaml"] = strings.Replace(dbRole, "bind: /var/lib/mysql", "bind: auto", 1)
	files["etc/apparmor.d/worker"] = "profile worker /usr/sbin/work {\n  /run/credentials/** r,\n  /var/lib/mysql/ r,\n  /var/lib/mysql/** rwk,\n  include if exists <local/worker>\n}\n"
	root := build(t, files)
	img := load(t, root, true)
	img.Bind = func(_ context.Context, plan role.Plan) (role.Plan, error) {
		plan.Data = slices.Clone(plan.Data)
		plan.Data[0].Bind = "/data/mysql"
		return plan, nil
	}
	const want = "(/data/mysql/ r, /data/mysql/** rwk)"
	if r := check(t, img); !r.Install || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], want) {
		t.Errorf("without rules: %q", r.Problems)
	}
	if _, err := apparmor.Install(root, img.Given(t.Context()), apparmor.Loader(t.Context(), root)); err != nil {
		t.Fatal(err)
	}
	if r := check(t, img); len(r.Problems) > 0 {
		t.Errorf("with rules: %q", r.Problems)
	}

	img.Bind = nil // an image
	if g := img.Given(t.Context()); len(g[0].Data) > 0 {
		t.Errorf("the engine cannot be asked, and yet: %+v", g)
	}
}
