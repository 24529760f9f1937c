// Package iam is the fake cloud's IAM: IAM roles with their policies, and the credentials that they get.
package iam

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"bootagent/test/cloud/service"
	"bootagent/test/cloud/sigv4"
)

// IAM keeps the IAM roles, their policies, and the credentials that it has issued. An IAM role without a
// policy is allowed nothing.
type IAM struct {
	env *service.Env

	mu       sync.Mutex
	roles    map[string][]statement
	sessions map[string]*session // by access key
	lifetime time.Duration
}

// Credentials are the temporary credentials of an IAM role.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Issued, Expires                            time.Time
}

// A Caller is who made a call: an IAM role and the name of the session, such as an instance's ID.
type Caller struct{ Role, Session string }

type session struct {
	Caller
	Credentials
}

// New returns an IAM without IAM roles.
func New(env *service.Env) *IAM {
	return &IAM{env: env, roles: map[string][]statement{}, sessions: map[string]*session{}, lifetime: 6 * time.Hour}
}

// Allow allows an IAM role actions on all resources: "ec2:AttachVolume", "s3:Get*", "*". What it is
// allowed already stays allowed.
func (i *IAM) Allow(role string, actions ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.roles[role] = append(i.roles[role], statement{Effect: "Allow", Action: actions, Resource: list{"*"}})
}

// Forbid denies an IAM role actions, even if another statement allows them.
func (i *IAM) Forbid(role string, actions ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.roles[role] = append(i.roles[role], statement{Effect: "Deny", Action: actions, Resource: list{"*"}})
}

// SetPolicy replaces the policy of an IAM role by a policy document. SetPolicy knows actions, resources,
// the operators Null, StringEquals, StringLike, ArnEquals and ArnLike, also with ForAllValues and
// ForAnyValue, the condition keys in [conditionKeys], and the [variables]. It refuses any other document.
func (i *IAM) SetPolicy(role string, document []byte) error {
	statements, err := parsePolicy(document)
	if err != nil {
		return fmt.Errorf("cannot set the policy of IAM role %s: %w", role, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.roles[role] = statements
	return nil
}

// Credentials issues credentials of an IAM role. The name is that of the session; for an instance, it is
// the instance's ID.
func (i *IAM) Credentials(role, name string) Credentials {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	c := Credentials{
		AccessKeyID:     "ASIA" + strings.ToUpper(service.Random(8)),
		SecretAccessKey: service.Random(20),
		SessionToken:    "IQoJ" + service.Random(60),
		Issued:          now,
		Expires:         now.Add(i.lifetime).Truncate(time.Second),
	}
	i.sessions[c.AccessKeyID] = &session{Caller{role, name}, c}
	return c
}

// SetLifetime sets how long credentials are valid that are issued from now on. The default is 6 hours, as
// on EC2.
func (i *IAM) SetLifetime(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lifetime = d
}

// Expire makes all credentials expire that have been issued so far.
func (i *IAM) Expire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range i.sessions {
		s.Expires = time.Now().Add(-time.Second)
	}
}

// Fresh reports whether the metadata service still gives these credentials to an instance. EC2 renews
// credentials long before they expire.
func (i *IAM) Fresh(c Credentials) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sessions[c.AccessKeyID]
	return s != nil && time.Now().Before(s.Issued.Add(s.Expires.Sub(s.Issued)/6))
}

// Verify checks the signature of a request to a service and returns who signed it. The caller is empty if
// the access key is unknown.
func (i *IAM) Verify(r *http.Request, service string) (Caller, sigv4.Problem) {
	var who Caller
	_, problem := sigv4.Verify(r, i.env.Region, service, func(id string) (sigv4.Key, bool) {
		i.mu.Lock()
		defer i.mu.Unlock()
		s, ok := i.sessions[id]
		if !ok {
			return sigv4.Key{}, false
		}
		who = s.Caller
		return sigv4.Key{Secret: s.SecretAccessKey, SessionToken: s.SessionToken, Expires: s.Expires}, true
	})
	return who, problem
}

func (i *IAM) arn(who Caller) string {
	return fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", i.env.Account, who.Role, who.Session)
}

// A Request is one action on one resource. A call needs one or several of them.
type Request struct {
	Action, Resource string
	Context          map[string][]string // the values of condition keys
}

// Denied returns AWS's words for the first request that the caller's IAM role is not allowed, or "".
func (i *IAM) Denied(who Caller, requests []Request) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range requests {
		allowed, forbidden := false, false
		for _, s := range i.roles[who.Role] {
			if s.covers(r) {
				allowed = allowed || s.Effect == "Allow"
				forbidden = forbidden || s.Effect == "Deny"
			}
		}
		resource := r.Resource
		if strings.HasPrefix(r.Action, "s3:") {
			resource = `"` + resource + `"`
		}
		says := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s", i.arn(who), r.Action, resource)
		switch {
		case forbidden:
			return says + " with an explicit deny in an identity-based policy"
		case !allowed && r.Resource == "*":
			return fmt.Sprintf("User: %s is not authorized to perform: %s because no identity-based policy allows the %[2]s action", i.arn(who), r.Action)
		case !allowed:
			return fmt.Sprintf("%s because no identity-based policy allows the %s action", says, r.Action)
		}
	}
	return ""
}
