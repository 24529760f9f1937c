package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/wildcard"
)

// A filter passes what has one of its values.
type filter struct {
	name   string
	values []string
}

// filters reads Filter.1.Name, Filter.1.Value.1 and so on. The known names are those in fields and those of tags.
func filters[T any](f form, fields map[string]func(T) []string) ([]filter, error) {
	var out []filter
	total := 0
	for _, prefix := range f.structs("Filter", "Name") {
		one := filter{f.Get(prefix + ".Name"), f.list(prefix + ".Value")}
		if _, known := fields[one.name]; !known && one.name != "tag-key" && !strings.HasPrefix(one.name, "tag:") {
			return nil, ec2.Errorf("InvalidParameterValue", "The filter '%s' is invalid", one.name)
		}
		if len(one.values) == 0 {
			return nil, ec2.Errorf("InvalidParameterValue", "The filter 'null' is invalid")
		}
		total += len(one.values)
		out = append(out, one)
	}
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
	if total > 200 {
		return nil, ec2.Errorf("FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200")
	}
	return out, nil
}

// passes reports whether an item passes every filter.
func passes[T any](item T, tags map[string]string, fields map[string]func(T) []string, all []filter) bool {
	for _, f := range all {
		var has []string
		if key, ok := strings.CutPrefix(f.name, "tag:"); ok {
			if value, ok := tags[key]; ok {
				has = []string{value}
			}
		} else if f.name == "tag-key" {
			for key := range tags {
				has = append(has, key)
			}
		} else {
			has = fields[f.name](item)
		}
		if !slices.ContainsFunc(has, func(value string) bool {
			return slices.ContainsFunc(f.values, func(pattern string) bool { return wildcard.ParseFilter(pattern).Match(value) })
		}) {
			return false
		}
	}
	return true
}

// idSets is how EC2's errors call the parameter that lists IDs.
// https://github.com/aws/aws-cli/issues/1976
var idSets = map[string]string{"InstanceId": "instancesSet", "SnapshotId": "snapshotSet", "VolumeId": "volumeSet"}

// page returns the items of the requested page that fit, and the token of the next page. EC2 promises no order, so
// the order is arbitrary here, too; ids is the name of the parameter that lists IDs. If pages are short, items that
// do not fit count for the page.
func page[T any](f form, short bool, items []T, fits func(T) bool, id func(T) string, ids string) (some []T, next string, err error) {
	if !short {
		items = slices.DeleteFunc(items, func(item T) bool { return !fits(item) })
	}
	most := len(items)
	if text := f.Get("MaxResults"); text != "" {
		most, err = strconv.Atoi(text)
		switch {
		case len(f.list(ids)) > 0:
			return nil, "", ec2.Errorf("InvalidParameterCombination", "The parameter %s cannot be used with the parameter maxResults", idSets[ids])
		case err != nil || most < 5:
			return nil, "", ec2.Errorf("InvalidParameterValue", "Value ( %s ) for parameter maxResults is invalid. Expecting a value greater than 5.", text)
		}
		most = min(most, 1000)
	}
	after := ""
	if token := f.Get("NextToken"); token != "" {
		text, err := base64.StdEncoding.DecodeString(token)
		if err != nil || len(text) != len(position("")) {
			return nil, "", ec2.Errorf("InvalidPaginationToken", "The specified pagination token is not valid or is expired.")
		}
		after = string(text)
	}
	order := make(map[string]T, len(items))
	for _, item := range items {
		if at := position(id(item)); at > after {
			order[at] = item
		}
	}
	for n, at := range slices.Sorted(maps.Keys(order)) {
		if n == most {
			break
		}
		if item := order[at]; fits(item) {
			some = append(some, item)
		}
		if next = ""; n < len(order)-1 {
			next = base64.StdEncoding.EncodeToString([]byte(at))
		}
	}
	return some, next, nil
}

// position is where an item with this ID stands in the order of the pages.
func position(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

func yesNo(b bool) []string { return []string{strconv.FormatBool(b)} }
