package imds_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsimds "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"bootagent/test/cloud"
	"bootagent/test/cloud/cloudtest"
	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/imds"
	"bootagent/test/cloud/service"
)

// request sends a request to an instance's IMDS. The headers are name, value, ...
func request(ctx context.Context, i *ec2.Instance, method, path string, headers ...string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://imds.test"+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	for n := 0; n < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	answer, err := cloudtest.Direct{Handler: i.IMDS}.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

func token(t *testing.T, i *ec2.Instance) string {
	t.Helper()
	status, token, err := request(t.Context(), i, "PUT", imds.TokenPath, imds.TTLHeader, "21600")
	if err != nil || status != http.StatusOK {
		t.Fatalf("no token: %d, %v", status, err)
	}
	return token
}

// get returns an item, or the text of the HTTP status if it is not OK.
func get(t *testing.T, i *ec2.Instance, path string) string {
	t.Helper()
	status, body, err := request(t.Context(), i, "GET", "/latest/"+path, imds.TokenHeader, token(t, i))
	cloudtest.Must(t, err)
	if status != http.StatusOK {
		return http.StatusText(status)
	}
	return body
}

func TestIMDSAnswersOnlyVersionTwo(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	i, other := cloudtest.Launch(t, c, ec2.Launch{}), cloudtest.Launch(t, c, ec2.Launch{})
	good := token(t, i)
	for _, test := range []struct {
		what, method, path string
		headers            []string
		want               int
	}{
		{"no TTL", "PUT", imds.TokenPath, nil, 400},
		{"a TTL of nothing", "PUT", imds.TokenPath, []string{imds.TTLHeader, "0"}, 400},
		{"a TTL too long", "PUT", imds.TokenPath, []string{imds.TTLHeader, "21601"}, 400},
		{"a TTL that is no number", "PUT", imds.TokenPath, []string{imds.TTLHeader, "long"}, 400},
		{"the longest TTL", "PUT", imds.TokenPath, []string{imds.TTLHeader, "21600"}, 200},
		{"by way of a proxy", "PUT", imds.TokenPath, []string{imds.TTLHeader, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		{"a dated path", "PUT", "/2021-03-23/api/token", []string{imds.TTLHeader, "60"}, 403},
		{"version 1", "GET", "/latest/meta-data/instance-id", nil, 401},
		{"a token nobody gave", "GET", "/latest/meta-data/instance-id", []string{imds.TokenHeader, "AQAEA"}, 401},
		{"another instance's token", "GET", "/latest/meta-data/instance-id", []string{imds.TokenHeader, token(t, other)}, 401},
		{"its own token", "GET", "/latest/meta-data/instance-id", []string{imds.TokenHeader, good}, 200},
		{"nothing there", "GET", "/latest/meta-data/nothing", []string{imds.TokenHeader, good}, 404},
		{"an item as a directory", "GET", "/latest/meta-data/instance-id/", []string{imds.TokenHeader, good}, 404},
		{"another method", "POST", "/latest/meta-data/instance-id", []string{imds.TokenHeader, good}, 405},
	} {
		status, body, err := request(t.Context(), i, test.method, test.path, test.headers...)
		cloudtest.Must(t, err)
		if status != test.want {
			t.Errorf("%s: %d, want %d", test.what, status, test.want)
		}
		if title := http.StatusText(test.want); status >= 400 && !strings.Contains(body, title) {
			t.Errorf("%s: the page does not say %q:\n%s", test.what, title, body)
		}
	}
}

func TestIMDSTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{})
		i := cloudtest.Launch(t, c, ec2.Launch{})
		_, short, err := request(t.Context(), i, "PUT", imds.TokenPath, imds.TTLHeader, "10")
		cloudtest.Must(t, err)
		for _, step := range []struct {
			sleep time.Duration
			want  int
		}{{9 * time.Second, 200}, {time.Second, 401}} {
			time.Sleep(step.sleep)
			status, _, err := request(t.Context(), i, "GET", "/latest/meta-data/instance-id", imds.TokenHeader, short)
			cloudtest.Must(t, err)
			if status != step.want {
				t.Errorf("after %v: %d, want %d", step.sleep, status, step.want)
			}
		}
	})
}

func TestIMDSHasWhatEC2Has(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	i := cloudtest.Launch(t, c, ec2.Launch{
		ID: "i-0123456789abcdef0", Zone: "eu-central-1b", Role: "db",
		Tags: map[string]string{"bootagent:role": "mysql"}, TagsInIMDS: true, UserData: []byte("#bootagent\n\x00\xff"),
	})
	for path, want := range map[string]string{
		"":                                         "dynamic/\nmeta-data/\nuser-data",
		"meta-data/instance-id":                    "i-0123456789abcdef0",
		"meta-data/instance-type":                  "m7i.large",
		"meta-data/placement/":                     "availability-zone\navailability-zone-id\nregion",
		"meta-data/placement":                      "availability-zone\navailability-zone-id\nregion",
		"meta-data/placement/region":               "eu-central-1",
		"meta-data/placement/availability-zone":    "eu-central-1b",
		"meta-data/placement/availability-zone-id": "euc1-az2",
		"meta-data/services/partition":             "aws",
		"meta-data/iam/":                           "info\nsecurity-credentials/",
		"meta-data/iam/security-credentials/":      "db",
		"meta-data/iam/security-credentials/x":     "Not Found",
		"meta-data/tags/":                          "instance/",
		"meta-data/tags/instance/":                 "bootagent:role",
		"meta-data/tags/instance/bootagent:role":   "mysql",
		"user-data":                                "#bootagent\n\x00\xff",
	} {
		if got := get(t, i, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	var document struct{ InstanceID, Region, AvailabilityZone, InstanceType, Version string }
	cloudtest.Must(t, json.Unmarshal([]byte(get(t, i, "dynamic/instance-identity/document")), &document))
	if document.InstanceID != i.ID || document.Region != "eu-central-1" || document.AvailabilityZone != "eu-central-1b" || document.Version != "2017-09-30" {
		t.Errorf("the identity document says %+v", document)
	}
	if got := get(t, i, "meta-data/iam/info"); !strings.Contains(got, `"InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/db"`) {
		t.Errorf("iam/info says %s", got)
	}
}

func TestIMDSHasNothingThatNobodyGave(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	i := cloudtest.Launch(t, c, ec2.Launch{Tags: map[string]string{"bootagent:role": "mysql"}})
	for _, path := range []string{
		"user-data", "meta-data/iam/", "meta-data/iam/info", "meta-data/iam/security-credentials/",
		"meta-data/tags/", "meta-data/tags/instance/bootagent:role",
	} {
		if got := get(t, i, path); got != "Not Found" {
			t.Errorf("%s: %q", path, got)
		}
	}
	if got := get(t, i, ""); got != "dynamic/\nmeta-data/" {
		t.Errorf("lists %q", got)
	}
	cloudtest.Must(t, i.SetTagsInIMDS(true))
	if got := get(t, i, "meta-data/tags/instance/bootagent:role"); got != "mysql" {
		t.Errorf("the tag, allowed: %q", got)
	}
	cloudtest.Must(t, c.EC2.Tag(i.ID, map[string]string{"bootagent:role": "web"}))
	if got := get(t, i, "meta-data/tags/instance/bootagent:role"); got != "web" {
		t.Errorf("the tag, changed: %q", got)
	}
	err := c.EC2.Tag(i.ID, map[string]string{"not for IMDS": ""})
	if err == nil || !strings.Contains(err.Error(), "is not a valid tag key") {
		t.Errorf("a tag that IMDS can't show: %v", err)
	}
	cloudtest.Must(t, c.EC2.Untag(i.ID, "bootagent:role"))
	if got := get(t, i, "meta-data/tags/instance/"); got != "Not Found" {
		t.Errorf("without tags: %q", got)
	}
}

func TestUserDataChangesOnlyWhileStopped(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	i := cloudtest.Launch(t, c, ec2.Launch{UserData: []byte("one")})
	if err := i.SetUserData([]byte("two")); err == nil || !strings.Contains(err.Error(), "is not in the 'stopped' state") {
		t.Errorf("while it runs: %v", err)
	}
	if got := get(t, i, "user-data"); got != "one" {
		t.Errorf("got %q", got)
	}
	cloudtest.Must(t, i.Stop())
	cloudtest.Must(t, i.Wait(t.Context(), ec2.Stopped))
	if err := i.SetUserData(make([]byte, 16<<10+1)); err == nil || !strings.Contains(err.Error(), "limited to 16384 bytes") {
		t.Errorf("too much: %v", err)
	}
	cloudtest.Must(t, i.SetUserData([]byte{}))
	if got := get(t, i, "user-data"); got != "" {
		t.Errorf("empty: %q", got)
	}
	cloudtest.Must(t, i.SetUserData(nil))
	if got := get(t, i, "user-data"); got != "Not Found" {
		t.Errorf("taken away: %q", got)
	}
}

func TestMappingHasOnlyWhatWasThereAtTheStart(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	i := cloudtest.Launch(t, c, ec2.Launch{})
	cloudtest.Must(t, c.EC2.Attach(cloudtest.Volume(t, c, ec2.Volume{}).ID, i.ID, "/dev/sdf"))
	if got := get(t, i, "meta-data/block-device-mapping/"); got != "ami\nroot" {
		t.Errorf("after an attach: %q", got)
	}
	cloudtest.Must(t, i.Stop())
	cloudtest.Must(t, i.Wait(t.Context(), ec2.Stopped))
	cloudtest.Must(t, i.Start())
	if got := get(t, i, "meta-data/block-device-mapping/ebs1"); got != "sdf" {
		t.Errorf("after a start: %q", got)
	}
}

type roleCredentials struct{ Code, AccessKeyID, SecretAccessKey, Token, Expiration string }

func TestRoleCredentialsComeLateAndAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cloudtest.New(t, cloud.Config{})
		c.IAM.SetLifetime(6 * time.Hour)
		i := cloudtest.Launch(t, c, ec2.Launch{Role: "db"})
		i.IMDS.DelayCredentials(10 * time.Second)
		key := func() string {
			body := get(t, i, "meta-data/iam/security-credentials/db")
			var got roleCredentials
			if json.Unmarshal([]byte(body), &got) != nil {
				return body
			}
			if got.Code != "Success" || got.SecretAccessKey == "" || got.Token == "" {
				t.Errorf("credentials that are none: %s", body)
			}
			return got.AccessKeyID
		}
		if got := key(); got != "Not Found" {
			t.Errorf("at first: %q", got)
		}
		if got := get(t, i, "meta-data/iam/security-credentials/"); got != "Not Found" {
			t.Errorf("listed at first: %q", got)
		}
		if got := get(t, i, "meta-data/iam/info"); !strings.Contains(got, "instance-profile/db") {
			t.Errorf("iam/info at first: %q", got)
		}
		time.Sleep(10 * time.Second)
		first := key()
		if !strings.HasPrefix(first, "ASIA") {
			t.Fatalf("got %q", first)
		}
		time.Sleep(59 * time.Minute)
		if got := key(); got != first {
			t.Error("renewed within the hour")
		}
		time.Sleep(2 * time.Minute)
		second := key()
		if second == first {
			t.Error("not renewed after an hour")
		}
		c.IAM.Expire()
		if got := key(); got == second {
			t.Error("expired ones are handed out")
		}
		cloudtest.Must(t, i.SetRole(""))
		if got := key(); got != "Not Found" {
			t.Errorf("without a role: %q", got)
		}
	})
}

func TestIMDSFaults(t *testing.T) {
	for _, test := range []struct {
		name        string
		set         func(*imds.IMDS)
		token, item string // the text of the HTTP status, or silence
		again       string // of the second request for the item
	}{
		{"none", func(*imds.IMDS) {}, "OK", "OK", "OK"},
		{"disabled", (*imds.IMDS).Disable, "Forbidden", "Forbidden", "Forbidden"},
		{"hop limit", (*imds.IMDS).BlockTokens, "silence", "OK", "OK"},
		{"silent", func(m *imds.IMDS) { m.Blackhole() }, "silence", "silence", "silence"},
		{"throttled", func(m *imds.IMDS) { m.Throttle(2) }, "Service Unavailable", "Service Unavailable", "OK"},
		{"slow", func(m *imds.IMDS) { m.SetDelay(time.Minute) }, "silence", "silence", "silence"},
		{"not that slow", func(m *imds.IMDS) { m.SetDelay(time.Second) }, "OK", "OK", "OK"},
		{"only user-data", func(m *imds.IMDS) { m.Fail(imds.UserDataPath, service.Fault{Status: 500}, 1) }, "OK", "Internal Server Error", "OK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := cloudtest.New(t, cloud.Config{})
				i := cloudtest.Launch(t, c, ec2.Launch{UserData: []byte("data")})
				held := token(t, i)
				test.set(i.IMDS)
				ask := func(method, path string, headers ...string) string {
					status, _, err := request(cloudtest.Within(t, 5*time.Second), i, method, path, headers...)
					if errors.Is(err, context.DeadlineExceeded) {
						return "silence"
					}
					cloudtest.Must(t, err)
					return http.StatusText(status)
				}
				got := []string{
					ask("PUT", imds.TokenPath, imds.TTLHeader, "60"),
					ask("GET", imds.UserDataPath, imds.TokenHeader, held), ask("GET", imds.UserDataPath, imds.TokenHeader, held),
				}
				for n, want := range []string{test.token, test.item, test.again} {
					if got[n] != want {
						t.Errorf("call %d: %s, want %s", n+1, got[n], want)
					}
				}
				i.IMDS.Heal()
				if got := ask("GET", imds.UserDataPath, imds.TokenHeader, held); got != "OK" {
					t.Errorf("healed: %s", got)
				}
			})
		})
	}
}

// The SDK's client of the metadata service works.
func TestIMDSWithSDK(t *testing.T) {
	c := cloudtest.New(t, cloud.Config{})
	i := cloudtest.Launch(t, c, ec2.Launch{UserData: []byte("#bootagent")})
	client := awsimds.New(awsimds.Options{
		Endpoint: "http://imds.test", HTTPClient: &http.Client{Transport: cloudtest.Direct{Handler: i.IMDS}}, EnableFallback: aws.FalseTernary,
	})
	document, err := client.GetInstanceIdentityDocument(t.Context(), nil)
	cloudtest.Must(t, err)
	if document.InstanceID != i.ID || document.Region != c.Region() {
		t.Errorf("identity %+v", document)
	}
	data, err := client.GetUserData(t.Context(), nil)
	cloudtest.Must(t, err)
	body, err := io.ReadAll(data.Content)
	cloudtest.Must(t, err)
	if string(body) != "#bootagent" {
		t.Errorf("user-data %q", body)
	}
	if calls := c.Calls.Of("imds:PUT *"); len(calls) != 1 || cmp.Or(calls[0].Principal, "") != i.ID {
		t.Errorf("one token for both calls, but %v", calls)
	}
}
