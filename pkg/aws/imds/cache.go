package imds

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// A Fingerprint tells a machine from its copies. A copy of its disk, be it an
// image that many instances start from, carries the cached answers along, but
// not the machine's DMI identifiers.
type Fingerprint struct {
	ProductUUID   string `json:"productUUID"`
	BoardAssetTag string `json:"boardAssetTag"` // on Nitro instances, the instance id
	MachineID     string `json:"machineID"`
}

// DMI is where the kernel shows a machine's DMI identifiers.
const DMI = "/sys/class/dmi/id"

// ReadFingerprint reads the fingerprint of this machine from the directory of
// its DMI identifiers and from its machine-id(5). What the machine does not
// have is left empty.
func ReadFingerprint(dmi, machineID string) (Fingerprint, error) {
	var f Fingerprint
	for path, part := range map[string]*string{
		filepath.Join(dmi, "product_uuid"):    &f.ProductUUID,
		filepath.Join(dmi, "board_asset_tag"): &f.BoardAssetTag,
		machineID:                             &f.MachineID,
	} {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Fingerprint{}, fmt.Errorf("cannot tell this machine from others: %w", err)
		}
		*part = strings.TrimSpace(string(text))
	}
	return f, nil
}

// lacks says what a fingerprint lacks to tell a machine from its copies, or
// nothing. A UUID of zeros or ones only is one that nobody has set (SMBIOS
// 3.7, 7.2.1).
func (f Fingerprint) lacks() string {
	switch digits := strings.ToLower(strings.ReplaceAll(f.ProductUUID, "-", "")); {
	case strings.Trim(digits, "0") == "", strings.Trim(digits, "f") == "":
		return "it has no product UUID"
	case f.MachineID == "", f.MachineID == "uninitialized":
		return "it has no machine id"
	}
	return ""
}

// contradicts says why an instance can't be the machine of the fingerprint, or
// nothing.
func (f Fingerprint) contradicts(id Identity) string {
	if isInstanceID(f.BoardAssetTag) && f.BoardAssetTag != id.ID {
		return fmt.Sprintf("they are of instance %s, and the board of this machine says %s", id.ID, f.BoardAssetTag)
	}
	return ""
}

// differs says in what two machines differ, or nothing. It names no values: not
// everybody who can read the log may know the UUID and the machine id.
func (f Fingerprint) differs(other Fingerprint) string {
	switch {
	case f.ProductUUID != other.ProductUUID:
		return "this machine has another product UUID"
	case f.BoardAssetTag != other.BoardAssetTag:
		return "this machine has another board asset tag"
	case f.MachineID != other.MachineID:
		return "this machine has another machine id"
	}
	return ""
}

// Why cached answers can't be used.
var (
	ErrForeign = errors.New("the cached answers are not this machine's, or may not be")
	ErrBroken  = errors.New("the cached answers can't be read")
)

// copyVersion is the version of the cache file.
const copyVersion = 1

// maxCopy bounds that file, in bytes: user-data in base64 and a page beside it.
const maxCopy = 32 << 10

// copied is what the file holds.
type copied struct {
	Version int         `json:"version"`
	Since   time.Time   `json:"since"`
	Machine Fingerprint `json:"machine"`
	Metadata
}

// Cache writes good answers to a file, for a boot in which the service does not
// answer. It writes only what the file does not hold already, in one step,
// readable for root alone.
func Cache(path string, machine Fingerprint, facts Metadata) error {
	if problem := machine.lacks(); problem != "" {
		return fmt.Errorf("cannot cache the answers of the metadata service: this machine can't be told from a copy of it: %s", problem)
	}
	if problem := machine.contradicts(facts.Identity); problem != "" {
		return fmt.Errorf("cannot cache the answers of the metadata service: %s", problem)
	}
	if old, private, err := readCopy(path); err == nil && private && old.Machine == machine && reflect.DeepEqual(old.Metadata, facts) {
		return nil
	}
	text, err := json.Marshal(copied{Version: copyVersion, Since: time.Now().UTC().Truncate(time.Second), Machine: machine, Metadata: facts})
	if err == nil {
		err = writePrivate(path, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot cache the answers of the metadata service: %w", err)
	}
	return nil
}

// writePrivate replaces a file in one step by one that only its owner may
// read, whoever could read the one before.
func writePrivate(path string, text []byte) error {
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer file.Cleanup()
	if _, err := file.Write(text); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}

// Cached returns the cached answers, and since when they have been the same.
// The error is fs.ErrNotExist where nothing is cached, ErrBroken where it
// can't be read, and ErrForeign where it is another machine's, or may be.
func Cached(path string, machine Fingerprint) (Metadata, time.Time, error) {
	c, _, err := readCopy(path)
	if err != nil {
		return Metadata{}, time.Time{}, err
	}
	for _, problem := range []string{
		machine.lacks(),
		machine.contradicts(c.Identity),
		machine.differs(c.Machine),
	} {
		if problem != "" {
			return Metadata{}, time.Time{}, fmt.Errorf("%w: %s", ErrForeign, problem)
		}
	}
	return c.Metadata, c.Since, nil
}

// readCopy reads the cache file, and tells whether it is readable to
// its owner alone.
func readCopy(path string) (c copied, private bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return copied{}, false, fmt.Errorf("no answers of the metadata service are cached: %w", err)
	}
	if err != nil {
		return copied{}, false, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return copied{}, false, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxCopy+1))
	switch {
	case err == nil && len(text) > maxCopy:
		err = fmt.Errorf("they have more than %d bytes", maxCopy)
	case err == nil:
		err = json.Unmarshal(text, &c)
	}
	if err == nil {
		err = c.valid()
	}
	if err != nil {
		return copied{}, false, fmt.Errorf("%w: %s: %w", ErrBroken, path, err)
	}
	return c, info.Mode().Perm() == 0o600, nil
}

// valid checks what a whole file holds.
func (c copied) valid() error {
	switch {
	case c.Version != copyVersion:
		return fmt.Errorf("their version is %d, and not %d", c.Version, copyVersion)
	case c.Since.IsZero():
		return errors.New("they have no time")
	case len(c.UserData) > maxUserData:
		return fmt.Errorf("the user-data has more than %d bytes", maxUserData)
	case len(c.UserData) > 0 && !c.HasUserData:
		return errors.New("they contradict themselves about user-data")
	}
	return c.Identity.check()
}
