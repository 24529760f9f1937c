package plan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/fault"
	"bootagent/pkg/grammar"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/settings"
)

const (
	servesWeb = "version: 1\nrole: web\nservices:\n  nginx.service: {}\n"
	onVolume  = "version: 1\nrole: kafka\nvolumes:\n  data: {find: {tags: {cluster: logs}}}\nservices:\n  kafka.service: {}\n"
)

// example is an instance.
var example = host.Instance{ID: "i-0123456789abcdef0", Zone: "eu-central-1a", Region: "eu-central-1", Type: "m7g.large"}

func rolesOf(t *testing.T, roles ...string) func() ([]*role.Role, error) {
	t.Helper()
	dir := t.TempDir()
	for _, text := range roles {
		name := strings.Fields(text)[3] + ".yaml"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return func() ([]*role.Role, error) { return grammar.All().Load(dir) }
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
			plan, err := Make(settings.Settings{DefaultRole: c.byDefault}, dir, UserData, facts)
			if c.words == "" && (err != nil || plan.Role != c.role) {
				t.Errorf("got %q, %v", plan.Role, err)
			}
			if c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)) {
				t.Errorf("got %v", err)
			}
			if name == "nothing" && !errors.Is(err, ErrNoRole) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestALocalMachineHasNoRoleThatNeedsTheCloud(t *testing.T) {
	dir := rolesOf(t, servesWeb, onVolume)
	local := host.Identity{UserData: []byte("#bootagent\nversion: 1\nrole: kafka\n")}
	_, err := Make(settings.Settings{}, dir, "/etc/bootagent/user-data", local)
	if err == nil || err.Error() != `role "kafka" has volume "data", which is found by its tags, and this machine is set to be a local one` ||
		!strings.Contains(fault.HintOf(err), "leave user-data: out of") {
		t.Errorf("got %v, hint %q", err, fault.HintOf(err))
	}
	local.UserData = []byte("#bootagent\nversion: 1\nrole: web\n")
	if _, err := Make(settings.Settings{}, dir, "/etc/bootagent/user-data", local); err != nil {
		t.Error(err)
	}
}

// User-data of EC2 can be changed only while the instance is stopped.
func TestAHintAboutUserDataOfEC2SaysThatTheInstanceHasToStop(t *testing.T) {
	broken := host.Identity{Instance: example, UserData: []byte("#bootagent\nversion: 1\nroel: web\n")}
	_, err := Make(settings.Settings{}, rolesOf(t, servesWeb), UserData, broken)
	for _, words := range []string{
		"only while the instance is stopped", "bootagent retry",
		"aws ec2 stop-instances --region eu-central-1 --instance-ids i-0123456789abcdef0 && ",
		"aws ec2 modify-instance-attribute --region eu-central-1 --instance-id i-0123456789abcdef0 --attribute userData --value file://",
		"aws ec2 start-instances --region eu-central-1 --instance-ids i-0123456789abcdef0",
	} {
		if !strings.Contains(fault.HintOf(err), words) {
			t.Errorf("it does not say %q, but: %s", words, fault.HintOf(err))
		}
	}
	_, err = Make(settings.Settings{}, rolesOf(t, servesWeb), UserData, host.Identity{Instance: example, RoleTag: "wbe"})
	if want := "the instance's tag bootagent:role, then: bootagent retry"; !strings.Contains(fault.HintOf(err), want) {
		t.Errorf("of the tag it says %s", fault.HintOf(err))
	}
}
