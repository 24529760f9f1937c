package policy

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"bootagent/pkg/golden"
)

func TestPolicies(t *testing.T) {
	tagged := []string{"bootagent:volume", "bootagent:filesystem"}
	for name, needs := range map[string]Needs{
		"by-tags": {
			Volumes: []Volume{{Tags: map[string]string{"cluster": "orders", "part": "data"}}},
			Tagged:  tagged,
			Objects: []string{"orders-secrets/root.sql.age"},
		},
		"unknown-values": {
			Volumes: []Volume{{Tags: map[string]string{"cluster": "${params.cluster}", "part": "data-${params.part}-${instance.zone}"}}},
			Tagged:  tagged,
			Objects: []string{"secrets/${params.cluster}/root.sql.age", "secrets/tls.age", "secrets/tls.age"},
		},
		"several": {
			Partition: "aws-cn",
			Volumes: []Volume{
				{ID: "vol-0123456789abcdef0"},
				{Tags: map[string]string{"cluster": "orders"}},
				{Tags: map[string]string{"cluster": "orders"}},
				{ID: "${params.disk}"},
				{},
			},
			Tagged:  tagged,
			Objects: []string{"b/key"},
		},
		"attached-by-others": {
			Volumes: []Volume{{Name: "data", Device: "/dev/sdf"}, {Name: "log", Device: "/dev/sdg"}},
			Tagged:  tagged,
		},
		"attached-and-by-id": {
			Volumes: []Volume{{Name: "data", Device: "/dev/sdf"}, {Name: "log", ID: "vol-0123456789abcdef0"}},
			Tagged:  tagged,
		},
		// What is special to IAM stands for itself.
		"special": {
			Volumes: []Volume{{Tags: map[string]string{"a": "*", "b": "${aws:username}?", "c": "*?$${params.x}"}}},
			Tagged:  tagged,
			Objects: []string{"b/*?${aws:username}", "b/?${aws:username}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, file := Of(needs).String(), "testdata/"+name+".golden"
			golden.Check(t, file, got)
		})
	}
}

func TestWhatNeedsNothingOfAWSNeedsNoPolicy(t *testing.T) {
	if p := Of(Needs{Tagged: []string{"bootagent:volume"}}); len(p.Statement) > 0 {
		t.Errorf("got %s", p)
	}
	if p := Of(Needs{Objects: []string{"b/k"}}); len(p.Statement) != 1 || strings.Contains(p.String(), "ec2") {
		t.Errorf("got %s", p)
	}
}

func TestWhatIsWiderThanNeededIsSaid(t *testing.T) {
	needs := Needs{
		Volumes: []Volume{
			{Name: "data", Tags: map[string]string{"cluster": "${params.cluster}", "holds": "mysql", "zone": "${instance.zone}"}},
			{Name: "exact", Tags: map[string]string{"holds": "logs"}},
			{Name: "one", ID: "vol-0123456789abcdef0"},
			{Name: "bound", ID: "${params.disk}"},
			{Name: "half", ID: "vol-0${params.disk}"},
			{Name: "free"},
		},
		Objects: []string{"b/key", "b/${params.cluster}/key"},
	}
	want := []string{
		"volume data may be that of any other instance of the role: of the tags cluster, zone no value is known",
		"every volume of the account may be attached, detached and tagged as volume bound, since only the user-data says which it is",
		"volume half may be every volume whose id is like vol-0*",
		"every volume of the account may be attached, detached and tagged as volume free, since only the user-data says which it is",
		"ec2:DetachVolume allows a detach by force as well, which the agent never asks for",
		"IAM takes the keys of tags in conditions in upper and lower case alike, which the agent does not",
		"s3://b/*/key may be read whatever stands for the *, slashes as well",
	}
	if got := Wider(needs); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := Wider(Needs{Volumes: []Volume{{ID: "vol-0123456789abcdef0"}}, Objects: []string{"b/key"}}); len(got) != 1 || !strings.Contains(got[0], "a detach by force") {
		t.Errorf("got %q", got)
	}
	want = []string{"every volume of the account may be tagged as volume data, since IAM does not know which one is attached as /dev/sdf"}
	if got := Wider(Needs{Volumes: []Volume{{Name: "data", Device: "/dev/sdf"}}}); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	// The document has it as well, once for all.
	if text := Of(needs).String(); strings.Count(text, `"Sid": "AttachAnyVolume`) != 1 {
		t.Errorf("got %s", text)
	}
}

// The list of partitions is the SDK's, which has it where nobody can import it.
func TestPartitionsAreThoseOfTheSDK(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-sdk-go-v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(strings.TrimSpace(string(dir)) + "/internal/endpoints/awsrulesfn/partitions.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct{ Partitions []struct{ ID string } }
	if err := json.Unmarshal(src, &known); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, p := range known.Partitions {
		want = append(want, p.ID)
	}
	if got := Partitions(); !slices.Equal(got, sorted(want)) {
		t.Errorf("got %q, and the SDK has %q", got, want)
	}
}
