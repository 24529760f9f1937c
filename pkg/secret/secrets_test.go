package secret

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/fault"
	"bootagent/pkg/host"
	"bootagent/pkg/role/source"
	"bootagent/pkg/secret/credential"
	"bootagent/pkg/secret/sources"
)

var rootSQL = host.Secret{
	Name: "root-sql", From: source.Source{Scheme: "s3", Ref: "secrets/db.age"},
	Credential: "root", Services: []string{"mariadb.service", "backup.service"},
}

// bucket is S3 with one object.
type bucket struct {
	content, version string
	err              error
}

func (b *bucket) Get(context.Context, string, string) ([]byte, string, error) {
	return []byte(b.content), b.version, b.err
}

// secretsOf returns secrets whose S3 is a bucket, with these providers.
func secretsOf(t *testing.T, b *bucket, providers ...Provider) *Secrets {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "staged")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	return &Secrets{
		Keys: new(Keys), Providers: providers, Sources: sources.All(b),
		Cache: Cache(filepath.Join(dir, "cache")), Store: credential.Store{Root: root, Check: func(*os.File) error { return nil }}, Log: slog.New(slog.DiscardHandler),
	}
}

// machineKeys provides the age identity of the machine.
func machineKeys() Provider {
	return CommandKeys{[]string{"x"}, func(context.Context, []string) ([]byte, error) { return []byte(machine.private), nil }}
}

func TestASecretIsFetchedDecryptedAndStagedWithItsVersion(t *testing.T) {
	b := &bucket{content: string(sealed(t, canary, false, machine)), version: "v1"}
	s := secretsOf(t, b, machineKeys())
	if version, err := s.Staged(rootSQL); version != "" || err != nil {
		t.Errorf("before: %q, %v", version, err)
	}
	if !s.NeedsKey(rootSQL) {
		t.Error("it needs no key")
	}
	payload, err := s.Fetch(t.Context(), rootSQL)
	if err := errors.Join(err, s.Unlock(t.Context()), s.Open(t.Context(), rootSQL, payload)); err != nil {
		t.Fatal(err)
	}
	if version, err := s.Staged(rootSQL); version != "v1" || err != nil {
		t.Errorf("after: %q, %v", version, err)
	}
	for _, unit := range rootSQL.Services {
		if got, err := os.ReadFile(filepath.Join(s.Store.(credential.Store).Root, unit, "root")); string(got) != canary || err != nil {
			t.Errorf("%s is given %q, %v", unit, got, err)
		}
	}

	// One service has another version than the other, and then none.
	if err := s.Store.Stage("backup.service", "root", []byte(canary), "v2"); err != nil {
		t.Fatal(err)
	}
	if version, err := s.Staged(rootSQL); version != credential.UnknownVersion || err != nil {
		t.Errorf("of two versions: %q, %v", version, err)
	}
	more := rootSQL
	more.Services = append(more.Services, "third.service")
	if version, err := s.Staged(more); version != "" || err != nil {
		t.Errorf("for a service that has none: %q, %v", version, err)
	}

	// S3 goes away.
	b.err = errors.New("no answer")
	payload, err = s.Fetch(t.Context(), rootSQL)
	if err != nil || !strings.HasPrefix(payload.Stale, "uses the ciphertext cached at ") || !strings.HasSuffix(payload.Stale, ": no answer") ||
		payload.Version != sources.Digest(payload.Bytes()) || !payload.Encrypted {
		t.Errorf("got %+v, %v", payload, err)
	}
	other := rootSQL
	other.From.Ref = "secrets/other.age"
	if _, err := s.Fetch(t.Context(), other); !errors.Is(err, b.err) {
		t.Errorf("of another object: %v", err)
	}
}

// plain is a source whose payloads are not encrypted.
type plain struct{ content string }

func (plain) Syntax() source.Syntax { return sources.S3{}.Syntax() }
func (plain) Encrypted() bool       { return false }

func (p plain) Fetch(context.Context, string) (host.Payload, error) {
	return host.Payload{Bytes: func() []byte { return []byte(p.content) }, Version: "1"}, nil
}

func TestASecretThatIsNotEncryptedNeedsNoKeyAndIsNotCached(t *testing.T) {
	s := secretsOf(t, nil, OperatorKeys{})
	s.Sources = []sources.Source{plain{canary}}
	payload, err := s.Fetch(t.Context(), rootSQL)
	if s.NeedsKey(rootSQL) || err != nil {
		t.Fatalf("it needs a key, or %v", err)
	}
	for how, text := range printed(payload) {
		if tells(text, canary) {
			t.Errorf("%s tells the secret: %s", how, text)
		}
	}
	if err := s.Open(t.Context(), rootSQL, payload); err != nil {
		t.Fatal(err)
	}
	if version, err := s.Staged(rootSQL); version != "1" || err != nil {
		t.Errorf("staged: %q, %v", version, err)
	}
	if _, err := os.Stat(string(s.Cache.(Cache))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is cached: %v", err)
	}
	for content, want := range map[string]string{
		"":                                  "s3://secrets/db.age is an empty secret",
		strings.Repeat("x", PlaintextMax+1): "s3://secrets/db.age has 1048322 bytes, and systemd accepts 1048321 at most",
	} {
		s.Sources = []sources.Source{plain{content}}
		payload, err := s.Fetch(t.Context(), rootSQL)
		if err := errors.Join(err, s.Open(t.Context(), rootSQL, payload)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAPersonIsWaitedForOnlyWhereAgentYAMLSaysSo(t *testing.T) {
	fails := CommandKeys{[]string{"/bin/key"}, func(context.Context, []string) ([]byte, error) { return nil, errors.New("no vault") }}
	const why = "cannot take age identities from the command /bin/key: no vault"
	for name, c := range map[string]struct {
		providers []Provider
		want      string // and of whom
	}{
		"a person":                {[]Provider{OperatorKeys{}}, "pending: the age identity (private key) for the secrets"},
		"a command":               {[]Provider{machineKeys()}, "<nil>"},
		"a command that fails":    {[]Provider{fails}, why},
		"that, and a person":      {[]Provider{fails, OperatorKeys{}}, "pending: the age identity (private key) for the secrets, after " + why},
		"that, and a good one":    {[]Provider{fails, machineKeys()}, "<nil>"},
		"a person, and a command": {[]Provider{OperatorKeys{}, machineKeys()}, "<nil>"},
	} {
		s := secretsOf(t, nil, c.providers...)
		err := s.Unlock(t.Context())
		got := fmt.Sprint(err)
		if pending := (*fault.Pending)(nil); errors.As(err, &pending) {
			got = "pending: " + pending.For
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// Somebody may have changed an age identity while the agent runs.
func TestTheProvidersAreAskedAgainWhereNoIdentityFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		given := recovery.private
		provider := CommandKeys{[]string{"x"}, func(context.Context, []string) ([]byte, error) { return []byte(given), nil }}
		s := secretsOf(t, nil, provider)
		payload := host.Payload{Bytes: func() []byte { return sealed(t, canary, false, machine) }, Version: "1", Encrypted: true}
		if err := s.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		given = machine.private
		if err := s.Open(t.Context(), rootSQL, payload); !errors.As(err, new(*NoKeyError)) || !strings.HasPrefix(err.Error(), "s3://secrets/db.age is encrypted for other recipients") {
			t.Errorf("at once: %v", err)
		}
		time.Sleep(2 * askAgainAfter)
		if err := s.Open(t.Context(), rootSQL, payload); err != nil {
			t.Errorf("later: %v", err)
		}
	})
}

func TestEveryKindOfProviderIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/agent-file.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range providerKinds {
		if row := "\n| `" + kind.name + "` | `" + kind.form + "` | "; !strings.Contains(string(page), row) {
			t.Errorf("docs/reference/agent-file.md has no row for %s in its table of sources of keys; add one", kind.form)
		}
	}
}

func TestEachProviderOfAgentYAMLIsOne(t *testing.T) {
	got := Providers([]ProviderConfig{{Kind: "operator"}, {"file", []string{"/etc/key"}}, {"command", []string{"/bin/key", "x"}}}, nil)
	if want := "[{} /etc/key {[/bin/key x] <nil>}]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
