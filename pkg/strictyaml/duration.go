package strictyaml

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Duration reads a duration such as 90s, 20m or 1h30m that is more than
// nothing and at most the longest.
func (v Value) Duration(longest time.Duration) (d time.Duration, ok bool) {
	if !v.usable() {
		return 0, false
	}
	if v.node.Kind != yaml.ScalarNode || kind(v.node) == "empty" {
		v.notA("a duration such as 90s or 20m")
		return 0, false
	}
	d, err := time.ParseDuration(v.String())
	meant := d
	if err != nil {
		meant = meantDuration(v.String())
	}
	switch {
	case err != nil && meant > longest, err == nil && d > longest:
		v.Failf("%s is too long: at most %s is allowed", v.what, shortDuration(longest))
	case err != nil && meant > 0:
		v.Failf("%s is not a duration; write %s", v.what, shortDuration(meant))
	case kind(v.node) == "a number" && strings.Trim(v.String(), "0123456789") == "":
		n := strings.TrimLeft(v.String(), "0")
		if n == "" {
			v.Failf("%s must be more than 0s", v.what)
			break
		}
		v.Failf("%s has no unit; write %ss for seconds or %sm for minutes", v.what, n, n)
	case err != nil:
		v.Failf("%s is not a duration; write it in hours, minutes and seconds, such as 90s, 20m or 1h30m", v.what)
	case d <= 0:
		v.Failf("%s must be more than 0s", v.what)
	default:
		return d, true
	}
	return 0, false
}

// amounts matches the amounts of a duration as people write it, and each of
// them by itself.
var (
	amounts = regexp.MustCompile(`^(?:[0-9]{1,6} *[a-zA-Z]+[ ,]*)+$`)
	amount  = regexp.MustCompile(`([0-9]+) *([a-zA-Z]+)`)
)

// meantDuration returns what a text means that Go does not read as a duration,
// such as "2d" and "10 minutes", or 0 where nobody can know.
func meantDuration(text string) (sum time.Duration) {
	if !amounts.MatchString(text) {
		return 0
	}
	for _, m := range amount.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		var unit time.Duration
		switch strings.TrimSuffix(strings.ToLower(m[2]), "s") {
		case "w", "week":
			unit = 7 * 24 * time.Hour
		case "d", "day":
			unit = 24 * time.Hour
		case "h", "hr", "hour":
			unit = time.Hour
		case "m", "min", "minute":
			unit = time.Minute
		case "", "sec", "second":
			unit = time.Second
		default:
			return 0
		}
		sum += time.Duration(n) * unit
	}
	return sum
}

// shortDuration writes 24h where time.Duration writes 24h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, nothing) {
			text = text[:len(text)-2]
		}
	}
	return text
}
