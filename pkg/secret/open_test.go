package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/golden"

	"filippo.io/age"
	"filippo.io/age/armor"

	"bootagent/pkg/secret/sources"
)

// chunk is how much of a plaintext age authenticates at once, in bytes.
const chunk = 64 << 10

func TestWhatIsSealedIsOpened(t *testing.T) {
	hybrid, otherHybrid := newHybridPair(t), newHybridPair(t)
	for name, to := range map[string][]pair{
		"one":          {machine},
		"two":          {recovery, machine},
		"post-quantum": {otherHybrid, hybrid},
	} {
		keys := keysOf(t, newPair(t), to[len(to)-1])
		for _, armored := range []bool{false, true} {
			sizes := []int{1, 100, chunk - 1, chunk, chunk + 1}
			if name == "two" {
				sizes = append(sizes, PlaintextMax)
			}
			for _, size := range sizes {
				want := strings.Repeat("x", size)
				ciphertext := sealed(t, want, armored, to...)
				if len(ciphertext) > sources.Max {
					t.Errorf("%s: %d bytes are sealed to %d, which is not fetched", name, size, len(ciphertext))
				}
				if got := opens(t, ciphertext, keys).Bytes(); string(got) != want {
					t.Errorf("%s, armored %v: %d bytes are opened to %d", name, armored, size, len(got))
				}
			}
		}
	}
}

func TestWhatPeopleDoToArmorIsForgiven(t *testing.T) {
	text := string(sealed(t, canary, true, machine))
	for name, ciphertext := range map[string]string{
		"lines of Windows": strings.ReplaceAll(text, "\n", "\r\n"),
		"empty lines":      "\n\n" + text + "\n\n",
		"no last newline":  strings.TrimSpace(text),
	} {
		if got := opens(t, []byte(ciphertext), keysOf(t, machine)).Bytes(); string(got) != canary {
			t.Errorf("%s: opened %q", name, got)
		}
	}
}

// sealedBy is a file that age made with recipients that Seal does not take.
func sealedBy(t testing.TB, plaintext string, to ...age.Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, plaintext); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// foreign is a recipient of another program.
type foreign struct{}

func (foreign) Wrap([]byte) ([]*age.Stanza, error) {
	return []*age.Stanza{{Type: "ssh-ed25519", Args: []string{"abcd"}, Body: []byte("body")}}, nil
}

func passphrase(t testing.TB) age.Recipient {
	t.Helper()
	r, err := age.NewScryptRecipient("hunter2")
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(10)
	return r
}

func machineRecipient(t testing.TB) age.Recipient {
	t.Helper()
	r, err := age.ParseX25519Recipient(machine.public)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func inArmor(t testing.TB, binary []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	if _, err := w.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// flipped is a ciphertext with one bit changed.
func flipped(ciphertext []byte, at int) []byte {
	changed := bytes.Clone(ciphertext)
	changed[at] ^= 1
	return changed
}

// unopenable is what does not open with the key of the machine, and the fact
// that is wrong with it.
func unopenable(t testing.TB) []unopened {
	good := sealed(t, canary, false, machine)
	header := bytes.Index(good, []byte("\n--- "))
	armored := sealed(t, canary, true, machine)
	return []unopened{
		{"nothing", nil, ErrNotEncrypted},
		{"spaces", []byte(" \r\n\t "), ErrNotEncrypted},
		{"a secret in plain", []byte("ALTER USER root IDENTIFIED BY '" + canary + "';\n"), ErrNotEncrypted},
		{"a short one", []byte("a"), ErrNotEncrypted},
		{"a private key", []byte(recovery.private), ErrNotEncrypted},
		{"what gpg made", []byte("-----BEGIN PGP MESSAGE-----\n\nhQEMA\n"), ErrNotEncrypted},
		{"an error page", []byte("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"), ErrNotEncrypted},
		{"a newline before", append([]byte("\n"), good...), ErrDamaged},
		{"another version", bytes.Replace(good, []byte("/v1"), []byte("/v2"), 1), ErrDamaged},
		{"cut in the first line", good[:12], ErrDamaged},
		{"cut in the header", good[:header-10], ErrDamaged},
		{"cut in the body", good[:len(good)-1], ErrDamaged},
		{"cut in the armor", armored[:len(armored)/2], ErrDamaged},
		{"more behind", append(bytes.Clone(good), 'x'), ErrDamaged},
		{"more behind the armor", append(bytes.Clone(armored), "and "+canary...), ErrDamaged},
		{"changed in the MAC", flipped(good, header+10), ErrDamaged},
		{"changed in the body", flipped(good, len(good)-5), ErrDamaged},
		{"changed in the armor", bytes.Replace(armored, []byte("\n"), []byte("\n*"), 1), ErrDamaged},
		{"through a text mode", bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")), ErrDamaged},
		{"with a byte order mark", append([]byte("\xef\xbb\xbf"), armored...), ErrDamaged},
		{"redirected by PowerShell", []byte(utf16LE("\ufeff" + string(armored))), ErrDamaged},
		{"the same without armor", []byte(utf16LE("\ufeff" + string(good))), ErrDamaged},
		{"a secret in UTF-16", []byte(utf16LE("\ufeff" + canary)), ErrNotEncrypted},
		{"sealed for others", sealed(t, canary, false, recovery, newPair(t)), nil},
		{"sealed for SSH", sealedBy(t, canary, foreign{}), nil},
		{"a passphrase", sealedBy(t, canary, passphrase(t)), ErrPassphrase},
		{"a passphrase, in armor", inArmor(t, sealedBy(t, canary, passphrase(t))), ErrPassphrase},
		{"nothing in it", sealedBy(t, "", machineRecipient(t)), ErrUnfit},
		{"too much in it", sealedBy(t, strings.Repeat("x", PlaintextMax+1), machineRecipient(t)), ErrUnfit},
	}
}

type unopened struct {
	name       string
	ciphertext []byte
	fact       error
}

func TestWhatDoesNotOpenIsToldInWords(t *testing.T) {
	var got strings.Builder
	for _, c := range unopenable(t) {
		p, err := Decrypt(c.ciphertext, keysOf(t, machine))
		if p != nil || err == nil {
			t.Fatalf("%s: opened to %q", c.name, p.Bytes())
		}
		if c.fact != nil && !errors.Is(err, c.fact) || c.fact == nil && !errors.As(err, new(*NoKeyError)) {
			t.Errorf("%s: got %v", c.name, err)
		}
		if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "IDENTIFIED") {
			t.Errorf("%s: the error quotes what it is about: %v", c.name, err)
		}
		fmt.Fprintf(&got, "%s: db.age %s\n", c.name, words(err))
	}
	// What is here decides what is told.
	ciphertext := sealed(t, canary, false, newPair(t))
	for _, keys := range []*Keys{new(Keys), keysOf(t, machine, recovery)} {
		_, err := Decrypt(ciphertext, keys)
		fmt.Fprintf(&got, "with %d keys: db.age %s\n", len(keys.Recipients()), words(err))
		if none := (*NoKeyError)(nil); !errors.As(err, &none) || len(none.Here) != len(keys.Recipients()) {
			t.Errorf("got %v", err)
		}
	}
	_, err := Decrypt(sealedBy(t, canary, passphrase(t)), new(Keys))
	fmt.Fprintf(&got, "a passphrase, without keys: db.age %s\n", words(err))
	golden.Check(t, filepath.Join("testdata", "open.golden"), got.String())
}

func TestAPostQuantumKeyIsNamedShort(t *testing.T) {
	hybrid := newHybridPair(t)
	_, err := Decrypt(sealed(t, canary, false, machine), keysOf(t, hybrid))
	if err == nil || len(err.Error()) > 200 || !strings.Contains(err.Error(), hybrid.public[:20]+"..."+hybrid.public[len(hybrid.public)-8:]) {
		t.Errorf("got %v", err)
	}
}

// However early a file ends, not a byte of plaintext comes out of it. The end
// of a chunk is where age itself has authenticated what came before.
func TestNoBeginningOfASealedFileIsOpened(t *testing.T) {
	keys := keysOf(t, machine)
	check := func(whole []byte, n int) {
		if p, err := Decrypt(whole[:n], keys); err == nil {
			t.Fatalf("%d of %d bytes are opened to %d", n, len(whole), len(p.Bytes()))
		} else if n >= 200 && !errors.Is(err, ErrDamaged) {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
	}
	for _, to := range [][]pair{{machine}, {recovery, machine}} {
		small := sealed(t, canary, false, to...)
		for n := range len(small) {
			check(small, n)
		}
		armored := bytes.TrimSpace(sealed(t, canary, true, to...)) // the last newline is no part of it
		for n := range len(armored) {
			check(armored, n)
		}
	}
	large := sealed(t, strings.Repeat("x", 3*chunk), false, machine)
	header := len(large) - 3*(chunk+16) // 16 bytes authenticate a chunk
	for n := 0; n < len(large); n += 9973 {
		check(large, n)
	}
	for whole := range 4 {
		for n := header + whole*(chunk+16) - 100; n < header+whole*(chunk+16)+20; n++ {
			if n >= 0 && n < len(large) {
				check(large, n)
			}
		}
	}
}

// A buffer of plaintext that was not authenticated to its end is wiped.
func TestWhatWasReadBeforeAnErrorIsWiped(t *testing.T) {
	buf := make([]byte, 0, 100)
	broken := errors.New("broken")
	if got, err := readInto(buf, io.MultiReader(strings.NewReader(canary), errReader{broken})); got != nil || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", got, err)
	}
	if left := bytes.Trim(buf[:cap(buf)], "\x00"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			lack(t, tool+" is missing: apt-get install age")
		}
	}
}

func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// ageTool runs a program of package age.
func ageTool(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, stderr.Bytes())
	}
	return out
}

func TestDebiansAgeAndWeOpenWhatTheOtherSealed(t *testing.T) {
	need(t, "age", "age-keygen")
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "machine.key")
	text := ageTool(t, nil, "age-keygen")
	if err := os.WriteFile(keyFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	keys := new(Keys)
	added, err := FileKeys(keyFile).Provide(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	public := strings.TrimSpace(string(ageTool(t, nil, "age-keygen", "-y", keyFile)))
	if len(added) != 1 || added[0] != public {
		t.Errorf("its public key is %q here, and %s for age-keygen", added, public)
	}
	for _, size := range []int{1, 1000, chunk, 2*chunk + 1} {
		plaintext := bytes.Repeat([]byte{0, 'x', '\n', 0xff}, size)[:size]
		for _, args := range [][]string{{"-r", public}, {"-a", "-r", public}, {"-r", recovery.public, "-r", public}} {
			if got := opens(t, ageTool(t, plaintext, "age", args...), keys).Bytes(); !bytes.Equal(got, plaintext) {
				t.Errorf("age %q: %d bytes are opened to %d", args, size, len(got))
			}
		}
		for _, armored := range []bool{false, true} {
			var ciphertext bytes.Buffer
			if err := Encrypt(&ciphertext, bytes.NewReader(plaintext), []string{recovery.public, public}, armored); err != nil {
				t.Fatal(err)
			}
			if got := ageTool(t, ciphertext.Bytes(), "age", "-d", "-i", keyFile); !bytes.Equal(got, plaintext) {
				t.Errorf("armored %v: age -d makes %d bytes of %d", armored, len(got), size)
			}
		}
	}
}

// Whatever is fetched, it is opened to what was sealed or not at all, and the
// error is one of few texts.
func FuzzDecrypt(f *testing.F) {
	keys := keysOf(f, machine)
	known := map[string]bool{}
	for _, c := range unopenable(f) {
		_, err := Decrypt(c.ciphertext, keys)
		known[err.Error()] = true
		if len(c.ciphertext) < 2000 {
			f.Add(c.ciphertext)
		}
	}
	f.Add(sealed(f, canary, false, machine, recovery))
	f.Add(sealed(f, canary, true, machine, recovery))
	f.Fuzz(func(t *testing.T, ciphertext []byte) {
		p, err := Decrypt(ciphertext, keys)
		switch {
		case err == nil && string(p.Bytes()) != canary:
			t.Errorf("opened to what nobody sealed: %q", p.Bytes())
		case err != nil && !known[err.Error()]:
			t.Errorf("an error in words of its own: %v", err)
		}
	})
}
