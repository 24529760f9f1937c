// Package settings reads /etc/bootagent/agent.yaml, what the agent itself is
// set to. Everything in it may be left out, and so may the file.
package settings

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"bootagent/pkg/secret"
	"bootagent/pkg/strictyaml"
)

// File is where the settings are.
const File = "/etc/bootagent/agent.yaml"

// Settings are those of the agent.
type Settings struct {
	// UserDataFile is the absolute path of the file that holds the user-data,
	// or "" where it comes from the instance metadata service. With a file the
	// machine is a local one.
	UserDataFile string
	Endpoints    Endpoints
	Keys         []secret.ProviderConfig // where a key for the secrets comes from, in the order to try them
	UnlockWithin time.Duration           // the longest that the agent waits for an operator's key
	RetryWithin  time.Duration           // the longest that what goes wrong is tried again until the role has failed
	ReadyWithin  time.Duration           // the longest that the boot is held up for the role
	DefaultRole  string                  // role of an instance whose user-data selects none, or ""
}

// Endpoints are the URLs of AWS's services, each a scheme and a host. "" is
// the service's own address.
type Endpoints struct {
	IMDS string // instance metadata
	EC2  string
	S3   string // where it is set, buckets are named in the path
}

// longestReadyWithin bounds how long an instance may hold up its boot: whoever
// waits for it should hear by then.
const longestReadyWithin = time.Hour

// longestUnlockWithin bounds how long an agent may wait for a person: over a
// long weekend, but not until everybody has forgotten that it does.
const longestUnlockWithin = 7 * 24 * time.Hour

// longestRetryWithin bounds how long a role that makes no headway may pass for
// one that waits.
const longestRetryWithin = 7 * 24 * time.Hour

// Default gives the settings of an agent that nobody has set.
func Default() Settings {
	return Settings{Keys: secret.DefaultProviders(), UnlockWithin: 24 * time.Hour, RetryWithin: 15 * time.Minute, ReadyWithin: time.Minute}
}

// Load reads the settings from a file. A file that does not exist leaves the
// defaults. What is wrong in the file is told as strictyaml.Errors, which
// quote no path, no URL and no source of keys: people might put secrets there.
func Load(path string) (Settings, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return Settings{}, err
	}
	return decode(path, src)
}

func decode(file string, src []byte) (Settings, error) {
	doc := strictyaml.Parse(file, src)
	root := doc.Root("the settings")
	settings := Default()
	userData := root.Take("user-data").Example("user-data: {file: /etc/bootagent/user-data}").Map("user-data")
	if v := userData.Take("file"); v.Given() {
		settings.UserDataFile = v.Path("the file of user-data")
	}
	userData.Done()
	endpoints := root.Take("endpoints").Example("endpoints: {ec2: https://HOST}").Map("endpoints")
	settings.Endpoints = Endpoints{
		IMDS: endpoint(endpoints.Take("imds"), "imds"),
		EC2:  endpoint(endpoints.Take("ec2"), "ec2"),
		S3:   endpoint(endpoints.Take("s3"), "s3"),
	}
	endpoints.Done()
	if v := root.Take("keys").Example("keys: [operator]"); v.Given() {
		settings.Keys = secret.ReadProviders(v)
	}
	if within, ok := root.Take("unlock-within").Duration(longestUnlockWithin); ok {
		settings.UnlockWithin = within
	}
	if within, ok := root.Take("retry-within").Duration(longestRetryWithin); ok {
		settings.RetryWithin = within
	}
	if within, ok := root.Take("ready-within").Duration(longestReadyWithin); ok {
		settings.ReadyWithin = within
	}
	if role, ok := root.Take("default-role").Name(); ok {
		settings.DefaultRole = role
	}
	root.Done()
	if err := doc.Err(); err != nil {
		return Settings{}, err
	}
	return settings, nil
}

// endpoint reads the URL of a service: a scheme, a host, perhaps a port.
func endpoint(v strictyaml.Value, service string) string {
	text, ok := v.TextOf("a URL")
	if ok && !isEndpoint(text) {
		v.Failf("the endpoint %s must be http:// or https://, a host and, if needed, a port, with nothing after it", service)
	}
	return text
}

func isEndpoint(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return false
	}
	if u.Port() != "" || strings.HasSuffix(u.Host, ":") {
		if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
			return false
		}
	}
	// What else a URL may have would make it another text than this.
	return (u.Scheme == "http" || u.Scheme == "https") && text == u.Scheme+"://"+u.Host
}
