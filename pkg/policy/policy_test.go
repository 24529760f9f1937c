package policy

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

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
			},
			Tagged:  tagged,
			Objects: []string{"b/key"},
		},
		// What is special to IAM stands for itself.
		"special": {
			Volumes: []Volume{{Tags: map[string]string{"a": "*", "b": "${aws:username}?", "c": "*?$${params.x}"}}},
			Tagged:  tagged,
			Objects: []string{"b/*?${aws:username}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, golden := Of(needs).String(), "testdata/"+name+".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
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
