// Package release knows the versions of MySQL and MariaDB: which is newer, and
// which server opens the data of which. It reads text only.
package release

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Release is the three numbers of a version.
type Release [3]int

// ErrUnknown is a text that is no version.
var ErrUnknown = errors.New("not a version")

var number = regexp.MustCompile(`^[0-9]+(\.[0-9]+)+`)

// Parse reads "10.11.14-MariaDB" or "9.7". A number that is not there is 0.
func Parse(version string) (r Release, err error) {
	parts := strings.Split(number.FindString(version), ".")
	if len(parts) < 2 {
		return r, ErrUnknown
	}
	for i := range min(len(parts), 3) {
		if r[i], err = strconv.Atoi(parts[i]); err != nil {
			return r, ErrUnknown
		}
	}
	return r, nil
}

func (r Release) String() string { return fmt.Sprintf("%d.%d.%d", r[0], r[1], r[2]) }

// Series is the part of a version in which upgrades are counted: "10.11".
func (r Release) Series() string { return fmt.Sprintf("%d.%d", r[0], r[1]) }

// Compare is negative where r is older than another, and positive where it is
// newer.
func (r Release) Compare(other Release) int { return slices.Compare(r[:], other[:]) }

// CompareSeries is as Compare, without the last number.
func (r Release) CompareSeries(other Release) int { return slices.Compare(r[:2], other[:2]) }

// SeriesOf is the series of a version, or "" where that is not known.
func SeriesOf(version string) string {
	r, err := Parse(version)
	if err != nil {
		return ""
	}
	return r.Series()
}

// Newer tells whether one version is of a newer series than another. It is false
// if either is not known.
func Newer(one, other string) bool {
	a, errA := Parse(one)
	b, errB := Parse(other)
	return errA == nil && errB == nil && a.CompareSeries(b) > 0
}

// last are the series of MySQL from which an upgrade leads to the next major
// version: the last of their own
// (https://dev.mysql.com/doc/refman/9.7/en/upgrade-paths.html). Servers of them
// also go back, to an older patch release.
var last = []Release{{5, 7}, {8, 4}, {9, 7}}

func isLast(r Release) bool {
	return slices.ContainsFunc(last, func(l Release) bool { return l.CompareSeries(r) == 0 })
}

// MySQLOpens tells whether a server of MySQL opens the data of another: of its own
// series, of an older one of its major version, and of the last series of the
// major version before. 5.7 becomes 8.0 and nothing else.
func MySQLOpens(used, installed Release) bool {
	switch {
	case used.CompareSeries(installed) == 0:
		return installed.Compare(used) >= 0 || isLast(installed)
	case used.CompareSeries(installed) > 0:
		return false
	case used[0] == installed[0]:
		return true
	case used[0] == 5:
		return isLast(used) && installed.CompareSeries(Release{8, 0}) == 0
	}
	return isLast(used) && installed[0] == used[0]+1
}

// MySQLSteps are the series with which data has to be opened, one after the other,
// before a newer server opens it.
func MySQLSteps(used, installed Release) (steps []string) {
	for at := used; !MySQLOpens(at, installed) && at.CompareSeries(installed) < 0; {
		to := Release{8, 0}
		if at.CompareSeries(Release{5, 7}) != 0 {
			i := slices.IndexFunc(last, func(l Release) bool { return l.CompareSeries(at) > 0 })
			if i < 0 {
				break
			}
			to = last[i]
		}
		steps, at = append(steps, to.Series()), to
	}
	return steps
}
