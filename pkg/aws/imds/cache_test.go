package imds

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	machine = Fingerprint{
		ProductUUID: "ec2e1916-9099-7caf-fd21-012345abcdef", BoardAssetTag: identity.ID,
		MachineID: "0123456789abcdef0123456789abcdef",
	}
	facts = Metadata{Identity: identity, UserData: []byte("#bootagent\nversion: 1\nrole: web\n"), HasUserData: true}
)

// but gives a machine that differs from the usual one.
func but(change func(*Fingerprint)) Fingerprint {
	m := machine
	change(&m)
	return m
}

func TestTheFingerprintIsReadFromDMIAndMachineID(t *testing.T) {
	dir := t.TempDir()
	dmi, machineID := filepath.Join(dir, "id"), filepath.Join(dir, "machine-id")
	if got, err := ReadFingerprint(dmi, machineID); err != nil || got != (Fingerprint{}) {
		t.Errorf("of a machine without any: got %+v, %v", got, err)
	}
	if err := os.Mkdir(dmi, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(dmi, "product_uuid"):    machine.ProductUUID,
		filepath.Join(dmi, "board_asset_tag"): machine.BoardAssetTag,
		machineID:                             machine.MachineID,
	} {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ReadFingerprint(dmi, machineID); err != nil || got != machine {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := ReadFingerprint(dmi, dir); err == nil || !strings.HasPrefix(err.Error(), "cannot tell this machine from others: ") {
		t.Errorf("of a machine whose machine id can't be read: %v", err)
	}
}

func TestWhatIsKeptIsFoundAgain(t *testing.T) {
	for name, facts := range map[string]Metadata{
		"user-data":       facts,
		"none":            {Identity: identity, RoleTag: "web"},
		"empty user-data": {Identity: identity, UserData: []byte{}, HasUserData: true},
		"as much as can be": {
			Identity: identity, UserData: []byte(strings.Repeat("\xff", maxUserData)), HasUserData: true,
			RoleTag: strings.Repeat("<", 256), // EC2's longest, where JSON is longest
		},
	} {
		for _, machine := range []Fingerprint{
			machine,
			but(func(m *Fingerprint) { m.BoardAssetTag = "" }), // as on Xen
			but(func(m *Fingerprint) { m.BoardAssetTag = "Not Specified" }),
		} {
			path := filepath.Join(t.TempDir(), "instance.json")
			before := time.Now().Add(-time.Second)
			if err := Cache(path, machine, facts); err != nil {
				t.Fatal(err)
			}
			got, since, err := Cached(path, machine)
			if err != nil || !reflect.DeepEqual(got, facts) || since.Before(before) || since.After(time.Now()) {
				t.Errorf("%s: got %+v since %s, %v", name, got, since, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
	}
}

// An image that was made from a running instance carries its copy along.
func TestAnotherMachinesAnswersAreRefused(t *testing.T) {
	xen := but(func(m *Fingerprint) { m.BoardAssetTag = "" })
	for _, c := range []struct {
		kept, now Fingerprint
		words     string
	}{
		{machine, but(func(m *Fingerprint) { m.ProductUUID = "ec2fffff-9099-7caf-fd21-012345abcdef" }), "this machine has another product UUID"},
		{machine, but(func(m *Fingerprint) { m.MachineID = "fedcba9876543210fedcba9876543210" }), "this machine has another machine id"},
		{machine, but(func(m *Fingerprint) { m.BoardAssetTag = "i-0fedcba9876543210" }), "they are of instance i-0123456789abcdef0, and the board of this machine says i-0fedcba9876543210"},
		{xen, but(func(m *Fingerprint) { m.BoardAssetTag = "i-0fedcba9876543210" }), "they are of instance i-0123456789abcdef0, and the board of this machine says i-0fedcba9876543210"},
		{xen, machine, "this machine has another board asset tag"},
		{machine, xen, "this machine has another board asset tag"},
		{machine, but(func(m *Fingerprint) { m.ProductUUID = "" }), "it has no product UUID"},
		{machine, but(func(m *Fingerprint) { m.MachineID = "" }), "it has no machine id"},
		{machine, Fingerprint{}, "it has no product UUID"},
	} {
		path := filepath.Join(t.TempDir(), "instance.json")
		if err := Cache(path, c.kept, facts); err != nil {
			t.Fatal(err)
		}
		got, since, err := Cached(path, c.now)
		if !errors.Is(err, ErrForeign) || !strings.HasSuffix(err.Error(), ": "+c.words) || !reflect.DeepEqual(got, Metadata{}) || !since.IsZero() {
			t.Errorf("got %+v, %v; want %q", got, err, c.words)
		}
		for _, id := range []string{machine.ProductUUID, c.now.ProductUUID, machine.MachineID, c.now.MachineID} {
			if id != "" && strings.Contains(err.Error(), id) {
				t.Errorf("tells an id of the machine: %v", err)
			}
		}
	}
}

func TestAMachineThatCannotBeToldFromItsCopiesKeepsNothing(t *testing.T) {
	for words, machine := range map[string]Fingerprint{
		"it has no product UUID": but(func(m *Fingerprint) { m.ProductUUID = "00000000-0000-0000-0000-000000000000" }),
		"no product UUID":        but(func(m *Fingerprint) { m.ProductUUID = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF" }),
		"it has no machine id":   but(func(m *Fingerprint) { m.MachineID = "uninitialized" }),
		"they are of instance i-0123456789abcdef0, and the board of this machine says i-0fedcba9876543210": but(func(m *Fingerprint) { m.BoardAssetTag = "i-0fedcba9876543210" }),
	} {
		path := filepath.Join(t.TempDir(), "instance.json")
		if err := Cache(path, machine, facts); err == nil || !strings.HasSuffix(err.Error(), words) {
			t.Errorf("%v; want %q", err, words)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: something was kept: %v", words, err)
		}
	}
}

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "instance.json")
	cache := func(m Fingerprint, f Metadata) os.FileInfo {
		t.Helper()
		if err := Cache(path, m, f); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	last := cache(machine, facts)
	if !os.SameFile(last, cache(machine, facts)) {
		t.Error("the same was written again")
	}
	other := facts
	other.RoleTag = "web"
	for what, change := range map[string]func() os.FileInfo{
		"the role tag":    func() os.FileInfo { return cache(machine, other) },
		"another machine": func() os.FileInfo { return cache(but(func(m *Fingerprint) { m.MachineID = "f" }), facts) },
		"a broken copy": func() os.FileInfo {
			os.WriteFile(path, []byte("{"), 0o600)
			return cache(machine, facts)
		},
		"a copy that others can read": func() os.FileInfo {
			os.Chmod(path, 0o644)
			return cache(machine, facts)
		},
	} {
		last = cache(machine, facts)
		now := change()
		if os.SameFile(last, now) || now.Mode() != 0o600 {
			t.Errorf("%s: not written, or with %v", what, now.Mode())
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestABrokenCopyIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "instance.json")
	if err := Cache(path, machine, facts); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(old, with string) string { return strings.Replace(string(whole), old, with, 1) }
	for text, words := range map[string]string{
		"":                                     "unexpected end of JSON input",
		string(whole[:len(whole)/2]):           "unexpected end of JSON input",
		strings.Repeat("\x00", 600):            "invalid character '\\x00'",
		string(whole) + "{}":                   "invalid character '{' after top-level value",
		"{}":                                   "their version is 0, and not 1",
		replaced(`"version":1`, `"version":2`): "their version is 2, and not 1",
		replaced(`"hasUserData":true`, `"hasUserData":no`):                             "invalid character",
		replaced(`"hasUserData":true`, `"hasUserData":null`):                           "they contradict themselves about user-data",
		replaced(`"id":"`+identity.ID, `"id":"i-`):                                     "it has no instance id",
		replaced(`"since":"2`, `"then":"2`):                                            "they have no time",
		replaced(`"userData":"`, `"userData":"`+strings.Repeat("AAAA", maxUserData/3)): "the user-data has more than 16384 bytes",
		string(whole) + strings.Repeat(" ", maxCopy):                                   "they have more than 32768 bytes",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, since, err := Cached(path, machine)
		if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), path) ||
			!reflect.DeepEqual(got, Metadata{}) || !since.IsZero() {
			t.Errorf("%.40q: got %+v, %v; want %q", text, got, err, words)
		}
	}
	if _, _, err := Cached(filepath.Join(t.TempDir(), "instance.json"), machine); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrBroken) {
		t.Errorf("where nothing is kept: %v", err)
	}
	if _, _, err := Cached(t.TempDir(), machine); !errors.Is(err, ErrBroken) {
		t.Errorf("a directory: %v", err)
	}
}

func TestWhatCannotBeKeptIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "instance.json")
	if err := Cache(path, machine, facts); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "cannot cache the answers of the metadata service: ") {
		t.Error(err)
	}
}

// The copy is a file on a disk that becomes an image.
func TestCredentialsAreNeverKept(t *testing.T) {
	items := credentialItems(time.Hour)
	items[userDataPath] = "#bootagent\n"
	s := newService(t, nil)
	maps.Copy(s.items, items)
	c := New(s.url)
	creds, err := c.Credentials().Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, err := c.Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "instance.json")
	if err := Cache(path, machine, f); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{creds.SecretAccessKey, creds.SessionToken, creds.AccessKeyID} {
		if secret == "" || strings.Contains(fmt.Sprint(string(text), c), secret) {
			t.Errorf("%q is kept", secret)
		}
	}
}

func FuzzCached(f *testing.F) {
	path := filepath.Join(f.TempDir(), "instance.json")
	if err := Cache(path, machine, facts); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "instance.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		got, since, err := Cached(path, machine)
		if err != nil {
			return
		}
		if got.Identity.check() != nil || got.Identity.ID != machine.BoardAssetTag || len(got.UserData) > maxUserData || since.IsZero() {
			t.Errorf("believed: %+v since %s", got, since)
		}
	})
}
