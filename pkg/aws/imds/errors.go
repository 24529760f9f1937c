package imds

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"bootagent/pkg/aws/cli"
)

// A Kind is why the instance metadata service did not give what it was asked
// for.
type Kind string

// What can be wrong. The codes of the answers are those of
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
const (
	Unreachable        Kind = "unreachable"         // there is no connection
	Barred             Kind = "barred"              // this machine lets no connection out
	Unanswered         Kind = "unanswered"          // there is a connection, but no answer
	Disabled           Kind = "disabled"            // turned off for this instance, or not allowed
	Unauthorized       Kind = "unauthorized"        // even a fresh token is refused
	Throttled          Kind = "throttled"           // asked too often, or it can't answer just now
	NoRole             Kind = "no role"             // the instance has no IAM role
	CredentialsNotYet  Kind = "credentials not yet" // it has one, but no credentials of it yet
	CredentialsExpired Kind = "credentials expired" // it gives those that it had, which are good no longer
	RoleRefused        Kind = "role refused"        // EC2 gets no credentials of the role
	BadAnswer          Kind = "bad answer"          // nothing that EC2 would say
)

// An Error says why the instance metadata service did not give something.
type Error struct {
	Kind     Kind
	What     string // what was asked for: "the user-data"
	Endpoint string // who was asked: "http://169.254.169.254"
	why      string
	hint     string
	err      error
}

// Error gives the diagnosis in words.
func (e *Error) Error() string {
	return fmt.Sprintf("cannot get %s from the instance metadata service at %s: %s", e.What, e.Endpoint, e.why)
}

// Hint says what a person can do, or nothing.
func (e *Error) Hint() string { return e.hint }

// Final reports that no trying again mends the error, which is never so. All
// of it mends while the instance runs: the network comes up, a role is
// attached, a person turns the service on. Nobody should have to log in then.
func (e *Error) Permanent() bool { return false }

// Unwrap gives what the network or the SDK said.
func (e *Error) Unwrap() error { return e.err }

// diagnose says what is wrong from the last exchange of a call that failed.
func (c *Client) diagnose(what string, x exchange, err error) *Error {
	if x.err != nil {
		err = x.err
	}
	e := &Error{What: what, Endpoint: c.endpoint, err: err}
	request := x.method + " " + x.path
	answer := fmt.Sprintf("%d %s", x.status, http.StatusText(x.status))
	switch {
	case x.method == "":
		e.Kind = Unreachable
		e.why = "it was not asked: " + err.Error()
	case x.status == 0 && !x.connected && barred(err):
		e.Kind = Barred
		e.why = "this machine bars the way to it: " + err.Error() +
			"; a route of type prohibit does that, which systemd makes for systemd.imds.network=locked, or a packet filter"
		e.hint = "see ip route get " + c.host() + ". Where systemd made the route, the agent needs CAP_NET_RAW, which its unit gives it " +
			"(systemctl show -p CapabilityBoundingSet bootagent.service); or put systemd.imds.network=unlocked on the kernel command line, and reboot"
	case x.status == 0 && !x.connected:
		e.Kind = Unreachable
		e.why = "no connection: " + err.Error() + "; the network may not be up yet"
		e.hint = "look at the network (ip route get " + c.host() + "); outside EC2, name a file as user-data in agent.yaml"
	case x.status == 0 && x.method == http.MethodPut:
		e.Kind = Unanswered
		e.why = "it takes connections, but never answers the request for a token (" + request + "): " + err.Error() +
			"; the hop limit of its answers is too low, or a firewall drops them"
		e.hint = "raise the limit, " + c.command("ec2 modify-instance-metadata-options", "--http-put-response-hop-limit", "2") +
			"; or look for " + c.host() + " in the firewall rules of this machine"
	case x.status == 0:
		e.Kind = Unanswered
		e.why = "it takes connections, but does not answer " + request + ": " + err.Error()
		e.hint = "look for " + c.host() + " in the firewall rules of this machine"
	case x.status == http.StatusForbidden:
		e.Kind = Disabled
		e.why = "it is turned off for this instance, or not allowed (" + request + ": " + answer + ")"
		e.hint = "turn it on, " + c.command("ec2 modify-instance-metadata-options", "--http-endpoint", "enabled")
	case x.status == http.StatusUnauthorized:
		e.Kind = Unauthorized
		e.why = "it refuses even a fresh token (" + request + ": " + answer + ")"
		e.hint = "is something between this machine and the service, such as a proxy that gives its own tokens?"
	case x.status == http.StatusTooManyRequests, x.status >= http.StatusInternalServerError:
		e.Kind = Throttled
		e.why = "it was asked too often, or is in trouble (" + request + ": " + answer + ")"
		e.hint = "look for other programs on this machine that ask it again and again"
	case errors.Is(x.err, errTooLong):
		return c.badAnswer(what, x, x.err)
	case x.err != nil:
		e.Kind = Unanswered
		e.why = "its answer to " + request + " breaks off: " + err.Error()
	case x.status != http.StatusOK:
		return c.badAnswer(what, x, errors.New(answer))
	default:
		bad := c.badAnswer(what, x, errors.New("it is not of the form that EC2's has"))
		bad.err = err
		return bad
	}
	return e
}

// badAnswer is the error of an answer that EC2's service does not give.
func (c *Client) badAnswer(what string, x exchange, problem error) *Error {
	return &Error{
		Kind: BadAnswer, What: what, Endpoint: c.endpoint, err: problem,
		why:  fmt.Sprintf("the answer to %s %s is not one of EC2's: %v", x.method, x.path, problem),
		hint: "is it EC2's service that answers there? Outside EC2, name a file as user-data in agent.yaml",
	}
}

// command is a command about this instance, for a person. Which instance it is
// the service may not have told.
func (c *Client) command(command string, args ...string) string {
	self := c.known()
	args = append([]string{"--instance-id", cmp.Or(self.ID, "INSTANCE")}, args...)
	return cli.Own + cli.Command(self.Region, command, args...)
}

// host is the host of the endpoint, as commands take it.
func (c *Client) host() string {
	if u, err := url.Parse(c.endpoint); err == nil {
		return u.Hostname()
	}
	return c.endpoint
}
