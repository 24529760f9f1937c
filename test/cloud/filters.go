package cloud

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A filter lets through what has one of the values.
type filter struct {
	name   string
	values []string
}

// filters reads Filter.1.Name, Filter.1.Value.1 and so on, of which known are the names in fields
// and the tags.
func filters[T any](q query, fields map[string]func(T) []string) ([]filter, error) {
	var out []filter
	total := 0
	for _, prefix := range q.structs("Filter", "Name") {
		f := filter{q.Get(prefix + ".Name"), q.list(prefix + ".Value")}
		if _, known := fields[f.name]; !known && f.name != "tag-key" && !strings.HasPrefix(f.name, "tag:") {
			return nil, refuse("InvalidParameterValue", "The filter '%s' is invalid", f.name)
		}
		if len(f.values) == 0 {
			return nil, refuse("InvalidParameterValue", "The filter 'null' is invalid")
		}
		total += len(f.values)
		out = append(out, f)
	}
	// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
	if total > 200 {
		return nil, refuse("FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200")
	}
	return out, nil
}

// passes tells whether something fits every filter.
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
			return slices.ContainsFunc(f.values, func(pattern string) bool { return likeFilter(pattern, value) })
		}) {
			return false
		}
	}
	return true
}

// idSets is what EC2 calls the parameter that lists ids, in its own words.
// https://github.com/aws/aws-cli/issues/1976
var idSets = map[string]string{"InstanceId": "instancesSet", "SnapshotId": "snapshotSet", "VolumeId": "volumeSet"}

// page gives those items that this request is for and that fit, and the token of those that follow.
// EC2 promises no order, so this one is arbitrary too; ids names the parameter that lists ids. Where
// pages are short it counts what it looked at, not what fits.
func page[T any](q query, short bool, items []T, fits func(T) bool, id func(T) string, ids string) (some []T, next string, err error) {
	if !short {
		items = slices.DeleteFunc(items, func(item T) bool { return !fits(item) })
	}
	most := len(items)
	if text := q.Get("MaxResults"); text != "" {
		most, err = strconv.Atoi(text)
		switch {
		case len(q.list(ids)) > 0:
			return nil, "", refuse("InvalidParameterCombination", "The parameter %s cannot be used with the parameter maxResults", idSets[ids])
		case err != nil || most < 5:
			return nil, "", refuse("InvalidParameterValue", "Value ( %s ) for parameter maxResults is invalid. Expecting a value greater than 5.", text)
		}
		most = min(most, 1000)
	}
	after := ""
	if token := q.Get("NextToken"); token != "" {
		text, err := base64.StdEncoding.DecodeString(token)
		if err != nil || len(text) != len(digest(nil)) {
			return nil, "", refuse("InvalidPaginationToken", "The specified pagination token is not valid or is expired.")
		}
		after = string(text)
	}
	order := make(map[string]T, len(items))
	for _, item := range items {
		if at := digest([]byte(id(item))); at > after {
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

func yesNo(b bool) []string { return []string{strconv.FormatBool(b)} }
