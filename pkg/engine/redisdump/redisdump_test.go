package redisdump

import (
	"slices"
	"strings"
	"testing"
)

// The heads are those of real dumps.
func TestADumpSaysItsFormatAndItsServer(t *testing.T) {
	for text, want := range map[string]Head{
		"REDIS0010\xfa\x09redis-ver\x067.0.15\xfa\x0aredis-bits\xc0@": {true, false, 10, "Redis 7.0.15"},
		"REDIS0012\xfa\x09redis-ver\x058.0.6\xfa":                     {true, false, 12, "Redis 8.0.6"},
		"REDIS0011\xfa\x0avalkey-ver\x058.1.1\xfa":                    {true, false, 11, "Valkey 8.1.1"},
		"VALKEY080\xfa\x0avalkey-ver\x059.1.2\xfa":                    {true, true, 80, "Valkey 9.1.2"},
		"REDIS0006\xfe\x00":                                           {true, false, 6, ""},
		"REDIS0010\xfa\x09redis-ver\x067.0":                           {true, false, 10, ""},
		"*2\r\n$6\r\nSELECT\r\n":                                      {OK: true},
		"#TS:1700000000\r\n":                                          {OK: true},
		"":                                                            {OK: true},
		"REDIS":                                                       {},
		"REDIS00x1\xfa":                                               {},
		"hello world":                                                 {},
	} {
		if got := Parse([]byte(text)); got != want {
			t.Errorf("%q: got %+v, want %+v", text, got, want)
		}
	}
	if got := Parse(nil); got.OK {
		t.Errorf("what cannot be read: got %+v", got)
	}
}

func TestADumpIsRefusedByAServerThatCannotReadIt(t *testing.T) {
	redis := func(format int, by string) Head { return Head{OK: true, Format: format, By: by} }
	valkey := Head{OK: true, Valkey: true, Format: 80, By: "Valkey 9.1.2"}
	for _, c := range []struct {
		dump    Head
		server  string
		relaxed bool
		want    string // of the reason
		hint    string
	}{
		{redis(10, "Redis 7.0.15"), "Redis 7.0.15", false, "", ""},
		{redis(12, "Redis 8.0.6"), "Redis 7.0.15", false, "has format 12, of Redis 8.0.6, and Redis 7.0.15 reads up to 10", "use an image with Redis 7.4 or later, because it cannot be downgraded"},
		{redis(12, "Redis 8.0.6"), "Redis 7.4.1", false, "", ""},
		{redis(13, "Redis 8.6.0"), "Redis 8.4.0", false, "has format 13, of Redis 8.6.0, and Redis 8.4.0 reads up to 12", "use an image with Redis 8.6 or later"},
		{redis(14, "Redis 9.0.0"), "Redis 8.6.1", false, "reads up to 13", "use an image with a newer Redis, because"},
		{redis(14, "Redis 9.0.0"), "Redis 8.8.0", false, "", ""}, // it is later than all that are known
		{redis(10, ""), "Redis 6.2.14", false, "has format 10, of a newer server, and Redis 6.2.14 reads up to 9", "use an image with Redis 7.0 or later"},
		{redis(12, "Redis 8.0.6"), "", false, "", ""},
		{redis(11, "Redis 7.2.4"), "Valkey 8.1.1", false, "", ""},
		{redis(12, "Redis 8.0.6"), "Valkey 8.1.1", false, "has format 12, of Redis 8.0.6, and Valkey 8.1.1 reads none of Redis's after 11", "use an image with Redis 7.4 or later; to change over"},
		{redis(12, "Redis 8.0.6"), "Valkey 9.1.2", false, "Valkey 9.1.2 reads none of Redis's after 11", "use an image with Redis 7.4"},
		{redis(12, "Redis 8.0.6"), "Valkey 9.1.2", true, "", ""},
		{redis(12, "Redis 8.0.6"), "Valkey 8.1.1", true, "reads none of Redis's after 11", "use an image with Redis"},
		{redis(11, "Valkey 8.1.1"), "Redis 8.0.6", false, "", ""},
		{redis(11, "Valkey 8.1.1"), "Redis 7.0.15", false, "has format 11, of Valkey 8.1.1, and Redis 7.0.15 reads up to 10", "use an image with Redis 7.2 or later"},
		{valkey, "Redis 8.0.6", false, "has format 80, of Valkey 9.1.2, and Redis 8.0.6 reads no format of Valkey's", "use an image with Valkey 9.0 or later; to change over"},
		{valkey, "Valkey 8.1.1", false, "has format 80, of Valkey 9.1.2, and Valkey 8.1.1 reads up to 11", "use an image with Valkey 9.0 or later"},
		{valkey, "Valkey 9.0.0", false, "", ""},
		{Head{OK: true}, "Redis 6.2.0", false, "", ""},
	} {
		got, hint := c.dump.RefusedBy(c.server, c.relaxed)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) || !strings.HasPrefix(hint, c.hint) || (got == "") != (hint == "") {
			t.Errorf("%+v by %s: got %q, hint %q; want %q, hint %q", c.dump, c.server, got, hint, c.want, c.hint)
		}
	}
}

func TestAManifestListsWhatAServerLoads(t *testing.T) {
	const base, incr = "file a.1.base.rdb seq 1 type b\n", "file a.1.incr.aof seq 1 type i startoffset 0\n"
	for manifest, want := range map[string]string{
		base + incr: "a.1.base.rdb a.1.incr.aof",
		"# x\n" + incr + base + "file old seq 9 type h\nfile \"b c\" seq 2 type i\n": "a.1.base.rdb a.1.incr.aof b c",
		"":                        "it is empty, or cannot be read here",
		base + "file a.1":         "its last line is cut off",
		base + "\n":               "its line 2 has not the form of one",
		base + base:               "its line 2 does not fit the lines before",
		incr + incr:               "its line 2 does not fit the lines before",
		"file a/b seq 1 type b\n": "its line 1 has not the form of one",
		"file a seq 1 type x\n":   "its line 1 does not fit the lines before",
		"file a seq 0 type b\n":   "its line 1 has not the form of one",
		"file \"a seq 1 type b\n": "its line 1 has not the form of one",
	} {
		names, wrong := Listed([]byte(manifest))
		if got := strings.Join(names, " "); wrong == "" && got != want || wrong != "" && wrong != want {
			t.Errorf("%q: got %q, %q; want %q", manifest, names, wrong, want)
		}
	}
}

// Whatever a file has, what is listed are names.
func FuzzListed(f *testing.F) {
	f.Add([]byte("file a.1.base.rdb seq 1 type b\n"))
	f.Fuzz(func(t *testing.T, manifest []byte) {
		names, wrong := Listed(manifest)
		if wrong == "" && slices.ContainsFunc(names, func(name string) bool { return name == "" || strings.Contains(name, "/") }) {
			t.Errorf("got %q", names)
		}
		Parse(manifest).RefusedBy("Redis 7.0.15", false)
	})
}
