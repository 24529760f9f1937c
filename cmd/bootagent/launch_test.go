package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/aws/name"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/settings"
)

const (
	servesWeb = "version: 1\nrole: web\nservices:\n  nginx.service: {}\n"
	onVolume  = "version: 1\nrole: kafka\nvolumes:\n  data: {find: {tags: {cluster: logs}}}\nservices:\n  kafka.service: {}\n"
)

func rolesOf(t *testing.T, roles ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, text := range roles {
		name := strings.Fields(text)[3] + ".yaml"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestUserDataThenTheTagThenTheDefaultSelectTheRole(t *testing.T) {
	dir := rolesOf(t, servesWeb, onVolume)
	const ours = "#bootagent\nversion: 1\nrole: kafka\n"
	for name, c := range map[string]struct {
		userData, tag, byDefault string
		role, words              string
	}{
		"user-data":                         {ours, "web", "web", "kafka", ""},
		"another's user-data, and the tag":  {"#cloud-config\n", "web", "kafka", "web", ""},
		"no user-data, and the tag":         {"", "web", "kafka", "web", ""},
		"no user-data, no tag, the default": {"", "", "web", "web", ""},
		"nothing":                           {"", "", "", "", "this instance has no role"},
		"a broken document of ours":         {"#bootagent\nversion: 1\nroel: web\n", "web", "web", "", `user-data:3:1: unknown key "roel" in the user-data; did you mean "role"?`},
		"an unknown role":                   {"#bootagent\nversion: 1\nrole: wbe\n", "web", "web", "", `the user-data: unknown role "wbe"; did you mean "web"? (roles of this machine: kafka, web)`},
		"a tag with an unknown role":        {"", "wbe", "web", "", `the instance's tag bootagent:role: unknown role "wbe"`},
		"a default that is unknown":         {"", "", "wbe", "", `/etc/bootagent/agent.yaml: unknown role "wbe"`},
	} {
		t.Run(name, func(t *testing.T) {
			facts := host.Identity{Instance: example, UserData: []byte(c.userData), RoleTag: c.tag}
			plan, err := makePlan(settings.Settings{DefaultRole: c.byDefault}, dir, imdsSource, facts)
			if c.words == "" && (err != nil || plan.Role != c.role) {
				t.Errorf("got %q, %v", plan.Role, err)
			}
			if c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)) {
				t.Errorf("got %v", err)
			}
			if name == "nothing" && !errors.Is(err, errNoRole) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestALocalMachineHasNoRoleThatNeedsTheCloud(t *testing.T) {
	dir := rolesOf(t, servesWeb, onVolume)
	local := host.Identity{UserData: []byte("#bootagent\nversion: 1\nrole: kafka\n")}
	_, err := makePlan(settings.Settings{}, dir, "/etc/bootagent/user-data", local)
	if err == nil || err.Error() != `role "kafka" has volume "data", which is found by its tags, and this machine is set to be a local one` ||
		!strings.Contains(fault.HintOf(err), "leave user-data: out of") {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
	local.UserData = []byte("#bootagent\nversion: 1\nrole: web\n")
	if _, err := makePlan(settings.Settings{}, dir, "/etc/bootagent/user-data", local); err != nil {
		t.Error(err)
	}
}

func TestWhatIsRecordedIsThisInstancesOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "volumes.json")
	mine, find := records{file, "i-1", slog.New(slog.DiscardHandler)}, host.Find{Tags: map[string]string{"cluster": "orders"}}
	if id, err := mine.Recorded("data", find); id != "" || err != nil {
		t.Errorf("before anything: %q, %v", id, err)
	}
	if err := errors.Join(mine.Record("data", find, "vol-1"), mine.Record("logs", host.Find{ID: "vol-2"}, "vol-2")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who  records
		name string
		find host.Find
		want name.VolumeID
	}{
		{mine, "data", find, "vol-1"},
		{mine, "logs", host.Find{ID: "vol-2"}, "vol-2"},
		{mine, "data", host.Find{Tags: map[string]string{"cluster": "other"}}, ""}, // the role means another now
		{mine, "more", find, ""},
		{records{file, "i-2", slog.New(slog.DiscardHandler)}, "data", find, ""}, // an image carries another's records
	} {
		if id, err := c.who.Recorded(c.name, c.find); id != c.want || err != nil {
			t.Errorf("%s of %s by %v: %q, %v; want %q", c.name, c.who.instance, c.find, id, err, c.want)
		}
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := mine.Recorded("data", find); id != "" || err != nil {
		t.Errorf("a broken file is as none: %q, %v", id, err)
	}
}
