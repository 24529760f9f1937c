package image

import (
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/apparmor"
	"bootagent/pkg/grammar"
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
	got := Given(roles)
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
	if _, err := apparmor.Install(root, Given(img.Roles), apparmor.Loader(t.Context(), root)); err != nil {
		t.Fatal(err)
	}
	if r := check(t, img); len(r.Problems) > 0 || !slices.Contains(r.Checked, "1 profile of AppArmor: allowed is what the roles give (worker)") {
		t.Errorf("with rules: %+v", r)
	}
}
