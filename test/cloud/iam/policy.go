package iam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"bootagent/test/cloud/wildcard"
)

// A statement is one statement of a policy document.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
type statement struct {
	Sid       string
	Effect    string
	Action    list
	Resource  list
	Condition map[string]map[string]list
}

// A list may be written as a string if it has one entry.
type list []string

func (l *list) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*l = list{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

// conditionKeys are the condition keys that requests have. A tag's key follows those that end in a slash.
var conditionKeys = []string{
	"aws:RequestTag/", "aws:RequestedRegion", "aws:ResourceTag/", "aws:TagKeys",
	"ec2:CreateAction", "ec2:InstanceID", "ec2:ResourceTag/", "ec2:SourceInstanceARN", "ec2:VolumeID",
}

// variables are the policy variables that a resource or a value of a condition may have: ${*}, ${?} and
// ${$} stand for the character itself, the others for the value of a condition key.
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
		if err := s.check(); err != nil {
			return nil, err
		}
	}
	return policy.Statement, nil
}

// check refuses a statement that has something which covers does not know.
func (s statement) check() error {
	if s.Effect != "Allow" && s.Effect != "Deny" || len(s.Action) == 0 || len(s.Resource) == 0 {
		return fmt.Errorf("the statement %q lacks an effect, an action or a resource", s.Sid)
	}
	for operator, keys := range s.Condition {
		if _, _, ok := parseOperator(operator); !ok {
			return fmt.Errorf("the condition %s is not known here", operator)
		}
		for key, values := range keys {
			if !knownKey(key) {
				return fmt.Errorf("the condition key %s is not known here", key)
			}
			if err := checkVariables(values); err != nil {
				return err
			}
		}
	}
	return checkVariables(s.Resource)
}

func knownKey(key string) bool {
	return slices.ContainsFunc(conditionKeys, func(known string) bool {
		prefix := key[:min(len(key), len(known))]
		return strings.EqualFold(key, known) || strings.HasSuffix(known, "/") && strings.EqualFold(prefix, known)
	})
}

// checkVariables refuses values with variables other than those in [variables].
func checkVariables(values list) error {
	for _, value := range values {
		if strings.Contains(variables.ReplaceAllString(value, ""), "${") {
			return fmt.Errorf("the variable in %q is not known here", value)
		}
	}
	return nil
}

// parseOperator splits an operator such as ForAllValues:StringLike. Null has no match: it is about whether
// there are values at all.
func parseOperator(operator string) (set string, match func(p wildcard.Pattern, s string) bool, ok bool) {
	if before, after, found := strings.Cut(operator, ":"); found {
		set, operator = before, after
		if set != "ForAllValues" && set != "ForAnyValue" {
			return "", nil, false
		}
	}
	switch operator {
	case "StringEquals":
		return set, func(p wildcard.Pattern, s string) bool { return p.Literal().Match(s) }, true
	case "StringLike", "ArnLike", "ArnEquals":
		return set, wildcard.Pattern.Match, true
	case "Null":
		return set, nil, set == ""
	default:
		return "", nil, false
	}
}

// pattern parses a pattern and replaces its variables by the values of the request. It is not ok, and
// matches nothing, if the request does not have exactly one value for a variable.
func (r Request) pattern(text string) (pattern wildcard.Pattern, ok bool) {
	for text != "" {
		at := variables.FindStringSubmatchIndex(text)
		if at == nil {
			return append(pattern, wildcard.Parse(text)...), true
		}
		pattern = append(pattern, wildcard.Parse(text[:at[0]])...)
		name := text[at[2]:at[3]]
		value := []string{name}
		if len(name) > 1 {
			value = r.values(name)
		}
		if len(value) != 1 {
			return nil, false
		}
		pattern = append(pattern, wildcard.Parse(value[0]).Literal()...)
		text = text[at[1]:]
	}
	return pattern, true
}

// values returns the values of a condition key. IAM ignores the case of condition keys, also in the key of
// a tag: aws:ResourceTag/cluster also has the value of a tag Cluster.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html
func (r Request) values(key string) (values []string) {
	for _, known := range slices.Sorted(maps.Keys(r.Context)) {
		if strings.EqualFold(known, key) {
			values = append(values, r.Context[known]...)
		}
	}
	return values
}

// covers reports whether a statement applies to a request.
func (s statement) covers(r Request) bool {
	action := func(p string) bool { return wildcard.Match(strings.ToLower(p), strings.ToLower(r.Action)) }
	resource := func(p string) bool {
		pattern, ok := r.pattern(p)
		return ok && pattern.Match(r.Resource)
	}
	if !slices.ContainsFunc(s.Action, action) || !slices.ContainsFunc(s.Resource, resource) {
		return false
	}
	for operator, keys := range s.Condition {
		for key, patterns := range keys {
			if !r.meets(operator, key, patterns) {
				return false
			}
		}
	}
	return true
}

// meets reports whether a request meets one condition of a statement.
func (r Request) meets(operator, key string, patterns list) bool {
	set, match, _ := parseOperator(operator)
	fits := func(value string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			pattern, ok := r.pattern(p)
			return ok && match(pattern, value)
		})
	}
	values := r.values(key)
	switch {
	case match == nil:
		return slices.Contains(patterns, "true") == (len(values) == 0)
	case set == "ForAllValues":
		return !slices.ContainsFunc(values, func(value string) bool { return !fits(value) })
	default:
		return slices.ContainsFunc(values, fits)
	}
}
