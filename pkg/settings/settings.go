// Package settings reads /etc/bootagent/agent.yaml, what the agent itself is
// set to. Everything in it may be left out, and so may the file.
package settings

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

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
	Keys         []Key         // where a key for the secrets comes from, in the order to try them
	UnlockWithin time.Duration // the longest that the agent waits for an operator's key
	RetryWithin  time.Duration // the longest that what goes wrong is tried again until the role has failed
	ReadyWithin  time.Duration // the longest that the boot is held up for the role
	DefaultRole  string        // role of an instance whose user-data selects none, or ""
}

// Endpoints are the URLs of AWS's services, each a scheme and a host. "" is
// the service's own address.
type Endpoints struct {
	IMDS string // instance metadata
	EC2  string
	S3   string // where it is set, buckets are named in the path
}

// A Key is one place that a key comes from; exactly one of its fields is set.
type Key struct {
	Operator bool     // a person gives it, by bootagent unlock
	File     string   // absolute path
	Command  []string // a program's absolute path and its arguments; no shell
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
	return Settings{Keys: []Key{{Operator: true}}, UnlockWithin: 24 * time.Hour, RetryWithin: 15 * time.Minute, ReadyWithin: time.Minute}
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
	userData := root.Take("user-data").Map("user-data")
	if v := userData.Take("file"); v.Given() {
		settings.UserDataFile = absolute(v, "the file of user-data")
	}
	userData.Done()
	endpoints := root.Take("endpoints").Map("endpoints")
	settings.Endpoints = Endpoints{
		IMDS: endpoint(endpoints.Take("imds"), "imds"),
		EC2:  endpoint(endpoints.Take("ec2"), "ec2"),
		S3:   endpoint(endpoints.Take("s3"), "s3"),
	}
	endpoints.Done()
	if v := root.Take("keys"); v.Given() {
		settings.Keys = keys(v)
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

// absolute reads an absolute path; what is how an error calls it.
func absolute(v strictyaml.Value, what string) string {
	path, ok := v.Text()
	if ok && (!filepath.IsAbs(path) || filepath.Clean(path) != path) {
		v.Failf("%s has to be an absolute path without . and ..", what)
	}
	return path
}

// endpoint reads the URL of a service: a scheme, a host, perhaps a port.
func endpoint(v strictyaml.Value, service string) string {
	text, ok := v.Text()
	if ok && !isEndpoint(text) {
		v.Failf("the endpoint %s has to be http:// or https://, a host, perhaps a port, and nothing after it", service)
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

// keys reads where keys come from.
func keys(v strictyaml.Value) (keys []Key) {
	list, ok := v.List()
	if ok && len(list) == 0 {
		v.Failf(`"keys" in the settings names no source; leave the key out for [operator]`)
	}
	for _, entry := range list {
		key := keyOf(entry)
		same := func(k Key) bool { return reflect.DeepEqual(k, key) }
		if !same(Key{}) && slices.ContainsFunc(keys, same) {
			entry.Failf("this source of keys stands twice")
		}
		keys = append(keys, key)
	}
	return keys
}

// sources says what a source of keys may be. An error does not quote what
// stands there instead: it may be a key.
const sources = "operator, {file: /path} or {command: [/path, argument, ...]}"

func keyOf(v strictyaml.Value) (key Key) {
	if word := v.String(); word != "" {
		key.Operator = word == "operator"
		if !key.Operator {
			v.Failf("a source of keys is %s%s", sources, strictyaml.DidYouMean(word, []string{"operator"}))
		}
		return key
	}
	source := v.Map("a source of keys")
	file, command := source.Take("file"), source.Take("command")
	source.Done()
	if file.Given() == command.Given() {
		v.Failf("a source of keys is one of %s", sources)
		return key
	}
	if file.Given() {
		key.File = absolute(file, "the file of a source of keys")
		return key
	}
	argv, ok := command.List()
	if ok && len(argv) == 0 {
		command.Failf("the command of a source of keys is empty; it has to name a program")
	}
	for i, arg := range argv {
		text, _ := arg.Text()
		if i == 0 {
			text = absolute(arg, "the program of a source of keys")
		}
		key.Command = append(key.Command, text)
	}
	return key
}
