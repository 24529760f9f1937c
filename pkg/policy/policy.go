// Package policy writes down, in IAM's words, the least that an instance's IAM
// role has to allow for what a role of bootagent needs. It asks nobody.
//
// What it can't know is not in it: where a volume or an object is encrypted
// with a customer's own KMS key, that key has to be allowed as well. What a
// policy can't say as narrowly as it is needed, Wider says.
package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Needs are what a role needs of AWS. In each of the texts, but for Partition
// and Tagged, an expansion ${...} as of a role file stands for what only the
// instance will know.
type Needs struct {
	Partition string // of the ARNs, one of Partitions; "" is "aws"

	Volumes []Volume // that are found, claimed and attached
	Tagged  []string // keys of the tags that are written on them

	Objects []string // of S3 that are read, as "bucket/key"
}

// Partitions are those that AWS has:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
// A test holds them against what the SDK knows.
func Partitions() []string {
	return []string{"aws", "aws-cn", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-us-gov"}
}

// A Volume is a volume by its id, or by its tags, or by the device name under which
// EC2 attaches it, or nothing of these where only the user-data says which it is.
type Volume struct {
	Name   string // in the role
	ID     string
	Tags   map[string]string
	Device string // whoever has it attached as this, it is not the instance
}

// attached tells whether the instance attaches it.
func (v Volume) attached() bool { return v.Device == "" }

// any tells whether nothing is known of which volume it is.
func (v Volume) any() bool { return len(v.Tags) == 0 && strings.Trim(pattern(v.ID), "*") == "" }

// A Policy is a policy document of IAM. One without statements is no document:
// nothing is needed.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
type Policy struct {
	Version   string
	Statement []Statement
}

// A Statement allows actions on resources.
type Statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition Condition `json:",omitempty"`
}

// A Condition says by operator and key which values are allowed.
type Condition map[string]map[string][]string

// Of returns the least policy that allows what is needed. Its statements and
// all in them have an order of their own.
func Of(needs Needs) Policy {
	if needs.Partition == "" {
		needs.Partition = "aws"
	}
	p := Policy{Version: "2012-10-17"} // the one that has variables, which escape what is special
	if len(needs.Volumes) > 0 {
		p.volumes(needs)
	}
	var objects []string
	for _, object := range needs.Objects {
		objects = append(objects, "arn:"+needs.Partition+":s3:::"+pattern(object))
	}
	if len(objects) > 0 {
		p.allow("ReadSecrets", []string{"s3:GetObject"}, sorted(objects), nil)
	}
	return p
}

// volumes allows to look at all volumes and instances, which IAM can't narrow,
// and to attach and tag those that are meant.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
func (p *Policy) volumes(needs Needs) {
	arn := func(resource string) []string { return []string{"arn:" + needs.Partition + ":ec2:*:*:" + resource} }
	p.allow("Look", []string{"ec2:DescribeInstances", "ec2:DescribeVolumes", "ec2:DescribeVolumesModifications"}, []string{"*"}, nil)

	// An attach is asked for both of its ends, and a condition on tags holds
	// for each: so the instance has a statement of its own. It may attach to
	// itself alone: the one that asks is compared with the one that is named.
	// The same holds for a detach, by which it takes an attach back that hangs.
	attach, tag := []string{"ec2:AttachVolume", "ec2:DetachVolume"}, []string{"ec2:CreateTags"}
	itself := Condition{}
	itself.add("ArnLike", "ec2:SourceInstanceARN", arn("instance/${ec2:InstanceID}")...)
	if slices.ContainsFunc(needs.Volumes, Volume.attached) {
		p.allow("AttachToItself", attach, arn("instance/*"), itself)
	}
	var done []string
	for _, v := range needs.Volumes {
		resource, which, volume := "volume/*", v.condition(), "Volume"
		if v.ID != "" {
			resource = "volume/" + pattern(v.ID)
		}
		if v.any() {
			volume = "AnyVolume"
		}
		own := v.condition()
		// ForAllValues is also true of no values at all.
		own.add("ForAllValues:StringEquals", "aws:TagKeys", sorted(slices.Clone(needs.Tagged))...)
		own.add("Null", "aws:TagKeys", "false")
		if same, _ := json.Marshal([]any{resource, which, v.attached()}); !slices.Contains(done, string(same)) {
			done = append(done, string(same))
			n := number(len(done))
			if v.attached() {
				p.allow("Attach"+volume+n, attach, arn(resource), which)
			}
			p.allow("Tag"+volume+n, tag, arn(resource), own)
		}
	}
}

// Wider says, a sentence each, in what the policy allows more than one instance
// needs. Policies have no comments.
func Wider(needs Needs) []string {
	var all []string
	tags := false
	for _, v := range needs.Volumes {
		tags = tags || len(v.Tags) > 0
		switch unknown := v.unknown(); {
		case !v.attached():
			all = append(all, fmt.Sprintf("every volume of the account may be tagged as volume %s, since IAM does not know which one is attached as %s", v.Name, v.Device))
		case v.any():
			all = append(all, fmt.Sprintf("every volume of the account may be attached, detached and tagged as volume %s, since only the user-data says which it is", v.Name))
		case v.ID != "" && strings.Contains(pattern(v.ID), "*"):
			all = append(all, fmt.Sprintf("volume %s may be every volume whose id is like %s", v.Name, pattern(v.ID)))
		case len(unknown) > 0:
			all = append(all, fmt.Sprintf("volume %s may be that of any other instance of the role: of the tags %s no value is known",
				v.Name, strings.Join(unknown, ", ")))
		}
	}
	if slices.ContainsFunc(needs.Volumes, Volume.attached) {
		all = append(all, "ec2:DetachVolume allows a detach by force as well, which the agent never asks for")
	}
	if tags {
		all = append(all, "IAM takes the keys of tags in conditions in upper and lower case alike, which the agent does not")
	}
	for _, object := range sorted(slices.Clone(needs.Objects)) {
		if like := pattern(object); strings.Contains(like, "*") {
			all = append(all, fmt.Sprintf("s3://%s may be read whatever stands for the *, slashes as well", like))
		}
	}
	return all
}

// unknown are the keys of tags whose value is not known in full.
func (v Volume) unknown() (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(v.Tags)) {
		if expansion.MatchString(v.Tags[key]) {
			keys = append(keys, key)
		}
	}
	return keys
}

// number tells the volumes after the first one apart.
func number(n int) string {
	if n == 1 {
		return ""
	}
	return strconv.Itoa(n)
}

// condition is what the tags of the volume have to be.
func (v Volume) condition() Condition {
	c := Condition{}
	for _, key := range slices.Sorted(maps.Keys(v.Tags)) {
		value, operator := v.Tags[key], "StringEquals"
		if strings.Contains(value, "$") {
			value, operator = pattern(value), "StringLike"
		}
		c.add(operator, "aws:ResourceTag/"+key, value)
	}
	return c
}

func (c Condition) add(operator, key string, values ...string) {
	if c[operator] == nil {
		c[operator] = map[string][]string{}
	}
	c[operator][key] = values
}

func (p *Policy) allow(sid string, actions, resources []string, condition Condition) {
	p.Statement = append(p.Statement, Statement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources, Condition: condition})
}

// String is the policy as JSON, as IAM takes it.
func (p Policy) String() string {
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		panic(err) // there is nothing in it that JSON has not
	}
	return string(text) + "\n"
}

// expansion is what stands in a role file for what only the instance knows.
var expansion = regexp.MustCompile(`\$\{[a-z]+\.[a-z0-9-]+\}`)

// pattern makes of a text a pattern of IAM, that is itself but for what the
// instance alone knows.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
func pattern(text string) string {
	special := strings.NewReplacer("$", "${$}", "*", "${*}", "?", "${?}")
	parts := expansion.Split(text, -1)
	for i := range parts {
		parts[i] = special.Replace(parts[i])
	}
	return strings.Join(parts, "*")
}

func sorted(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}
