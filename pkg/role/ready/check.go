package ready

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"bootagent/pkg/role/key"
	"bootagent/pkg/strictyaml"
	"bootagent/pkg/syntax"
)

// text reads a way to probe that is a text, which check may refuse.
func (into *reading) text(r key.Reader, check func(string) error) string {
	if !into.first(r) {
		return ""
	}
	text, ok := r.Text()
	if !ok {
		return ""
	}
	if err := check(text); err != nil {
		r.Failf("%s: %s: %v", r.What, r.Key.Name, err)
	}
	return text
}

// elsewhere goes on after what is not on this machine.
const elsewhere = "is not a loopback address; the probe asks this machine only: write localhost, 127.0.0.1 or [::1], or use a command"

// checkHost refuses a host that is not this machine by its loopback device.
func checkHost(host string) error {
	if host == "localhost" {
		return nil
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil || !address.IsLoopback() || address.Zone() != "" {
		return fmt.Errorf("%s %s", strictyaml.Quote(host), elsewhere)
	}
	return nil
}

// checkPort refuses a text that is not the number of a port.
func checkPort(port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port != strconv.FormatUint(n, 10) {
		return fmt.Errorf("%s is not a port; it is a number from 1 to 65535", strictyaml.Quote(port))
	}
	return nil
}

// checkTCP refuses a text that is not the address of a port of this machine.
func checkTCP(address string) error {
	at := strings.LastIndexByte(address, ':')
	if at < 0 {
		if checkPort(address) == nil {
			return fmt.Errorf("%s has no host; write 127.0.0.1:%s", strictyaml.Quote(address), address)
		}
		return fmt.Errorf("%s has no port; write HOST:PORT, such as 127.0.0.1:3306", strictyaml.Quote(address))
	}
	host, port := address[:at], address[at+1:]
	if strings.Contains(host, ":") && (!strings.HasPrefix(host, "[") || !strings.HasSuffix(host, "]")) {
		return errors.New("an IPv6 address stands in brackets: [::1]:3306")
	}
	return errors.Join(checkHost(host), checkPort(port))
}

// socketMax is the length of the path of a socket, in bytes: sun_path of unix(7)
// without the terminating zero.
const socketMax = 107

// hidden are the directories of which the agent has its own, or none: see
// PrivateTmp= and ProtectHome= of its unit.
var hidden = []string{"/tmp", "/var/tmp", "/home", "/root", "/run/user"}

// checkUnix refuses a text that can't be the path of a socket that the agent sees.
func checkUnix(path string) error {
	if err := syntax.CheckPath(path); err != nil {
		return err
	}
	if len(path) > socketMax {
		return fmt.Errorf("too long: %d bytes; the path of a socket has at most %d", len(path), socketMax)
	}
	for _, dir := range hidden {
		if strings.HasPrefix(path, dir+"/") {
			return fmt.Errorf("the agent does not see the sockets in %s (PrivateTmp=, ProtectHome= of bootagent.service); have the service make its socket below /run, or use a command", dir)
		}
	}
	return nil
}

// checkHTTP refuses a text that is not a URL of this machine.
func checkHTTP(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" && u.Scheme == "":
		return fmt.Errorf("%s is not a URL; write one such as http://127.0.0.1:8080/health", strictyaml.Quote(text))
	case u.Scheme == "https":
		return errors.New("https is not supported: no authority signs a certificate for a loopback address; use http, tcp, or a command")
	case u.Scheme != "http":
		return fmt.Errorf("%s is not a URL of HTTP; write one such as http://127.0.0.1:8080/health", strictyaml.Quote(text))
	case u.User != nil:
		return errors.New("a user or a password has no place in a URL of a role file; use a command")
	case u.Fragment != "":
		return errors.New("what stands after # is not sent to a server; leave it out")
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if err := checkPort(port); err != nil {
			return err
		}
	}
	return checkHost(u.Hostname())
}

// command reads a program and its arguments.
func (into *reading) command(r key.Reader) (argv []string) {
	if !into.first(r) {
		return nil
	}
	list, ok := r.List()
	if ok && len(list) == 0 {
		r.Failf("%s: command: it names no program; write %s", r.What, r.Key.Kind.Example)
	}
	for i, v := range list {
		text, ok := v.Text()
		if !ok {
			return nil
		}
		if i == 0 {
			if err := checkProgram(text, len(list) == 1); err != nil {
				v.Failf("%s: command: %v", r.What, err)
				return nil
			}
		}
		argv = append(argv, text)
	}
	return argv
}

// checkProgram refuses a text that is not the path of a program.
func checkProgram(text string, alone bool) error {
	if words := strings.Fields(text); alone && len(words) > 1 {
		return fmt.Errorf("no shell reads it; write each argument by itself: command: [%s]", strings.Join(words, ", "))
	}
	if err := syntax.CheckPath(text); err != nil {
		return fmt.Errorf("the program %s: %w", strictyaml.Quote(text), err)
	}
	return nil
}

// user reads who a command runs as.
func (into *reading) user(r key.Reader) string {
	text, ok := r.Text()
	if !ok {
		return ""
	}
	if err := syntax.CheckUser(text); err != nil {
		r.Failf("%s: user: %v", r.What, err)
	}
	if into.way != "" && into.way != "command" {
		r.Failf("%s: user applies to a command only; leave it out beside %s", r.What, into.way)
	}
	return text
}
