package cloud

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// IAM knows the roles, what they may do, and the credentials that were handed out. A role that
// nobody gave anything may do nothing.
type IAM struct {
	cloud *Cloud

	mu       sync.Mutex
	roles    map[string][]statement
	sessions map[string]*session // by access key
	lifetime time.Duration
}

// Credentials are those of a role, for a time.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Issued, Expires                            time.Time
}

// A caller is who made a call: a role, in the name of an instance, say.
type caller struct{ role, session string }

type session struct {
	caller
	Credentials
}

func newIAM(c *Cloud) *IAM {
	return &IAM{cloud: c, roles: map[string][]statement{}, sessions: map[string]*session{}, lifetime: 6 * time.Hour}
}

// Allow lets a role do something to all there is: "ec2:AttachVolume", "s3:Get*", "*". It adds to
// what the role may do already.
func (i *IAM) Allow(role string, actions ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.roles[role] = append(i.roles[role], statement{Effect: "Allow", Action: actions, Resource: list{"*"}})
}

// Forbid forbids a role what it is allowed elsewhere.
func (i *IAM) Forbid(role string, actions ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.roles[role] = append(i.roles[role], statement{Effect: "Deny", Action: actions, Resource: list{"*"}})
}

// SetPolicy replaces what a role may do by an IAM policy document. It understands actions,
// resources, and the conditions Null, StringEquals, StringLike, ArnEquals and ArnLike, of one value or
// of all or any of several, on the keys in [conditionKeys], with the [variables]; a document that has
// more is refused.
func (i *IAM) SetPolicy(role string, document []byte) error {
	statements, err := parsePolicy(document)
	if err != nil {
		return fmt.Errorf("cannot set the policy of role %s: %w", role, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.roles[role] = statements
	return nil
}

// Credentials hands out credentials of a role to a caller that is no instance.
func (i *IAM) Credentials(role, name string) Credentials {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	c := Credentials{
		AccessKeyID:     "ASIA" + strings.ToUpper(random(8)),
		SecretAccessKey: random(20),
		SessionToken:    "IQoJ" + random(60),
		Issued:          now,
		Expires:         now.Add(i.lifetime).Truncate(time.Second),
	}
	i.sessions[c.AccessKeyID] = &session{caller{role, name}, c}
	return c
}

// SetLifetime is for credentials that are handed out from now on; 6 hours by default, as on EC2.
func (i *IAM) SetLifetime(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lifetime = d
}

// Expire has all credentials that were handed out so far be expired.
func (i *IAM) Expire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range i.sessions {
		s.Expires = time.Now().Add(-time.Second)
	}
}

// fresh tells whether credentials are still handed out. EC2 has new ones long before the old ones
// expire.
func (i *IAM) fresh(c Credentials) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.sessions[c.AccessKeyID]
	return s != nil && time.Now().Before(s.Issued.Add(s.Expires.Sub(s.Issued)/6))
}

// session gives what is known of an access key.
func (i *IAM) session(key string) (session, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s, ok := i.sessions[key]
	if !ok {
		return session{}, false
	}
	return *s, true
}

func (i *IAM) arn(who caller) string {
	return fmt.Sprintf("arn:aws:sts::%s:assumed-role/%s/%s", i.cloud.config.Account, who.role, who.session)
}

// An ask is one action on one resource, which a call needs.
type ask struct {
	action, resource string
	context          map[string][]string // by condition key
}

// denied gives the words for the first ask that the caller's role does not grant, or nothing.
func (i *IAM) denied(who caller, asks []ask) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, a := range asks {
		allowed, forbidden := false, false
		for _, s := range i.roles[who.role] {
			if s.covers(a) {
				allowed = allowed || s.Effect == "Allow"
				forbidden = forbidden || s.Effect == "Deny"
			}
		}
		resource := a.resource
		if strings.HasPrefix(a.action, "s3:") {
			resource = `"` + resource + `"`
		}
		says := fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %s", i.arn(who), a.action, resource)
		switch {
		case forbidden:
			return says + " with an explicit deny in an identity-based policy"
		case !allowed && a.resource == "*":
			return fmt.Sprintf("User: %s is not authorized to perform: %s because no identity-based policy allows the %[2]s action", i.arn(who), a.action)
		case !allowed:
			return fmt.Sprintf("%s because no identity-based policy allows the %s action", says, a.action)
		}
	}
	return ""
}

// A statement is one of a policy document.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
type statement struct {
	Sid       string
	Effect    string
	Action    list
	Resource  list
	Condition map[string]map[string]list
}

// A list is written as a string where it has one entry.
type list []string

func (l *list) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*l = list{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

// conditionKeys are those that calls bring; one that ends in a slash has a tag's key behind it.
var conditionKeys = []string{
	"aws:RequestTag/", "aws:RequestedRegion", "aws:ResourceTag/", "aws:TagKeys",
	"ec2:CreateAction", "ec2:InstanceID", "ec2:ResourceTag/", "ec2:SourceInstanceARN", "ec2:VolumeID",
}

// variables are what a value of a condition or a resource may hold in ${}: characters that have no
// meaning then, and keys.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
var variables = regexp.MustCompile(`\$\{([*?$]|ec2:InstanceID|ec2:VolumeID)\}`)

func parsePolicy(document []byte) ([]statement, error) {
	var policy struct {
		Version   string
		ID        string `json:"Id"`
		Statement []statement
	}
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&policy); err != nil {
		return nil, err
	}
	if policy.Version != "2012-10-17" {
		return nil, fmt.Errorf("its version is %q, not 2012-10-17", policy.Version)
	}
	for _, s := range policy.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" || len(s.Action) == 0 || len(s.Resource) == 0 {
			return nil, fmt.Errorf("the statement %q lacks an effect, an action or a resource", s.Sid)
		}
		for operator, keys := range s.Condition {
			if _, _, ok := parseOperator(operator); !ok {
				return nil, fmt.Errorf("the condition %s is not known here", operator)
			}
			for key, values := range keys {
				if !slices.ContainsFunc(conditionKeys, func(known string) bool {
					prefix := key[:min(len(key), len(known))]
					return strings.EqualFold(key, known) || strings.HasSuffix(known, "/") && strings.EqualFold(prefix, known)
				}) {
					return nil, fmt.Errorf("the condition key %s is not known here", key)
				}
				for _, value := range values {
					if strings.Contains(variables.ReplaceAllString(value, ""), "${") {
						return nil, fmt.Errorf("the variable in %q is not known here", value)
					}
				}
			}
		}
		for _, resource := range s.Resource {
			if strings.Contains(variables.ReplaceAllString(resource, ""), "${") {
				return nil, fmt.Errorf("the variable in %q is not known here", resource)
			}
		}
	}
	return policy.Statement, nil
}

// parseOperator takes ForAllValues:StringLike apart. Null has no match: it asks whether there are
// values at all.
func parseOperator(operator string) (set string, match func(pattern []glyph, s string) bool, ok bool) {
	if before, after, found := strings.Cut(operator, ":"); found {
		set, operator = before, after
		if set != "ForAllValues" && set != "ForAnyValue" {
			return "", nil, false
		}
	}
	switch operator {
	case "StringEquals":
		return set, func(pattern []glyph, s string) bool { return fits(literal(pattern), []rune(s)) }, true
	case "StringLike", "ArnLike", "ArnEquals":
		return set, func(pattern []glyph, s string) bool { return fits(pattern, []rune(s)) }, true
	case "Null":
		return set, nil, set == ""
	default:
		return "", nil, false
	}
}

// pattern reads a text with variables of an ask. One whose key the ask does not have fits nothing,
// and is not ok.
func (a ask) pattern(text string) (pattern []glyph, ok bool) {
	for text != "" {
		at := variables.FindStringSubmatchIndex(text)
		if at == nil {
			return append(pattern, parse(text, false)...), true
		}
		pattern = append(pattern, parse(text[:at[0]], false)...)
		name := text[at[2]:at[3]]
		value := []string{name}
		if len(name) > 1 {
			value = a.values(name)
		}
		if len(value) != 1 {
			return nil, false
		}
		pattern = append(pattern, literal(parse(value[0], false))...)
		text = text[at[1]:]
	}
	return pattern, true
}

// values are those of a condition key. IAM takes keys in upper and lower case alike, and with them
// the keys of tags that they hold: aws:ResourceTag/cluster is also that of a tag Cluster.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html
func (a ask) values(key string) (values []string) {
	for _, known := range slices.Sorted(maps.Keys(a.context)) {
		if strings.EqualFold(known, key) {
			values = append(values, a.context[known]...)
		}
	}
	return values
}

func (s statement) covers(a ask) bool {
	if !slices.ContainsFunc(s.Action, func(p string) bool { return like(strings.ToLower(p), strings.ToLower(a.action)) }) ||
		!slices.ContainsFunc(s.Resource, func(p string) bool {
			pattern, ok := a.pattern(p)
			return ok && fits(pattern, []rune(a.resource))
		}) {
		return false
	}
	for operator, keys := range s.Condition {
		set, match, _ := parseOperator(operator)
		for key, patterns := range keys {
			fits := func(value string) bool {
				return slices.ContainsFunc(patterns, func(p string) bool {
					pattern, ok := a.pattern(p)
					return ok && match(pattern, value)
				})
			}
			values := a.values(key)
			switch {
			case match == nil:
				if slices.Contains(patterns, "true") != (len(values) == 0) {
					return false
				}
			case set == "ForAllValues":
				if slices.ContainsFunc(values, func(value string) bool { return !fits(value) }) {
					return false
				}
			case !slices.ContainsFunc(values, fits):
				return false
			}
		}
	}
	return true
}
