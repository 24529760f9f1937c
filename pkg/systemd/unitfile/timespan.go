package unitfile

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Endless is the time span "infinity".
const Endless = time.Duration(math.MaxInt64)

// TimeSpan reads a time span as settings have it (systemd.time(7)): "90", "15min",
// "1h 30min", "infinity". A number without a unit is in seconds.
func TimeSpan(text string) (span time.Duration, ok bool) {
	text = strings.TrimSpace(text)
	if text == "infinity" {
		return Endless, true
	}
	if !timeSpan.MatchString(text) {
		return 0, false
	}
	for _, m := range timePart.FindAllStringSubmatch(text, -1) {
		amount, err := strconv.ParseFloat(m[1], 64)
		unit, known := timeUnits[m[2]]
		if err != nil || !known {
			return 0, false
		}
		span += time.Duration(amount * float64(unit))
	}
	return span, true
}

var (
	timeSpan = regexp.MustCompile(`^(?:[0-9]+(?:\.[0-9]+)?\s*[a-zA-Zµ]*\s*)+$`)
	timePart = regexp.MustCompile(`([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Zµ]*)`)
)

const day = 24 * time.Hour

// timeUnits are those of systemd.time(7), by all their names.
var timeUnits = func() map[string]time.Duration {
	units := map[string]time.Duration{"": time.Second}
	for names, unit := range map[string]time.Duration{
		"usec us µs": time.Microsecond, "msec ms": time.Millisecond, "seconds second sec s": time.Second,
		"minutes minute min m": time.Minute, "hours hour hr h": time.Hour, "days day d": day, "weeks week w": 7 * day,
		"months month M": time.Duration(30.44 * float64(day)), "years year y": time.Duration(365.25 * float64(day)),
	} {
		for _, name := range strings.Fields(names) {
			units[name] = unit
		}
	}
	return units
}()
