package redisconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bootagent/pkg/engine/redistest"
)

// osFiles are the files of this machine.
type osFiles struct{}

func (osFiles) Read(path string) ([]byte, error)      { return os.ReadFile(path) }
func (osFiles) Glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }

// configurations are command lines and files. $T is the directory that they are
// in, and that the server is started in.
var configurations = map[string]struct {
	files    map[string]string
	dirs     []string
	args     []string
	stricter bool // it is refused here, and at least some servers start with it
}{
	"nothing":       {},
	"an empty file": {files: map[string]string{"a.conf": ""}, args: []string{"$T/a.conf"}},
	"a file": {
		files: map[string]string{"a.conf": "# dir /no\n\n  DIR $T/data \r\nappendonly yes\nappenddirname \"aof dir\"\nappendfilename 'it\\'s.aof'\ndbfilename d.rdb\n"},
		dirs:  []string{"data"}, args: []string{"$T/a.conf"},
	},
	"a file by a relative path":  {files: map[string]string{"a.conf": "dir $T/data\n"}, dirs: []string{"data"}, args: []string{"a.conf"}},
	"a relative dir":             {files: map[string]string{"a.conf": "dir data\n"}, dirs: []string{"data"}, args: []string{"$T/a.conf"}},
	"a dir relative to a dir":    {files: map[string]string{"a.conf": "dir data\ndir ./more/\n"}, dirs: []string{"data/more"}, args: []string{"$T/a.conf"}},
	"the last counts":            {files: map[string]string{"a.conf": "dir $T/data\ndbfilename a\ndir $T/other\ndbfilename b\n"}, dirs: []string{"data", "other"}, args: []string{"$T/a.conf"}},
	"options come after a file":  {files: map[string]string{"a.conf": "dir $T/data\nappendonly no\n"}, dirs: []string{"data", "other"}, args: []string{"$T/a.conf", "--dir", "$T/other", "--appendonly", "yes"}},
	"options without a file":     {dirs: []string{"data"}, args: []string{"--dir", "$T/data", "--dbfilename", "x y.rdb"}},
	"an option in one argument":  {dirs: []string{"data"}, args: []string{"--dir $T/data", "--appendonly  yes"}},
	"an option in other letters": {dirs: []string{"data"}, args: []string{"--DIR", "$T/data"}},
	"an include": {
		files: map[string]string{"a.conf": "dir $T/data\ninclude $T/b.conf\n", "b.conf": "dir $T/other"}, dirs: []string{"data", "other"}, args: []string{"$T/a.conf"},
	},
	"what follows an include counts": {
		files: map[string]string{"a.conf": "include $T/b.conf\ndir $T/data\n", "b.conf": "dir $T/other\n"}, dirs: []string{"data", "other"}, args: []string{"$T/a.conf"},
	},
	"an include as an option": {
		files: map[string]string{"a.conf": "dir $T/data\n", "b.conf": "dir $T/other\n"}, dirs: []string{"data", "other"}, args: []string{"$T/a.conf", "--include", "$T/b.conf"},
	},
	"an include that is relative to a dir": {
		files: map[string]string{"a.conf": "dir data\ninclude b.conf\n", "data/b.conf": "dbfilename inner\n", "b.conf": "dbfilename outer\n"}, args: []string{"$T/a.conf"},
	},
	"an include of a pattern, in its order": {
		files: map[string]string{
			"a.conf": "include $T/c.d/*.conf\n", "c.d/10.conf": "dir $T/data\ndbfilename ten\n", "c.d/20.conf": "dbfilename twenty\n",
			"c.d/.30.conf": "dbfilename hidden\n", "c.d/40.off": "dbfilename off\n",
		}, dirs: []string{"data"}, args: []string{"$T/a.conf"},
	},
	"files of a pattern are joined": {
		files: map[string]string{"a.conf": "include $T/c.d/*\n", "c.d/1": "dbfilename on", "c.d/2": "e\nappendonly yes\n"}, args: []string{"$T/a.conf"},
	},
	"a pattern with classes":      {files: map[string]string{"a.conf": "include $T/[!b]?.conf\n", "c1.conf": "dbfilename c\n", "b1.conf": "dbfilename b\n"}, args: []string{"$T/a.conf"}},
	"a pattern without a match":   {files: map[string]string{"a.conf": "include $T/none.d/*.conf\ndbfilename x\n"}, args: []string{"$T/a.conf"}},
	"an include of nothing":       {files: map[string]string{"a.conf": "include $T/none.conf\n"}, args: []string{"$T/a.conf"}},
	"escapes":                     {files: map[string]string{"a.conf": `dbfilename "a\x41\t\"\q"` + "\n"}, args: []string{"$T/a.conf"}},
	"quotes within a word":        {files: map[string]string{"a.conf": "dbfilename a\"b c\"\n"}, args: []string{"$T/a.conf"}},
	"a quote that is not closed":  {files: map[string]string{"a.conf": "dbfilename \"a\n"}, args: []string{"$T/a.conf"}},
	"text behind a quote":         {files: map[string]string{"a.conf": "dbfilename \"a\"b\n"}, args: []string{"$T/a.conf"}, stricter: true},
	"a comment behind a value":    {files: map[string]string{"a.conf": "dbfilename a # not a comment\n"}, args: []string{"$T/a.conf"}},
	"a path as dbfilename":        {files: map[string]string{"a.conf": "dbfilename $T/a\n"}, args: []string{"$T/a.conf"}},
	"a backslash in dbfilename":   {files: map[string]string{"a.conf": `dbfilename "a\\b"` + "\n"}, args: []string{"$T/a.conf"}},
	"a path as appenddirname":     {args: []string{"--appenddirname", "a/b"}},
	"no dbfilename":               {args: []string{"--dbfilename", ""}, stricter: true},
	"no appenddirname":            {args: []string{"--appenddirname", ""}},
	"no appendfilename":           {args: []string{"--appendfilename", ""}},
	"neither yes nor no":          {args: []string{"--appendonly", "on"}},
	"letters of yes":              {args: []string{"--appendonly", "YES"}},
	"an empty dir":                {args: []string{"--dir", ""}},
	"save points":                 {files: map[string]string{"a.conf": "save 60 1\n"}, args: []string{"$T/a.conf"}},
	"no save points":              {files: map[string]string{"a.conf": "save \"\"\n"}, args: []string{"$T/a.conf"}},
	"save points, then none":      {files: map[string]string{"a.conf": "save 60 1\nsave \"\"\n"}, args: []string{"$T/a.conf"}},
	"no save points, then some":   {files: map[string]string{"a.conf": "save \"\"\nsave 60 1 300 10\n"}, args: []string{"$T/a.conf"}},
	"save points in one word":     {files: map[string]string{"a.conf": "save \"60 1 300 10\"\n"}, args: []string{"$T/a.conf"}},
	"an option save alone":        {args: []string{"--save"}},
	"an option save before one":   {dirs: []string{"data"}, args: []string{"--save", "--dir", "$T/data"}},
	"an option save with a value": {args: []string{"--save", "60 1"}},
	"no save at the stop":         {files: map[string]string{"a.conf": "shutdown-on-sigterm nosave now\n"}, args: []string{"$T/a.conf"}},
	"a cluster":                   {files: map[string]string{"a.conf": "cluster-enabled yes\ncluster-config-file $T/n.conf\n"}, args: []string{"$T/a.conf"}},
	"users":                       {files: map[string]string{"a.conf": "aclfile $T/users.acl\n", "users.acl": ""}, args: []string{"$T/a.conf"}},
	"two values":                  {files: map[string]string{"a.conf": "dir $T data\n"}, args: []string{"$T/a.conf"}},
	"a dir that goes up":          {files: map[string]string{"a.conf": "dir $T/data/..\n"}, dirs: []string{"data"}, args: []string{"$T/a.conf"}, stricter: true},
	"a value like an option":      {args: []string{"--dbfilename", "--x"}, stricter: true},
	"an argument of no option":    {files: map[string]string{"a.conf": ""}, args: []string{"$T/a.conf", "x"}, stricter: true},
	"its standard input":          {args: []string{"-"}, stricter: true},
	"a sentinel":                  {args: []string{"--sentinel"}},
	"its version":                 {args: []string{"--version"}, stricter: true},
}

// Whatever a server tells, bootagent has read before.
func TestSettingsAreThoseOfARealServer(t *testing.T) {
	for _, server := range redistest.Servers(t) {
		for name, c := range configurations {
			t.Run(filepath.Base(server)+", "+name, func(t *testing.T) {
				t.Parallel()
				root, args := layOut(t, c.files, c.dirs, c.args)
				got, readErr := Read(osFiles{}, args, root)
				want, startErr := ask(t, server, root, args)
				switch {
				case c.stricter && readErr == nil:
					t.Errorf("got %+v, and it cannot be told without the server", got)
				case c.stricter:
				case readErr != nil && startErr != nil:
				case readErr != nil || startErr != nil:
					t.Errorf("got %+v, %v; the server: %v", got, readErr, startErr)
				case got != told(want, got):
					t.Errorf("got  %+v\nwant %+v", got, told(want, got))
				}
			})
		}
	}
}

// told puts what a server tells in the place of settings. What a server of its
// version does not have stays.
func told(config map[string]string, set Settings) Settings {
	for name, to := range map[string]*string{
		"dir": &set.Dir, "dbfilename": &set.DumpName, "appendfilename": &set.AppendName, "appenddirname": &set.AppendDir,
		"aclfile": &set.ACLFile, "cluster-config-file": &set.ClusterFile,
	} {
		if value, ok := config[name]; ok {
			*to = value
		}
	}
	set.AppendOnly, set.Cluster = config["appendonly"] == "yes", config["cluster-enabled"] == "yes"
	set.SavesAtStop = config["save"] != "" && !strings.Contains(config["shutdown-on-sigterm"], "nosave")
	return set
}

func layOut(tb testing.TB, files map[string]string, dirs, args []string) (root string, real []string) {
	tb.Helper()
	root = tb.TempDir()
	put := func(text string) string { return strings.ReplaceAll(text, "$T", root) }
	for _, dir := range dirs {
		ok(tb, os.MkdirAll(filepath.Join(root, dir), 0o700))
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		ok(tb, os.MkdirAll(filepath.Dir(path), 0o700))
		ok(tb, os.WriteFile(path, []byte(put(text)), 0o600))
	}
	for _, arg := range args {
		real = append(real, put(arg))
	}
	return root, real
}

func ok(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// ask starts a server, and returns what it says of its settings.
func ask(tb testing.TB, path, cwd string, args []string) (map[string]string, error) {
	tb.Helper()
	server, err := redistest.Start(tb, path, cwd, args...)
	if err != nil {
		return nil, err
	}
	defer server.Kill()
	return server.Config(), nil
}

// BenchmarkSettings says what it costs to read the settings of Debian's
// configuration file, and to ask a server that is started with it.
func BenchmarkSettings(b *testing.B) {
	comments := strings.Repeat("# A line of text, as there are two thousand in the file of Debian's package.\n", 1400)
	root, args := layOut(b, map[string]string{"a.conf": comments + "dir $T/data\ndbfilename dump.rdb\nappendonly no\n"}, []string{"data"}, []string{"$T/a.conf"})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := Read(osFiles{}, args, root); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, server := range redistest.Servers(b) {
		b.Run("ask "+filepath.Base(server), func(b *testing.B) {
			for b.Loop() {
				if _, err := ask(b, server, root, args); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
