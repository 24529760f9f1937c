package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(asChild); what != "" {
		child(what)
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// words is an error as a golden file shows it.
func words(err error) string {
	if err == nil {
		return "none"
	}
	text := err.Error()
	if h := (interface{ Hint() string })(nil); errors.As(err, &h) && h.Hint() != "" {
		text += "\n    hint: " + h.Hint()
	}
	if f := (interface{ Permanent() bool })(nil); errors.As(err, &f) && f.Permanent() {
		text += "\n    permanent"
	}
	return text
}

// A pair is a key pair, as text.
type pair struct{ private, public string }

func newPair(t testing.TB) pair {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{id.String(), id.Recipient().String()}
}

func newHybridPair(t testing.TB) pair {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{id.String(), id.Recipient().String()}
}

// Key pairs that are always the same, for goldens. They open nothing.
var (
	machine  = pair{"AGE-SECRET-KEY-1K542RNVNP7WFDCQNGHLFXL3HKL2Q7YMQMEUWD22XZL34Q32XUSUS2M0Q6V", "age1phauf6ym72qsjpv4affc8akfclkfvuu6244m4jrzjd57hzctdcts8m6fvx"}
	recovery = pair{"AGE-SECRET-KEY-12VQY7HG2YF62N2XV252YR995STPTK5P8TWRV7RFKXM3E7ZGCA6JQ3CTL53", "age13hswpxua5z98r4t5xse7mphduesawmv9pmgczugdyau2qx3erpzsz90xkx"}
)

func keysOf(t testing.TB, pairs ...pair) *Keys {
	t.Helper()
	keys := new(Keys)
	for _, p := range pairs {
		if _, err := keys.Add([]byte(p.private)); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func sealed(t testing.TB, plaintext string, armored bool, to ...pair) []byte {
	t.Helper()
	var recipients []string
	for _, p := range to {
		recipients = append(recipients, p.public)
	}
	var out bytes.Buffer
	if err := Encrypt(&out, strings.NewReader(plaintext), recipients, armored); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func opens(t testing.TB, ciphertext []byte, keys *Keys) *Plaintext {
	t.Helper()
	p, err := Decrypt(ciphertext, keys)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A secret that is nowhere else in a text, and all the ways to write it.
const canary = "correct-horse-battery-staple"

func tells(text, secret string) bool {
	hex := fmt.Sprintf("%x", secret)
	numbers := strings.Trim(fmt.Sprint([]byte(secret)), "[]")
	b64, _ := json.Marshal([]byte(secret))
	for _, form := range []string{secret, hex, strings.ToUpper(hex), numbers, strings.Trim(string(b64), `"`)} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// printed is a value in every way that a program prints one.
func printed(v any) map[string]string {
	ways := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		ways[verb] = fmt.Sprintf(verb, v)
	}
	ways["Sprint"] = fmt.Sprint(v)
	asJSON, err := json.Marshal(v)
	ways["JSON"] = fmt.Sprint(string(asJSON), err)
	ways["error"] = fmt.Errorf("it was %v", v).Error()
	var text, structured bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("told", "value", v)
	slog.New(slog.NewJSONHandler(&structured, nil)).Info("told", "value", v)
	ways["slog text"], ways["slog JSON"] = text.String(), structured.String()
	return ways
}

func TestNothingThatHoldsASecretPrintsIt(t *testing.T) {
	k, hybrid := newPair(t), newHybridPair(t)
	keys := keysOf(t, k, hybrid)
	p := opens(t, sealed(t, canary, false, k), keys)
	secrets := []string{canary, k.private, hybrid.private}

	// The search finds what is planted, in every way of printing.
	type careless struct{ Text, Key string }
	for _, planted := range secrets {
		for way, text := range printed(careless{planted, planted}) {
			if !tells(text, planted) {
				t.Fatalf("%s: the search does not find a secret that is there: %s", way, text)
			}
		}
		for way, text := range printed([]byte(planted)) {
			if !tells(text, planted) && way != "%#v" && way != "%q" { // and these are %v and %s once more
				t.Fatalf("%s: the search does not find the bytes of a secret: %s", way, text)
			}
		}
	}

	type unexported struct {
		keys  *Keys
		plain *Plaintext
		value Plaintext
		all   []key
	}
	for name, v := range map[string]any{
		"Keys":                      keys,
		"Plaintext":                 p,
		"Plaintext by value":        *p,
		"in a slice":                []*Plaintext{p},
		"in a map":                  map[string]any{"p": p, "k": keys},
		"in exported fields":        struct{ P, K any }{*p, keys},
		"in unexported fields":      unexported{keys, p, *p, keys.all},
		"a pointer to those":        &unexported{keys, p, *p, keys.all},
		"an attribute group of log": slog.GroupValue(slog.Any("p", p), slog.Any("k", keys)),
	} {
		for way, text := range printed(v) {
			for _, s := range secrets {
				if tells(text, s) {
					t.Errorf("%s by %s tells a secret: %s", name, way, text)
				}
			}
		}
	}
	for way, text := range printed(p) {
		if !strings.Contains(text, redacted) && way != "%x" {
			t.Errorf("%s: want it to say that it is redacted: %s", way, text)
		}
	}
}

func TestWipeLeavesNothing(t *testing.T) {
	k := newPair(t)
	p := opens(t, sealed(t, canary, false, k), keysOf(t, k))
	bytes := p.Bytes()
	if string(bytes) != canary {
		t.Fatalf("opened %q", bytes)
	}
	p.Wipe()
	if slices.ContainsFunc(bytes, func(b byte) bool { return b != 0 }) || len(p.Bytes()) != 0 {
		t.Errorf("left after Wipe: %q, %q", bytes, p.Bytes())
	}
	p.Wipe()
}
