package api

import (
	"fmt"
	"net/url"
	"strings"

	"bootagent/test/cloud/ec2"
)

// A form is the parameters of a call: VolumeId.1, Filter.2.Value.1.
type form struct{ url.Values }

// list returns the values of name.1, name.2 and so on.
func (f form) list(name string) []string {
	var out []string
	for n := 1; f.Has(fmt.Sprintf("%s.%d", name, n)); n++ {
		out = append(out, f.Get(fmt.Sprintf("%s.%d", name, n)))
	}
	return out
}

// structs returns prefix.1, prefix.2 and so on, up to the first that does not have the field.
func (f form) structs(prefix, field string) []string {
	var out []string
	for n := 1; f.Has(fmt.Sprintf("%s.%d.%s", prefix, n, field)); n++ {
		out = append(out, fmt.Sprintf("%s.%d", prefix, n))
	}
	return out
}

// tags reads prefix.1.Key, prefix.1.Value and so on.
func (f form) tags(prefix string) map[string]string {
	tags := map[string]string{}
	for _, tag := range f.structs(prefix, "Key") {
		tags[f.Get(tag+".Key")] = f.Get(tag + ".Value")
	}
	return tags
}

// need returns an error if one of the parameters is missing.
func (f form) need(names ...string) error {
	for _, name := range names {
		if f.Get(name) == "" {
			return ec2.Errorf("MissingParameter", "The request must contain the parameter %s", strings.ToLower(name[:1])+name[1:])
		}
	}
	return nil
}

// scan reports whether a Describe call has no filter, page or ID.
func (f form) scan() bool {
	for key := range f.Values {
		name, _, _ := strings.Cut(key, ".")
		if name == "Filter" || name == "MaxResults" || name == "NextToken" || strings.HasSuffix(name, "Id") {
			return false
		}
	}
	return true
}

// params returns the parameters without those that every call has.
func (f form) params() map[string]string {
	params := map[string]string{}
	for key := range f.Values {
		if key != "Action" && key != "Version" {
			params[key] = f.Get(key)
		}
	}
	return params
}
