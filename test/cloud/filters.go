package cloud

import (
	"encoding/base64"
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

// page gives the items that this request is for, and the token of those that follow. EC2 promises
// no order, so this one is arbitrary too; ids names the parameter that lists ids.
func page[T any](q query, items []T, id func(T) string, ids string) (some []T, next string, err error) {
	order := func(item T) string { return digest([]byte(id(item))) }
	slices.SortFunc(items, func(a, b T) int { return strings.Compare(order(a), order(b)) })
	if token := q.Get("NextToken"); token != "" {
		after, err := base64.StdEncoding.DecodeString(token)
		if err != nil || len(after) != len(digest(nil)) {
			return nil, "", refuse("InvalidPaginationToken", "The specified pagination token is not valid or is expired.")
		}
		items = slices.DeleteFunc(items, func(item T) bool { return order(item) <= string(after) })
	}
	if q.Get("MaxResults") == "" {
		return items, "", nil
	}
	most, err := strconv.Atoi(q.Get("MaxResults"))
	switch {
	case len(q.list(ids)) > 0:
		return nil, "", refuse("InvalidParameterCombination", "The parameter %ss cannot be used with the parameter maxResults", strings.ToLower(ids[:1])+ids[1:])
	case err != nil || most < 5:
		return nil, "", refuse("InvalidParameterValue", "Value ( %s ) for parameter maxResults is invalid. Expecting a value greater than 5.", q.Get("MaxResults"))
	case most > 1000:
		most = 1000
	}
	if len(items) <= most {
		return items, "", nil
	}
	return items[:most], base64.StdEncoding.EncodeToString([]byte(order(items[most-1]))), nil
}

func yesNo(b bool) []string { return []string{strconv.FormatBool(b)} }
