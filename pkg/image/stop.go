package image

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/role"
	"bootagent/pkg/shell"
	"bootagent/pkg/systemd/guard"
	"bootagent/pkg/systemd/unitfile"
)

// stopEnough is how long a database should have to stop. One with a large cache
// writes for minutes before it ends, and recovers from its log if it is killed
// before. MariaDB's unit has 15 minutes, PostgreSQL's of Debian an hour, and MySQL's
// no limit.
const stopEnough = 15 * time.Minute

// stopDropIn is the name of the drop-in that a suggestion makes.
const stopDropIn = "60-stop.conf"

// checkStops suggests a longer stop limit for each service that runs a database and
// has less than enough.
func (i Image) checkStops(units *unitfile.Tree, r *Report) {
	var told []string
	for _, ro := range i.Roles {
		for _, s := range ro.Services {
			own := units.Own(s.Unit)
			if slices.Contains(told, own) || !runsDatabase(ro, s) || units.File(own) == "" || guard.RunsNothing(units, own) {
				continue
			}
			told = append(told, own)
			limit, set := stopLimit(units, own)
			if limit >= stopEnough {
				continue
			}
			has := fmt.Sprintf("%s (TimeoutStopSec=)", limit)
			if !set {
				has = fmt.Sprintf("the default of systemd, %s", limit)
			}
			dir := units.Path(path.Join("/etc/systemd/system", own+".d"))
			reload := ""
			if units.Path("/") == "/" {
				reload = " && systemctl daemon-reload"
			}
			r.Suggested = append(r.Suggested, fmt.Sprintf(
				"%s: %s runs a database, and systemd ends it when it has not stopped within %s; a large database may take longer. To give it 15 minutes: mkdir -p %s && printf '[Service]\\nTimeoutStopSec=15min\\n' >%s%s",
				ro.File, s.Unit, has, shell.Quote(dir), shell.Quote(path.Join(dir, stopDropIn)), reload))
		}
	}
}

// runsDatabase tells whether a service needs data that an engine keeps.
func runsDatabase(ro *role.Role, s role.Service) bool {
	return slices.ContainsFunc(ro.Data, func(d role.Data) bool {
		return d.Engine != "none" && slices.Contains(s.Needs, role.Need{Kind: role.KindData, Name: d.Name})
	})
}

// stopLimit is TimeoutStopSec= of a service, and whether a file of the service sets
// it. An empty value and 0 are no limit, as systemd has them (config_parse_service_timeout).
func stopLimit(units *unitfile.Tree, own string) (limit time.Duration, set bool) {
	for _, file := range append([]string{"/usr/lib/systemd/system.conf", "/etc/systemd/system.conf"}, confs(units)...) {
		text, _ := units.Read(file)
		for _, s := range unitfile.Parse(text) {
			if s.Section == "Manager" && s.Key == "DefaultTimeoutStopSec" {
				limit = span(s.Value, limit)
			}
		}
	}
	if limit == 0 {
		limit = 90 * time.Second // DEFAULT_TIMEOUT_SEC of systemd
	}
	for _, s := range units.Settings(own) {
		if s.Section == "Service" && (s.Key == "TimeoutStopSec" || s.Key == "TimeoutSec") {
			limit, set = span(s.Value, limit), true
		}
	}
	return limit, set
}

// span reads a limit. One that systemd can't read changes nothing.
func span(text string, before time.Duration) time.Duration {
	switch limit, ok := unitfile.TimeSpan(text); {
	case !ok:
		return before
	case limit == 0:
		return unitfile.Endless
	default:
		return limit
	}
}

// confs are the drop-ins of system.conf, in the order of systemd.
func confs(units *unitfile.Tree) (files []string) {
	winners := make(map[string]string)
	for _, dir := range []string{"/usr/lib/systemd/system.conf.d", "/etc/systemd/system.conf.d"} {
		for _, name := range units.List(dir) {
			if strings.HasSuffix(name, ".conf") {
				winners[name] = path.Join(dir, name)
			}
		}
	}
	for _, file := range winners {
		files = append(files, file)
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return files
}
