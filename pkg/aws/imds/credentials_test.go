package imds

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
)

// credentialItems are what the service tells of the role "db".
func credentialItems(valid time.Duration) map[string]string {
	return map[string]string{
		rolePath: "db",
		rolePath + "db": fmt.Sprintf(
			`{"Code": "Success", "LastUpdated": "2026-11-19T16:32:11Z", "Type": "AWS-HMAC", "AccessKeyId": "ASIAKEY", `+
				`"SecretAccessKey": "the-secret-key", "Token": "the-session-token", "Expiration": %q}`,
			time.Now().Add(valid).UTC().Format(time.RFC3339)),
	}
}

// refusal is what the SDK returns for credentials that are none.
func refusal(code string) error {
	return fmt.Errorf("failed to get db EC2 IMDS role credentials, %w", &smithy.GenericAPIError{Code: code})
}

func TestCredentialsAreKeptAndReplacedEarly(t *testing.T) {
	s := newService(t, credentialItems(30*time.Minute))
	c := New(s.url)
	for range 3 {
		got, err := c.Credentials().Retrieve(t.Context())
		if err != nil || got.AccessKeyID != "ASIAKEY" || got.SecretAccessKey != "the-secret-key" || got.SessionToken != "the-session-token" {
			t.Fatalf("got %+v, %v", got, err)
		}
		if left := time.Until(got.Expires); !got.CanExpire || left > 25*time.Minute || left < 24*time.Minute {
			t.Errorf("replaced after %s, and valid for 30m", left)
		}
	}
	if got := s.count("GET " + rolePath + "db"); got != 1 {
		t.Errorf("asked %d times", got)
	}
}

func TestCredentialsThatCannotBeHad(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(*service)
		kind  Kind
		words string
	}{
		{"no role", func(s *service) { clear(s.items) }, NoRole, "this instance has no IAM role"},
		{"empty list of roles", func(s *service) { s.items[rolePath] = "" }, NoRole, "this instance has no IAM role"},
		{"not yet", func(s *service) { delete(s.items, rolePath+"db") }, CredentialsNotYet, "this instance has the IAM role db, but no credentials of it yet"},
		{"not trusted", func(s *service) { s.items[rolePath+"db"] = `{"Code": "AssumeRoleUnauthorizedAccess", "Message": "x"}` }, RoleRefused, "EC2 has no credentials of the IAM role db: AssumeRoleUnauthorizedAccess"},
		{"without keys", func(s *service) { s.items[rolePath+"db"] = `{"Code": "Success"}` }, BadAnswer, "not of the form"},
		{"no JSON", func(s *service) { s.items[rolePath+"db"] = `<the-secret-key>` }, BadAnswer, "the answer to GET " + rolePath + "db is not one of EC2's"},
		{"disabled", func(s *service) { s.status["PUT "+tokenPath] = 403 }, Disabled, "turned off"},
		{"silent about roles", func(s *service) { s.hangs["GET "+rolePath] = true }, Unanswered, "does not answer GET " + rolePath},
		{"hop limit", func(s *service) { s.hangs["PUT "+tokenPath] = true }, Unanswered, "the hop limit"},
		{"throttled", func(s *service) { s.status["GET "+rolePath+"db"] = 429 }, Throttled, "asked too often"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, credentialItems(time.Hour))
			c.fault(s)
			client := newClient(s.url, hasty)
			got, err := client.Credentials().Retrieve(t.Context())
			e := (*Error)(nil)
			if got.HasKeys() || !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(err.Error(), c.words) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if e.Permanent() {
				t.Error("it is final, and mends")
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("tells a secret: %v", err)
			}
			s.change(func() {
				maps.Copy(s.items, credentialItems(time.Hour))
				clear(s.status)
				clear(s.hangs)
			})
			if got, err := client.Credentials().Retrieve(t.Context()); err != nil || got.AccessKeyID != "ASIAKEY" {
				t.Errorf("when it is mended: got %+v, %v", got, err)
			}
		})
	}
}

// What is good still goes on being used while the service is silent, and no
// longer: then, why the service is silent is what a person has to know.
func TestCredentialsOutliveASilentServiceWhileTheyAreGood(t *testing.T) {
	silent, old := errors.New("silent"), aws.Credentials{AccessKeyID: "ASIAKEY", SecretAccessKey: "x", CanExpire: true}
	p := &provider{good: time.Now().Add(time.Minute)}
	got, err := p.HandleFailToRefresh(t.Context(), old, silent)
	if left := time.Until(got.Expires); err != nil || got.AccessKeyID != "ASIAKEY" || left <= 0 || left > time.Minute {
		t.Errorf("got %+v, %v", got, err)
	}
	p.good = time.Now().Add(-time.Second)
	if got, err := p.HandleFailToRefresh(t.Context(), old, silent); !errors.Is(err, silent) || got.HasKeys() {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := (&provider{}).HandleFailToRefresh(t.Context(), aws.Credentials{}, silent); !errors.Is(err, silent) || got.HasKeys() {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Whether credentials are good the service's clock tells: this machine's may
// be wrong, and then good ones would look expired, or expired ones good.
func TestCredentialsAreGoodByTheClockOfTheService(t *testing.T) {
	for _, test := range []struct {
		name         string
		valid, ahead time.Duration // of the service's clock, of this machine's
		good         bool
	}{
		{"good", time.Hour, 0, true},
		{"expired", -time.Second, 0, false},
		{"good, where this machine is a day ahead", time.Hour - 24*time.Hour, -24 * time.Hour, true},
		{"expired, where this machine is a day behind", -time.Second + 24*time.Hour, 24 * time.Hour, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(t, credentialItems(test.valid))
			s.ahead = test.ahead
			c := New(s.url)
			got, err := c.Credentials().Retrieve(t.Context())
			if test.good {
				if left := time.Until(got.Expires); err != nil || left < 50*time.Minute || left > time.Hour {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			e := (*Error)(nil)
			if !errors.As(err, &e) || e.Kind != CredentialsExpired || e.Permanent() || got.HasKeys() ||
				!strings.Contains(err.Error(), "those of the IAM role db expired at ") {
				t.Errorf("got %+v, %v", got, err)
			}
			s.change(func() {
				s.ahead = 0
				maps.Copy(s.items, credentialItems(time.Hour))
			})
			if got, err := c.Credentials().Retrieve(t.Context()); err != nil || !got.HasKeys() {
				t.Errorf("when there are new ones: got %+v, %v", got, err)
			}
		})
	}
}

func TestHintsNameTheInstanceOnceItIsKnown(t *testing.T) {
	s := newService(t, nil)
	c := New(s.url)
	c.Assume(Identity{ID: "no instance"})
	none := func() string {
		_, err := c.Credentials().Retrieve(t.Context())
		e := (*Error)(nil)
		if !errors.As(err, &e) || e.Kind != NoRole {
			t.Fatalf("got %v", err)
		}
		return e.Hint()
	}
	if got := none(); !strings.Contains(got, "aws ec2 associate-iam-instance-profile --instance-id INSTANCE ") {
		t.Errorf("got %s", got)
	}
	if _, err := c.Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := none(); !strings.Contains(got, "with your own credentials: aws ec2 associate-iam-instance-profile --region eu-central-1 --instance-id i-0123456789abcdef0 ") {
		t.Errorf("got %s", got)
	}
}
