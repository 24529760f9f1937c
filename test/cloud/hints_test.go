package cloud_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bootagent/pkg/aws/cli"
	"bootagent/pkg/aws/diagnose"
	agentec2 "bootagent/pkg/aws/ec2"
	agentimds "bootagent/pkg/aws/imds"
	"bootagent/pkg/aws/name"
	agents3 "bootagent/pkg/aws/s3"
	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/secret/sources"
	"bootagent/pkg/storage/ebs"
	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/service"
)

// notRun are the AWS commands in hints that the fake does not support, and why. The test still pastes them into a
// shell, and checks that aws sends this call.
var notRun = map[string]struct{ call, why string }{
	"ec2 associate-iam-instance-profile":   {"AssociateIamInstanceProfile", "the fake's instances have roles from their launch on"},
	"ec2 modify-instance-attribute":        {"ModifyInstanceAttribute", "the fake's instances keep the user-data of their launch"},
	"ec2 start-instances":                  {"StartInstances", "the fake's instances are stopped and started by their test"},
	"ec2 stop-instances":                   {"StopInstances", "the fake's instances are stopped and started by their test"},
	"ec2 modify-instance-metadata-options": {"ModifyInstanceMetadataOptions", "the fake's metadata service is set by its test"},
	"iam get-role":                         {"GetRole", "the fake has no API of IAM"},
	"kms describe-key":                     {"DescribeKey", "the fake has no KMS"},
	"sts decode-authorization-message":     {"DecodeAuthorizationMessage", "the fake has no STS, and its encoded messages hold nothing"},
}

// placeholders are the words that a person has to replace because the agent does not know them, and what replaces
// them here. The agent writes INSTANCE if the metadata service has never answered.
var placeholders = map[string]string{"FILE": "sealed.age", "Name=PROFILE": "Name=db", "INSTANCE": "i-0123456789abcdef0"}

// Every AWS command in a hint of the agent works when it is pasted into a shell with a person's credentials. The test
// takes each command from a real error. If the command repairs the cause, the agent goes on afterwards.
func TestEveryCommandForAWSInAHintWorksWhenItIsPasted(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "ec2:*", "s3:GetObject", "s3:ListBucket")
	c.IAM.Allow("forbidden", "ec2:Describe*")
	c.IAM.Allow("attaches", "ec2:Describe*", "ec2:AttachVolume", "ec2:CreateTags")
	c.IAM.Allow("person", "*")
	p := newPerson(t, c)
	self := cloudtest.Launch(t, c, ec2.Launch{Role: "db"})
	other, stopped := cloudtest.Launch(t, c, ec2.Launch{}), cloudtest.Launch(t, c, ec2.Launch{})
	var log bytes.Buffer
	agent := func(role string) *ebs.Volumes {
		api := agentec2.New(agentec2.Config{
			Region: c.Region(), Endpoint: p.urls["ec2"], Credentials: cloudtest.Provider(c.IAM.Credentials(role, self.ID)),
			Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		return ebs.New(api, ebs.Instance{ID: self.ID, Zone: "eu-central-1a", Region: c.Region(), Role: "mysql"})
	}
	v := agent("db")
	attach := func(t *testing.T, id string) error { return v.Attach(t.Context(), name.VolumeID(id)) }
	attaches := func(t *testing.T, id string) {
		t.Helper()
		cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), id, ec2.Available))
		if err := attach(t, id); err != nil && !strings.Contains(err.Error(), "to be attached as /dev/sd") {
			t.Errorf("after the command: %v", err)
		}
		cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), id, ec2.Attached))
	}

	t.Run("all at once", func(t *testing.T) {
		t.Run("held by another", func(t *testing.T) {
			vol := cloudtest.Volume(t, c, ec2.Volume{})
			cloudtest.Must(t, c.EC2.Attach(vol.ID, other.ID, "/dev/sdf"))
			cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), vol.ID, ec2.Attached))
			p.pastes(t, attach(t, vol.ID), "ec2 detach-volume")
			attaches(t, vol.ID)
		})
		t.Run("held by one that is stopped", func(t *testing.T) {
			vol := cloudtest.Volume(t, c, ec2.Volume{})
			cloudtest.Must(t, c.EC2.Attach(vol.ID, stopped.ID, "/dev/sdf"))
			cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), vol.ID, ec2.Attached))
			cloudtest.Must(t, stopped.Stop())
			cloudtest.Must(t, stopped.Wait(t.Context(), ec2.Stopped))
			p.pastes(t, attach(t, vol.ID), "ec2 detach-volume")
			attaches(t, vol.ID)
		})
		t.Run("stuck", func(t *testing.T) {
			vol := cloudtest.Volume(t, c, ec2.Volume{})
			c.EC2.StickAttach(vol.ID)
			cloudtest.Must(t, c.EC2.Attach(vol.ID, self.ID, "/dev/sdo"))
			cloudtest.Must(t, c.EC2.ChangeVolume(vol.ID, func(v *ec2.Volume) { v.Attachments[0].Since = time.Now().Add(-2 * time.Minute) }))
			p.pastes(t, agent("attaches").Attach(t.Context(), name.VolumeID(vol.ID)), "ec2 detach-volume")
			c.EC2.Release(vol.ID)
			attaches(t, vol.ID)
		})
		t.Run("stuck, and then another one", func(t *testing.T) {
			vol := cloudtest.Volume(t, c, ec2.Volume{})
			c.EC2.StickAttach(vol.ID)
			old := func(v *ec2.Volume) { v.Attachments[0].Since = time.Now().Add(-2 * time.Minute) }
			cloudtest.Must(t, c.EC2.Attach(vol.ID, self.ID, "/dev/sdn"))
			cloudtest.Must(t, c.EC2.ChangeVolume(vol.ID, old))
			if err := attach(t, vol.ID); !strings.Contains(err.Error(), "since its attach as /dev/sdn hung") {
				t.Errorf("an attach that hangs: %v", err)
			}
			cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), vol.ID, ec2.Available))
			if err := attach(t, vol.ID); !strings.Contains(err.Error(), "to be attached as /dev/sd") {
				t.Errorf("an attach that was taken back: %v", err)
			}
			cloudtest.Must(t, c.EC2.ChangeVolume(vol.ID, old))
			p.pastes(t, attach(t, vol.ID), "ec2 stop-instances")
			c.EC2.Release(vol.ID)
		})
		t.Run("held by another that does not let it go", func(t *testing.T) {
			vol := cloudtest.Volume(t, c, ec2.Volume{})
			cloudtest.Must(t, c.EC2.Attach(vol.ID, other.ID, "/dev/sdk"))
			cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), vol.ID, ec2.Attached))
			cloudtest.Must(t, c.EC2.ChangeVolume(vol.ID, func(v *ec2.Volume) { v.Attachments[0].State = ec2.Busy }))
			p.pastes(t, attach(t, vol.ID), "ec2 stop-instances")
		})
		t.Run("held by one that is terminated", func(t *testing.T) {
			vol, gone := cloudtest.Volume(t, c, ec2.Volume{}), cloudtest.Launch(t, c, ec2.Launch{})
			cloudtest.Must(t, c.EC2.Attach(vol.ID, gone.ID, "/dev/sdf"))
			cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), vol.ID, ec2.Attached))
			c.EC2.StickDetach(vol.ID)
			cloudtest.Must(t, gone.Terminate())
			p.pastes(t, attach(t, vol.ID), "ec2 describe-volumes")
			c.EC2.Release(vol.ID)
		})
		t.Run("multi-attach", func(t *testing.T) {
			vol := cloudtest.Volume(t, c, ec2.Volume{MultiAttach: true, Type: "io2"})
			p.pastes(t, attach(t, vol.ID), "ec2 modify-volume")
			attaches(t, vol.ID)
		})
		t.Run("a copy", func(t *testing.T) {
			tags := map[string]string{"cluster": "it's a copy"}
			vol := cloudtest.Volume(t, c, ec2.Volume{Tags: map[string]string{"cluster": tags["cluster"], ebs.TagSelf: "vol-0123456789abcdef0"}})
			find := func() error { _, err := v.FindVolume(t.Context(), host.Find{Tags: tags}); return err }
			p.pastes(t, find(), "ec2 delete-tags")
			if err := find(); err != nil {
				t.Errorf("after the command: %v", err)
			}
			attaches(t, vol.ID)
		})
		for code, command := range map[string]string{
			"OperationNotPermitted": "ec2 describe-volumes", "InvalidVolume.ZoneMismatch": "ec2 describe-volumes", "CustomerKeyHasBeenRevoked": "kms describe-key",
		} {
			t.Run(code, func(t *testing.T) {
				vol := cloudtest.Volume(t, c, ec2.Volume{Encrypted: true, KMSKey: "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"})
				c.EC2.Fail("AttachVolume", service.Fault{Status: 400, Code: code, Message: "no"}, 1)
				p.pastes(t, attach(t, vol.ID), command)
			})
		}
		t.Run("a denial", func(t *testing.T) {
			err := agent("forbidden").Attach(t.Context(), name.VolumeID(cloudtest.Volume(t, c, ec2.Volume{}).ID))
			if got := hintOf(err); !strings.HasPrefix(got, "bootagent iam --role mysql prints the policy") ||
				!strings.HasSuffix(got, "journalctl --unit bootagent.service --grep decode-authorization-message") {
				t.Errorf("the hint is %s", got)
			}
			line, err := strconv.Unquote(`"` + regexp.MustCompile(`decode="([^"]*)"`).FindStringSubmatch(log.String())[1] + `"`)
			cloudtest.Must(t, err)
			t.Parallel()
			p.paste(t, line, "sts decode-authorization-message")
		})

		cloudtest.Must(t, os.WriteFile(filepath.Join(p.dir, "sealed.age"), []byte("sealed"), 0o600))
		cloudtest.Must(t, c.S3.Put("secrets", "no other", nil))
		for _, test := range []struct {
			name, key, command string
			before             func(key string)
			role               string
			mends              bool
		}{
			{"no such key", "a key/it's.age", "s3 cp", func(string) {}, "db", true},
			{"archived", "old", "s3api restore-object", func(key string) { c.S3.Archive("secrets", key) }, "db", true},
			{"a customer's key", "own", "s3 cp", func(key string) { c.S3.KeepWithCustomerKey("secrets", key) }, "db", true},
			{"a key of KMS", "kms", "kms describe-key", func(string) {
				c.S3.Fail("GetObject", service.Fault{
					Status: 400, Code: "KMS.DisabledException",
					Message: "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab is disabled.",
				}, 1)
			}, "db", false},
			{"denied", "denied $HOME", "s3api head-object", func(string) {}, "forbidden", false},
		} {
			t.Run(test.name, func(t *testing.T) {
				if test.name != "no such key" {
					cloudtest.Must(t, c.S3.Put("secrets", test.key, []byte("sealed")))
				}
				test.before(test.key)
				s3 := agents3.New(agents3.Config{
					Caller: diagnose.Caller{Region: c.Region(), Role: "mysql"}, Endpoint: p.urls["s3"],
					Credentials: cloudtest.Provider(c.IAM.Credentials(test.role, self.ID)), Max: sources.Max,
				})
				fetch := func() error { _, _, err := s3.Get(t.Context(), "secrets", test.key); return err }
				p.pastes(t, fetch(), test.command)
				if err := fetch(); test.mends && err != nil {
					t.Errorf("after the command: %v", err)
				}
			})
		}

		metadata := func(t *testing.T, i *ec2.Instance) *agentimds.Client {
			url, err := c.Listen(i.IMDS)
			cloudtest.Must(t, err)
			client := agentimds.New(url)
			_, err = client.Identity(t.Context())
			cloudtest.Must(t, err)
			return client
		}
		credentials := func(t *testing.T, client *agentimds.Client) error {
			_, err := client.Credentials().Retrieve(t.Context())
			return err
		}
		t.Run("no role", func(t *testing.T) {
			p.pastes(t, credentials(t, metadata(t, other)), "ec2 associate-iam-instance-profile")
		})
		const role = "/latest/meta-data/iam/security-credentials/db"
		t.Run("turned off", func(t *testing.T) {
			self.IMDS.Fail(role, service.Fault{Status: 403}, 1)
			p.pastes(t, credentials(t, metadata(t, self)), "ec2 modify-instance-metadata-options")
		})
		t.Run("hop limit", func(t *testing.T) {
			url, err := c.Listen(self.IMDS)
			cloudtest.Must(t, err)
			self.IMDS.BlockTokens()
			_, err = agentimds.New(url).Identity(t.Context()) // it never learns the instance's ID
			self.IMDS.Heal()
			p.pastes(t, err, "ec2 modify-instance-metadata-options")
		})
		for name, document := range map[string]string{
			"expired": `{"Code": "Success", "AccessKeyId": "A", "SecretAccessKey": "S", "Token": "T", "Expiration": "2020-01-01T00:00:00Z"}`,
			"refused": `{"Code": "AssumeRoleUnauthorizedAccess"}`,
		} {
			t.Run(name, func(t *testing.T) {
				url, err := c.Listen(answering{self.IMDS, role, document})
				cloudtest.Must(t, err)
				p.pastes(t, credentials(t, agentimds.New(url)), "iam get-role")
			})
		}
	})

	// cmd/bootagent writes this command into its hint.
	t.Run("other user-data", func(t *testing.T) {
		cloudtest.Must(t, os.WriteFile(filepath.Join(p.dir, "user-data.base64"), []byte("I2Jvb3RhZ2VudAo="), 0o600))
		for _, line := range strings.Split(cli.ChangeUserData("eu-central-1", self.ID), " && ") {
			if command := regexp.MustCompile(`^aws (ec2 [a-z-]+) --region `).FindStringSubmatch(line); command != nil {
				p.paste(t, line, command[1])
			}
		}
	})

	// The test has tried every command in the code.
	if inCode := commandsInCode(t); !slices.Equal(inCode, slices.Sorted(maps.Keys(p.pasted))) {
		t.Errorf("the code holds the commands\n%q\nand these were tried\n%q", inCode, slices.Sorted(maps.Keys(p.pasted)))
	}
	for command := range notRun {
		if !p.pasted[command] {
			t.Errorf("%s is on the list of what is not run, and is in no hint", command)
		}
	}
}

// answering is a handler that answers one path itself.
type answering struct {
	http.Handler
	path, document string
}

func (a answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && r.URL.Path == a.path {
		fmt.Fprint(w, a.document)
		return
	}
	a.Handler.ServeHTTP(w, r)
}

func hintOf(err error) string {
	if pending := (*fault.Pending)(nil); errors.As(err, &pending) {
		return pending.Hint
	}
	return fault.HintOf(err)
}

// A person has a shell in which aws calls the cloud with credentials that are allowed everything.
type person struct {
	dir  string // the working directory of the shell
	urls map[string]string
	env  []string

	mu     sync.Mutex
	pasted map[string]bool // commands, as "ec2 detach-volume"
}

func newPerson(t *testing.T, c *cloud.Cloud) *person {
	t.Helper()
	program := "/usr/bin/aws" // Debian's, even if another one is first in PATH
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath("aws"); err != nil {
			if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
				t.Fatal("aws is missing here (Debian's awscli)")
			}
			t.Skip("aws is missing here (Debian's awscli): no command in a hint was tried")
		}
	}
	p := &person{dir: t.TempDir(), urls: map[string]string{}, pasted: map[string]bool{}}
	for name, handler := range map[string]http.Handler{"ec2": c.EC2, "s3": c.S3, "other": operations{}} {
		url, err := c.Listen(handler)
		cloudtest.Must(t, err)
		p.urls[name] = url
	}
	bin := filepath.Join(p.dir, "bin")
	cloudtest.Must(t, os.Mkdir(bin, 0o755))
	script := fmt.Sprintf("#!/bin/sh\ncase $1 in\nec2) url=%s ;;\ns3 | s3api) url=%s ;;\n*) url=%s ;;\nesac\nexec %s --endpoint-url $url --output json \"$@\"\n",
		p.urls["ec2"], p.urls["s3"], p.urls["other"], program)
	cloudtest.Must(t, os.WriteFile(filepath.Join(bin, "aws"), []byte(script), 0o755))
	who := c.IAM.Credentials("person", "tester")
	p.env = append(slices.DeleteFunc(os.Environ(), func(set string) bool { return strings.HasPrefix(set, "AWS_") }),
		"PATH="+bin+":"+os.Getenv("PATH"), "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=", "NO_PROXY=127.0.0.1",
		"AWS_MAX_ATTEMPTS=1", "AWS_ACCESS_KEY_ID="+who.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+who.SecretAccessKey, "AWS_SESSION_TOKEN="+who.SessionToken)
	return p
}

// pastes pastes the command in the hint of an error, in parallel with other tests.
func (p *person) pastes(t *testing.T, err error, command string) {
	t.Helper()
	hint := hintOf(err)
	const own = "with your own credentials: "
	before, line, found := strings.Cut(hint, own)
	if !found || !strings.HasPrefix(line, "aws ") || strings.Contains(before, "aws ") || strings.Contains(line, own) {
		t.Fatalf("of %v the hint has not one command for AWS, for a person's own credentials: %s", err, hint)
	}
	t.Parallel()
	p.paste(t, firstCommand(line), command)
}

// firstCommand returns the text up to the end of a command: a comma or semicolon outside quotes.
func firstCommand(text string) string {
	quoted := false
	for i, r := range text {
		switch {
		case r == '\'':
			quoted = !quoted
		case !quoted && (r == ';' || r == ',') && (i+1 == len(text) || text[i+1] == ' '):
			return text[:i]
		}
	}
	return text
}

func (p *person) paste(t *testing.T, line, command string) {
	t.Helper()
	region := " --region eu-central-1"
	if strings.HasPrefix(command, "iam ") || strings.Contains(line, "INSTANCE") {
		region = "" // IAM has no region, and if the agent does not know its instance, it does not know the region
	}
	if !strings.HasPrefix(line, "aws "+command+region+" ") || strings.Contains(line, "force") {
		t.Errorf("%q is no whole command for %s", line, command)
	}
	for word, with := range placeholders {
		line = strings.ReplaceAll(line, " "+word, " "+with)
	}
	for _, word := range strings.Fields(line) {
		if word == strings.ToUpper(word) && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
			t.Errorf("%s is left to a person in %q", word, line)
		}
	}
	p.mu.Lock()
	p.pasted[command] = true
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = p.dir
	cmd.Env = p.env
	if region == "" {
		cmd.Env = append(slices.Clone(p.env), "AWS_DEFAULT_REGION=eu-central-1")
	}
	out, err := cmd.CombinedOutput()
	skip, listed := notRun[command]
	switch {
	case !listed && err != nil:
		t.Errorf("%s: %v\n%s", line, err, out)
	case listed && !strings.Contains(string(out), "when calling the "+skip.call+" operation"):
		t.Errorf("%s, which is not run, as %s: aws makes no call %s of it: %v\n%s", line, skip.why, skip.call, err, out)
	}
}

// operations stands for the services of AWS that the fake does not have. It knows no call.
type operations struct{}

func (operations) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	if r.Header.Get("X-Amz-Target") != "" {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"__type": "UnknownOperationException", "message": "not here"}`)
		return
	}
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidAction</Code><Message>not here</Message></Error></ErrorResponse>`)
}

// commandsInCode returns the AWS commands in the code, such as "ec2 detach-volume". Package aws/cli has to write all of
// them.
func commandsInCode(t *testing.T) []string {
	t.Helper()
	command := regexp.MustCompile(`^(ec2|iam|kms|s3|s3api|sts|ssm|autoscaling|secretsmanager) [a-z-]+$`)
	plain := regexp.MustCompile(`\baws [a-z0-9]+ [a-z]+`)
	found := map[string]bool{}
	for _, dir := range []string{"../../pkg", "../../cmd"} {
		cloudtest.Must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != gotoken.STRING {
					return true
				}
				text, err := strconv.Unquote(lit.Value)
				cloudtest.Must(t, err)
				if command.MatchString(text) {
					found[text] = true
				}
				if plain.MatchString(text) {
					t.Errorf("%s writes a command for AWS without package aws/cli: %s", path, text)
				}
				return true
			})
			return nil
		}))
	}
	return slices.Sorted(maps.Keys(found))
}
