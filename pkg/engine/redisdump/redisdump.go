// Package redisdump knows the files in which Redis and Valkey keep their data:
// the beginning of a dump, the versions of its format, and the list of
// append-only files. It reads no file.
package redisdump

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"bootagent/pkg/engine/redisconf"
)

// A Head is the beginning of a dump, or of an append-only file, which may
// begin as a dump does.
type Head struct {
	OK     bool   // it is one
	Valkey bool   // it has the signature of Valkey's own format
	Format int    // the version of the format of a dump, 0 where it has commands alone
	By     string // the server that wrote it: "Redis 8.0.6", or ""
}

// Parse reads the signature and the first auxiliary field of a dump, which
// is the version of the server since Redis 3.2 (rdbSaveInfoAuxFields in rdb.c). An
// append-only file that is empty, or begins with the commands of one, is all right.
func Parse(head []byte) (h Head) {
	digits, rest := 4, head
	switch {
	case len(head) == 0 || head[0] == '*' || head[0] == '#':
		h.OK = head != nil
		return h
	case bytes.HasPrefix(head, []byte("REDIS")):
		rest = head[5:]
	case bytes.HasPrefix(head, []byte("VALKEY")):
		rest, digits, h.Valkey = head[6:], 3, true
	default:
		return h
	}
	if len(rest) < digits {
		return h
	}
	format, err := strconv.Atoi(string(rest[:digits]))
	if err != nil || format < 1 {
		return h
	}
	h.OK, h.Format = true, format
	rest = rest[digits:]
	for key, name := range map[string]string{"redis-ver": "Redis", "valkey-ver": "Valkey"} {
		// An opcode of 0xfa, and two texts of less than 64 bytes, each behind its
		// length.
		field := append([]byte{0xfa, byte(len(key))}, key...)
		if after, found := bytes.CutPrefix(rest, field); found && len(after) > 0 && after[0] < 64 && len(after) > int(after[0]) {
			h.By = name + " " + string(after[1:1+after[0]])
		}
	}
	return h
}

// versionOutput is "Redis server v=7.0.15 sha=...", or Valkey's.
var versionOutput = regexp.MustCompile(`(?m)^(Redis |Valkey )?[Ss]erver v=([0-9]+(\.[0-9]+)*)`)

// Server is the name and version of a server, "Valkey 8.1.1", of what its
// --version prints. It is "" where that is not of a kind that is known.
func Server(output string) string {
	found := versionOutput.FindStringSubmatch(output)
	if found == nil {
		return ""
	}
	name := strings.TrimSpace(found[1])
	if name == "" {
		name = "Valkey" // 7.2 says no name
	}
	return name + " " + found[2]
}

// A formatOf says which format of dumps a server writes. It reads all before.
type formatOf struct {
	since  string
	format int
}

// The formats by version, and the last version that is known. Sources:
// RDB_VERSION in src/rdb.h of each version, RDB_VERSION_MAP there in Valkey 9.2,
// and redisToRdbVersion of redis/librdb.
var (
	redisFormats  = []formatOf{{"2.4", 5}, {"2.6", 6}, {"3.2", 7}, {"4.0", 8}, {"5.0", 9}, {"7.0", 10}, {"7.2", 11}, {"7.4", 12}, {"8.6", 13}}
	valkeyFormats = []formatOf{{"7.2", 11}, {"9.0", 80}, {"9.2", 81}}
)

// valkeyOwn is the first format that is Valkey's own. What is between this one
// and sharedFormat is Redis's alone.
const (
	sharedFormat = 11
	valkeyOwn    = 80
)

// reads is the newest format that a server of a version reads. It is not known
// for one that is later than all that are.
func reads(formats []formatOf, version string) (format int, known bool) {
	for _, f := range formats {
		if !Older(version, f.since) {
			format = f.format
		}
	}
	last := formats[len(formats)-1].since
	return format, format > 0 && (Older(version, last) || strings.HasPrefix(version+".", last+"."))
}

// writer is the oldest server that writes a format: "Redis 7.4".
func writer(formats []formatOf, format int) string {
	for _, f := range formats {
		if f.format >= format {
			return f.since
		}
	}
	return ""
}

// RefusedBy says why a server, such as "Redis 8.0.6", refuses the dump, and what
// to do, or "". A relaxed one has rdb-version-check relaxed. A server whose version
// is not known, or "", has to tell itself.
func (h Head) RefusedBy(server string, relaxed bool) (wrong, hint string) {
	name, version, _ := strings.Cut(server, " ")
	isValkey := name == "Valkey"
	if h.Format == 0 || version == "" || relaxed && isValkey && !Older(version, "9.0") {
		return "", ""
	}
	by := h.By
	if by == "" {
		by = "a newer server"
	}
	was := fmt.Sprintf("has format %d, of %s, and ", h.Format, by)
	const move = "; to change over, copy the keys into a new database by a client, because no dump and no replica can"
	switch {
	case h.Valkey && !isValkey:
		return was + server + " reads no format of Valkey's", "use an image with Valkey " + writer(valkeyFormats, h.Format) + " or later" + move
	case isValkey && !h.Valkey && h.Format > sharedFormat:
		return was + server + " reads none of Redis's after 11", "use an image with Redis " + writer(redisFormats, h.Format) + " or later" + move
	}
	formats := redisFormats
	if isValkey {
		formats = valkeyFormats
	}
	most, known := reads(formats, version)
	if !known || h.Format <= most {
		return "", ""
	}
	hint = "use an image with a newer " + name
	if since := writer(formats, h.Format); since != "" {
		hint = fmt.Sprintf("use an image with %s %s or later", name, since)
	}
	return was + server + " reads up to " + strconv.Itoa(most), hint + ", because it cannot be downgraded; or load a dump that an older one wrote"
}

// Older compares versions by their numbers.
func Older(version, than string) bool {
	a, b := strings.Split(version, "."), strings.Split(than, ".")
	for i := range max(len(a), len(b)) {
		var m, n int
		if i < len(a) {
			m, _ = strconv.Atoi(a[i])
		}
		if i < len(b) {
			n, _ = strconv.Atoi(b[i])
		}
		if m != n {
			return m < n
		}
	}
	return false
}

// Listed are the files that a manifest of append-only files names and a server
// loads: its base, and the increments. It says what is wrong with the manifest,
// by the rules of aofLoadManifestFromFile in aof.c.
func Listed(manifest []byte) (names []string, wrong string) {
	switch {
	case len(manifest) == 0:
		return nil, "it is empty, or cannot be read here"
	}
	last, hasBase := 0, false
	text, whole := strings.CutSuffix(string(manifest), "\n")
	if !whole {
		return nil, "its last line is cut off"
	}
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words, ok := redisconf.Split(line)
		if !ok || len(words) < 6 || len(words)%2 != 0 {
			return names, fmt.Sprintf("its line %d has not the form of one", i+1)
		}
		field := make(map[string]string)
		for i := 0; i < len(words); i += 2 {
			field[strings.ToLower(words[i])] = words[i+1]
		}
		name, kind := field["file"], field["type"]
		seq, _ := strconv.Atoi(field["seq"])
		switch {
		case name == "" || kind == "" || seq == 0 || strings.ContainsAny(name, `/\`):
			return names, fmt.Sprintf("its line %d has not the form of one", i+1)
		case kind[0] == 'h': // it is about to be removed
		case kind[0] == 'b' && !hasBase:
			hasBase, names = true, append([]string{name}, names...)
		case kind[0] == 'i' && seq > last:
			last, names = seq, append(names, name)
		default:
			return names, fmt.Sprintf("its line %d does not fit the lines before", i+1)
		}
	}
	return names, ""
}
