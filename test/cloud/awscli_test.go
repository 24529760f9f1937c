package cloud_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/service"
)

// AWS's own command line works with the fake as with AWS: it gets its credentials from the instance's metadata, and
// understands pages, states and errors. All calls go over the network.
func TestAWSCommandLine(t *testing.T) {
	program, err := exec.LookPath("aws")
	if err != nil {
		if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
			t.Fatal("aws is missing here (Debian's awscli)")
		}
		t.Skip("aws is missing here (Debian's awscli): only the SDK tested this cloud")
	}
	c := cloudtest.New(t, cloud.Config{})
	c.IAM.Allow("db", "ec2:*", "s3:GetObject", "s3:ListBucket")
	c.IAM.Forbid("db", "ec2:DetachVolume")
	i := cloudtest.Launch(t, c, ec2.Launch{Role: "db"})
	orders := cloudtest.Volume(t, c, ec2.Volume{Tags: map[string]string{"cluster": "orders"}})
	for range 6 {
		cloudtest.Volume(t, c, ec2.Volume{Tags: map[string]string{"cluster": "web"}, Zone: "eu-central-1b"})
	}
	cloudtest.Must(t, c.S3.Put("secrets", "root.sql.age", []byte("ciphertext")))
	url := map[string]string{}
	for name, handler := range map[string]http.Handler{"imds": i.IMDS, "ec2": c.EC2, "s3": c.S3} {
		url[name], err = c.Listen(handler)
		cloudtest.Must(t, err)
	}

	// run returns the standard output of aws, or the standard error if aws fails.
	run := func(t *testing.T, args ...string) (stdout, failure string) {
		t.Helper()
		service := args[0]
		if service == "s3api" {
			service = "s3"
		}
		cmd := exec.CommandContext(t.Context(), program, append([]string{"--endpoint-url", url[service], "--output", "json"}, args...)...)
		cmd.Env = append(slices.DeleteFunc(os.Environ(), func(set string) bool { return strings.HasPrefix(set, "AWS_") }),
			"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_PAGER=", "NO_PROXY=127.0.0.1",
			"AWS_DEFAULT_REGION="+c.Region(), "AWS_EC2_METADATA_SERVICE_ENDPOINT="+url["imds"]+"/", "AWS_EC2_METADATA_V1_DISABLED=true")
		var out, words bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &words
		if cmd.Run() != nil {
			return "", words.String()
		}
		return out.String(), ""
	}
	ok := func(t *testing.T, into any, args ...string) {
		t.Helper()
		out, failure := run(t, args...)
		if failure != "" {
			t.Fatalf("aws %s: %s", strings.Join(args, " "), failure)
		}
		if into != nil {
			cloudtest.Must(t, json.Unmarshal([]byte(out), into))
		}
	}
	fails := func(t *testing.T, words string, args ...string) {
		t.Helper()
		if out, failure := run(t, args...); !strings.Contains(failure, words) {
			t.Errorf("aws %s: %s%s\nwant %s", strings.Join(args, " "), out, failure, words)
		}
	}

	type described struct {
		Volumes []struct {
			VolumeID string
			Tags     []struct{ Key, Value string }
		}
	}
	t.Run("all at once", func(t *testing.T) {
		t.Run("filters and pages", func(t *testing.T) {
			t.Parallel()
			var got described
			ok(t, &got, "ec2", "describe-volumes", "--page-size", "5", "--filters", "Name=tag:cluster,Values=w?b*", "Name=availability-zone,Values=eu-central-1b")
			ids := map[string]bool{}
			for _, v := range got.Volumes {
				ids[v.VolumeID] = true
			}
			if len(ids) != 6 || len(got.Volumes) != 6 || got.Volumes[0].Tags[0].Value != "web" {
				t.Errorf("found %+v", got)
			}
			if !slices.ContainsFunc(c.Calls.Of("ec2:DescribeVolumes"), func(call service.Call) bool { return call.Params["NextToken"] != "" }) {
				t.Error("it asked for no second page")
			}
		})
		t.Run("nothing", func(t *testing.T) {
			t.Parallel()
			var got described
			ok(t, &got, "ec2", "describe-volumes", "--filters", `Name=tag:cluster,Values=ord\*`)
			if got.Volumes == nil || len(got.Volumes) != 0 {
				t.Errorf("found %+v", got)
			}
		})
		t.Run("instances", func(t *testing.T) {
			t.Parallel()
			var got struct {
				Reservations []struct {
					Instances []struct {
						InstanceID string
						State      struct {
							Code int
							Name string
						}
						IamInstanceProfile struct{ Arn string }
					}
				}
			}
			ok(t, &got, "ec2", "describe-instances", "--instance-ids", i.ID)
			one := got.Reservations[0].Instances[0]
			if one.InstanceID != i.ID || one.State.Code != 16 || one.State.Name != "running" || !strings.HasSuffix(one.IamInstanceProfile.Arn, ":instance-profile/db") {
				t.Errorf("found %+v", one)
			}
		})
		t.Run("create", func(t *testing.T) {
			t.Parallel()
			var got struct{ VolumeID, State string }
			ok(t, &got, "ec2", "create-volume", "--availability-zone", "eu-central-1a", "--size", "3", "--client-token", "once",
				"--tag-specifications", "ResourceType=volume,Tags=[{Key=cluster,Value=new}]")
			if v, _ := c.EC2.Volume(got.VolumeID); got.State != "creating" || v.Size != 3 || v.Tags["cluster"] != "new" {
				t.Errorf("created %+v: %+v", got, v)
			}
			ok(t, nil, "ec2", "create-tags", "--resources", got.VolumeID, "--tags", "Key=bootagent:volume,Value="+got.VolumeID)
			if v, _ := c.EC2.Volume(got.VolumeID); v.Tags["bootagent:volume"] != v.ID {
				t.Errorf("tagged %v", v.Tags)
			}
		})
		t.Run("attach", func(t *testing.T) {
			t.Parallel()
			var got struct{ State, AttachTime string }
			ok(t, &got, "ec2", "attach-volume", "--volume-id", orders.ID, "--instance-id", i.ID, "--device", "/dev/sdf")
			if got.State != "attaching" || got.AttachTime == "" {
				t.Errorf("attached %+v", got)
			}
			cloudtest.Must(t, c.EC2.WaitVolume(t.Context(), orders.ID, ec2.Attached))
			fails(t, "An error occurred (UnauthorizedOperation) when calling the DetachVolume operation: You are not authorized to perform this operation. "+
				"User: arn:aws:sts::123456789012:assumed-role/db/"+i.ID, "ec2", "detach-volume", "--volume-id", orders.ID)
		})
		t.Run("S3", func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "out")
			ok(t, nil, "s3api", "get-object", "--bucket", "secrets", "--key", "root.sql.age", file)
			if data, err := os.ReadFile(file); err != nil || string(data) != "ciphertext" {
				t.Errorf("got %q, %v", data, err)
			}
			fails(t, "An error occurred (NoSuchKey) when calling the GetObject operation", "s3api", "get-object", "--bucket", "secrets", "--key", "missing", file)
		})
	})
	if t.Failed() {
		var calls strings.Builder
		cloudtest.Must(t, c.Calls.Print(&calls))
		t.Log("calls:\n" + calls.String())
	}
	if got := c.Calls.Of("ec2:AttachVolume"); got[0].Principal != i.ID || got[0].Role != "db" {
		t.Errorf("attached by %v, not by the instance", got[0])
	}
}
