// Package policy has a simulator of IAM, which nobody here wrote, judge the policies that `bootagent
// iam` prints: with AWS's own data of which action asks for which resources and condition keys.
package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// A volume is one that a call is about.
type volume struct {
	id   string
	tags map[string]string
}

// A judged is a policy, and what it has to allow and to deny.
type judged struct {
	partition string
	own       []volume // that an instance may attach and tag
	foreign   []volume
	tagged    []volume // that an instance may tag, and somebody else attaches
	objects   []string // of S3 that it may read
	closed    []string
}

const (
	id      = "vol-0123456789abcdef0"
	account = "123456789012"
	self    = "i-0123456789abcdef0"
	other   = "i-0123456789abcdef1"
)

func tagged(tags ...string) volume {
	v := volume{id: id, tags: map[string]string{}}
	for _, tag := range tags {
		key, value, _ := strings.Cut(tag, "=")
		v.tags[key] = value
	}
	return v
}

// policies are all golden policies, by name. What is own although nobody needs it is what
// policy.Wider says.
var policies = map[string]judged{
	"by-tags": {
		own: []volume{
			tagged("cluster=orders", "part=data", "Name=db"),
			tagged("Cluster=orders", "PART=data"), // the key of a tag has no case
		},
		foreign: []volume{
			tagged("cluster=shop", "part=data"), tagged("cluster=Orders", "part=data"), tagged("cluster=orders"), tagged(),
		},
		objects: []string{"orders-secrets/root.sql.age"},
		closed:  []string{"orders-secrets/root.sql", "orders-secrets/root.sql.age2", "shop-secrets/root.sql.age"},
	},
	"unknown-values": {
		own: []volume{
			tagged("cluster=orders", "part=data-1-eu-central-1a"),
			tagged("cluster=shop", "part=data-1-eu-central-1a"), // another cluster's: --user-data narrows it
		},
		foreign: []volume{tagged("cluster=orders", "part=logs-1-a"), tagged("part=data-1-a"), tagged()},
		objects: []string{"secrets/orders/root.sql.age", "secrets/tls.age", "secrets/orders/old/root.sql.age"},
		closed:  []string{"secrets/orders/tls.age", "secrets/tls.age.old", "others/orders/root.sql.age", "secrets/root.sql.age"},
	},
	"several": {
		partition: "aws-cn",
		own:       []volume{{id: id}, tagged("cluster=orders"), {id: "vol-0123456789abcdef1"}}, // any, by the parameter
		objects:   []string{"b/key"},
		closed:    []string{"b/key2", "c/key"},
	},
	"attached-by-others": {tagged: []volume{{id: id}, tagged("cluster=orders")}},
	"attached-and-by-id": {own: []volume{{id: id}}, tagged: []volume{{id: "vol-0123456789abcdef1"}}},
	"special": {
		own: []volume{
			tagged("a=*", "b=${aws:username}?", "c=*?$x"),
		},
		foreign: []volume{
			tagged("a=anything", "b=${aws:username}?", "c=*?$x"), tagged("a=*", "b=db?", "c=*?$x"),
			tagged("a=*", "b=${aws:username}!", "c=*?$x"), tagged("a=*", "b=${aws:username}?", "c=xx$x"),
		},
		// The simulator takes a * in what it is asked about for a wildcard.
		objects: []string{"b/?${aws:username}"},
		closed:  []string{"b/x${aws:username}", "b/xx${aws:username}", "b/?db"},
	},
	"iam.txtar policy": {
		own:     []volume{tagged("cluster=orders", "holds=mysql"), tagged("cluster=shop", "holds=mysql")},
		foreign: []volume{tagged("cluster=orders"), tagged("cluster=orders", "holds=logs")},
		objects: []string{"orders-secrets/orders/root.sql.age", "orders-secrets/shop/root.sql.age"},
		closed:  []string{"orders-secrets/root.sql.age", "shop-secrets/orders/root.sql.age"},
	},
	"iam.txtar narrow": { // with user-data
		own:     []volume{tagged("cluster=shop", "holds=mysql")},
		foreign: []volume{tagged("cluster=orders", "holds=mysql"), tagged("cluster=shop")},
		objects: []string{"orders-secrets/shop/root.sql.age"},
		closed:  []string{"orders-secrets/orders/root.sql.age", "orders-secrets/shop/old/root.sql.age"},
	},
}

// A question is one that IAM is asked for a call.
type question struct {
	Policy   json.RawMessage `json:"policy"`
	Action   string          `json:"action"`
	Resource resource        `json:"resource"`
	Context  map[string]any  `json:"context"`

	name string
	want string
}

type resource struct {
	Partition string `json:"partition"`
	ARN       string `json:"arn"`
}

const (
	allowed = "Allowed"
	denied  = "ImplicitlyDenied"
)

// questions are what the calls of a boot ask for, and what those of its neighbours would.
func (j judged) questions(name string, policy []byte) (all []question) {
	partition := "aws"
	if j.partition != "" {
		partition = j.partition
	}
	ask := func(want, what, action, arn string, context map[string]any) {
		all = append(all, question{
			Policy: policy, Action: action, Resource: resource{partition, arn}, Context: context,
			name: name + ": " + what + ": " + action + " on " + arn, want: want,
		})
	}
	ec2 := func(kind, id string) string {
		return "arn:" + partition + ":ec2:eu-central-1:" + account + ":" + kind + "/" + id
	}
	s3 := func(object string) string { return "arn:" + partition + ":s3:::" + object }
	from := func(context map[string]any) map[string]any {
		context["ec2:SourceInstanceARN"] = ec2("instance", self)
		return context
	}
	ofInstance := func(id string) map[string]any { return from(map[string]any{"ec2:InstanceID": id}) }
	ofVolume := func(v volume, keys ...string) map[string]any {
		context := from(map[string]any{})
		for key, value := range v.tags {
			context["aws:ResourceTag/"+key] = value
		}
		for _, key := range keys {
			context["aws:RequestTag/"+key] = "x"
			context["aws:TagKeys"] = keys
		}
		return context
	}
	if len(j.own)+len(j.tagged) > 0 {
		ask(allowed, "looks", "ec2:DescribeVolumes", "*", from(map[string]any{}))
		ask(allowed, "looks", "ec2:DescribeVolumesModifications", "*", from(map[string]any{}))
		ask(allowed, "looks", "ec2:DescribeInstances", "*", from(map[string]any{}))
	}
	if len(j.own) > 0 {
		ask(allowed, "itself", "ec2:AttachVolume", ec2("instance", self), ofInstance(self))
		ask(denied, "another instance", "ec2:AttachVolume", ec2("instance", other), ofInstance(other))
		ask(allowed, "itself", "ec2:DetachVolume", ec2("instance", self), ofInstance(self)) // by force or not
		ask(denied, "another instance", "ec2:DetachVolume", ec2("instance", other), ofInstance(other))
		ask(denied, "itself", "ec2:TerminateInstances", ec2("instance", self), ofInstance(self))
		ask(denied, "itself", "ec2:CreateTags", ec2("instance", self), ofVolume(volume{}, "bootagent:volume"))
	}
	for _, v := range j.own {
		what, arn := fmt.Sprint("its own ", v), ec2("volume", v.id)
		ask(allowed, what, "ec2:AttachVolume", arn, ofVolume(v))
		ask(allowed, what, "ec2:DetachVolume", arn, ofVolume(v))
		ask(allowed, what, "ec2:CreateTags", arn, ofVolume(v, "bootagent:volume"))
		ask(allowed, what, "ec2:CreateTags", arn, ofVolume(v, "bootagent:filesystem"))
		ask(denied, what+" with another key", "ec2:CreateTags", arn, ofVolume(v, "cluster"))
		ask(denied, what+" with another key, too", "ec2:CreateTags", arn, ofVolume(v, "bootagent:volume", "cluster"))
		ask(denied, what+" with no key", "ec2:CreateTags", arn, ofVolume(v))
		for _, action := range []string{"DeleteVolume", "DeleteTags", "ModifyVolume", "CreateSnapshot"} {
			ask(denied, what, "ec2:"+action, arn, ofVolume(v))
		}
	}
	for _, v := range j.tagged {
		what, arn := fmt.Sprint("an attached ", v), ec2("volume", v.id)
		ask(allowed, what, "ec2:CreateTags", arn, ofVolume(v, "bootagent:volume", "bootagent:filesystem"))
		ask(denied, what+" with another key", "ec2:CreateTags", arn, ofVolume(v, "cluster"))
		ask(denied, what, "ec2:AttachVolume", arn, ofVolume(v))
		ask(denied, what, "ec2:DetachVolume", arn, ofVolume(v))
	}
	for _, v := range j.foreign {
		what, arn := fmt.Sprint("a foreign ", v), ec2("volume", v.id)
		ask(denied, what, "ec2:AttachVolume", arn, ofVolume(v))
		ask(denied, what, "ec2:DetachVolume", arn, ofVolume(v))
		ask(denied, what, "ec2:CreateTags", arn, ofVolume(v, "bootagent:volume"))
	}
	for _, object := range j.objects {
		bucket, _, _ := strings.Cut(object, "/")
		ask(allowed, "reads", "s3:GetObject", s3(object), from(map[string]any{}))
		ask(denied, "writes", "s3:PutObject", s3(object), from(map[string]any{}))
		ask(denied, "deletes", "s3:DeleteObject", s3(object), from(map[string]any{}))
		ask(denied, "lists", "s3:ListBucket", s3(bucket), from(map[string]any{}))
	}
	for _, object := range j.closed {
		ask(denied, "a foreign object", "s3:GetObject", s3(object), from(map[string]any{}))
	}
	return all
}

func TestAnotherSimulatorOfIAMJudgesThePoliciesAlike(t *testing.T) {
	dir := simulator(t)
	golden := goldenPolicies(t)
	if !slices.Equal(slices.Sorted(maps.Keys(golden)), slices.Sorted(maps.Keys(policies))) {
		t.Errorf("there are the policies %q, and a judgement of %q", slices.Sorted(maps.Keys(golden)), slices.Sorted(maps.Keys(policies)))
	}
	var all []question
	for _, name := range slices.Sorted(maps.Keys(policies)) {
		all = append(all, policies[name].questions(name, golden[name])...)
	}
	in, err := json.Marshal(all)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join(dir, "judge.mjs"))
	cmd.Stdin = bytes.NewReader(in)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, errs.Bytes())
	}
	var verdicts []string
	must(t, json.Unmarshal(out, &verdicts))
	if len(verdicts) != len(all) {
		t.Fatalf("%d verdicts of %d questions", len(verdicts), len(all))
	}
	for i, q := range all {
		if verdicts[i] != q.want {
			t.Errorf("%s\nis %s, and has to be %s", q.name, verdicts[i], q.want)
		}
	}
	t.Logf("%d questions of %d policies", len(all), len(policies))
}

// goldenPolicies are those that other tests compare what is printed with.
func goldenPolicies(t *testing.T) map[string][]byte {
	t.Helper()
	golden := map[string][]byte{}
	files, err := filepath.Glob("../../pkg/policy/testdata/*.golden")
	must(t, err)
	for _, file := range files {
		golden[strings.TrimSuffix(filepath.Base(file), ".golden")], err = os.ReadFile(file)
		must(t, err)
	}
	script, err := txtar.ParseFile("../cli/testdata/iam.txtar")
	must(t, err)
	for _, file := range script.Files {
		if bytes.Contains(file.Data, []byte(`"Statement"`)) {
			golden["iam.txtar "+file.Name] = file.Data
		}
	}
	return golden
}

// simulator gives the folder in which the simulator is installed, as the lock file has it. It is kept
// in the user's cache, by what it is made of.
func simulator(t *testing.T) string {
	t.Helper()
	missing := func(format string, args ...any) {
		t.Helper()
		text := fmt.Sprintf(format, args...)
		if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
			t.Fatal(text)
		}
		t.Skip(text + ": nobody but our own tests has judged the policies")
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing("%s is missing here (Debian's nodejs and npm)", program)
		}
	}
	sum := sha256.New()
	parts := []string{"package.json", "package-lock.json", "judge.mjs"}
	for _, part := range parts {
		data, err := os.ReadFile(part)
		must(t, err)
		fmt.Fprintf(sum, "%s %d\n%s", part, len(data), data)
	}
	cache, err := os.UserCacheDir()
	must(t, err)
	cache = filepath.Join(cache, "bootagent", "policy")
	must(t, os.MkdirAll(cache, 0o755))
	dir := filepath.Join(cache, fmt.Sprintf("%x", sum.Sum(nil)[:12]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	making, err := os.MkdirTemp(cache, "making-")
	must(t, err)
	defer os.RemoveAll(making)
	for _, part := range parts {
		data, err := os.ReadFile(part)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(making, part), data, 0o644))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = making
	if out, err := cmd.CombinedOutput(); err != nil {
		missing("npm ci: %v\n%s", err, out)
	}
	if err := os.Rename(making, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // another one was quicker
			t.Fatal(err)
		}
	}
	return dir
}

// Where packages come from is a matter of who installs them.
func TestTheLockFileNamesNoHost(t *testing.T) {
	data, err := os.ReadFile("package-lock.json")
	must(t, err)
	for _, word := range []string{"resolved", "://"} {
		if bytes.Contains(data, []byte(word)) {
			t.Errorf("package-lock.json holds %q: make it with npm install --package-lock-only --omit-lockfile-registry-resolved", word)
		}
	}
	if got := bytes.Count(data, []byte(`"integrity": "sha512-`)); got != 4 {
		t.Errorf("%d packages have a sum", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
