package files

import (
	"errors"
	"strings"
	"testing"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
)

func TestASecretIsPutInAsOneLine(t *testing.T) {
	secret := &host.Secret{Name: "password", Credential: "pw", Services: []string{"a.service"}}
	fill := func(secretIs string, quoted bool) (string, error) {
		plaintext := []byte(secretIs)
		content, err := Fill(host.File{Name: "x", Content: []host.Piece{{Text: "<"}, {Secret: secret, Quoted: quoted}, {Text: ">"}}},
			func(unit, credential string) ([]byte, error) {
				if unit != "a.service" || credential != "pw" {
					return nil, errors.New("asked for another")
				}
				return plaintext, nil
			})
		if secretIs != "" && plaintext[0] != 0 {
			t.Error("the secret is not overwritten")
		}
		return string(content), err
	}
	for _, c := range []struct {
		secret string
		quoted bool
		want   string
	}{
		{"hush", false, "<hush>"},
		{"hush\n", false, "<hush>"},
		{"hush\r\n", false, "<hush>"},
		{`h"$u\`, true, `<h\"\$u\\>`},
		{`h"$u\`, false, `<h"$u\>`},
	} {
		if got, err := fill(c.secret, c.quoted); err != nil || got != c.want {
			t.Errorf("%q: got %q, %v, want %q", c.secret, got, err, c.want)
		}
	}
	for secret, why := range map[string]string{
		"":                           "it is empty",
		"\n":                         "it is empty",
		"hush\nhush":                 "it contains a line break",
		"hush\n\n":                   "it contains a line break",
		"hush\x00":                   "it contains a line break",
		"hush\xff":                   "it contains a line break",
		strings.Repeat("hush", 1025): "it has 4100 bytes, and at most 4096 are allowed",
	} {
		_, err := fill(secret, false)
		if err == nil || !strings.Contains(err.Error(), "secret password can't be put into file x: "+why) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: got %v", secret, err)
		}
		if !fault.IsPermanent(err) || fault.HintOf(err) == "" {
			t.Errorf("%q: %v is tried again, or has no hint", secret, err)
		}
	}
}

func TestASecretThatIsNotThereIsNoLastingFault(t *testing.T) {
	_, err := Fill(host.File{Content: []host.Piece{{Secret: &host.Secret{Services: []string{"a"}}}}}, func(string, string) ([]byte, error) {
		return nil, errors.New("it is not staged")
	})
	if err == nil || fault.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
}

func TestAFileHasASize(t *testing.T) {
	_, err := Fill(host.File{Name: "x", Content: []host.Piece{{Text: strings.Repeat("x", most+1)}}}, nil)
	if err == nil || !strings.Contains(err.Error(), "65537 bytes, and at most 65536") {
		t.Errorf("got %v", err)
	}
}

func TestServicesAreToldWhichInstanceThisIs(t *testing.T) {
	got := string(InstanceEnv(host.Instance{ID: "i-1", Zone: "eu-central-1a", Region: "eu-central-1", Type: "m7g.large", PrivateIPv4: "10.0.0.17"}))
	const want = `INSTANCE_ID="i-1"
AVAILABILITY_ZONE="eu-central-1a"
REGION="eu-central-1"
INSTANCE_TYPE="m7g.large"
PRIVATE_IPV4="10.0.0.17"
`
	if got != want {
		t.Errorf("got %s", got)
	}
	if got := string(InstanceEnv(host.Instance{ID: "i-1"})); got != "INSTANCE_ID=\"i-1\"\n" {
		t.Errorf("what is not known is in it: %s", got)
	}
}
