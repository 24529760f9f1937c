package redisconf

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// memory is configuration files.
type memory map[string]string

func (m memory) Read(path string) ([]byte, error) {
	text, there := m[path]
	if !there {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func (m memory) Glob(pattern string) (paths []string, err error) {
	for path := range m {
		match, err := filepath.Match(pattern, path)
		if err != nil {
			return nil, err
		}
		if match {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, nil
}

func TestWhatCannotBeToldSaysWhere(t *testing.T) {
	files := memory{
		"/quote": "\n# x\ndbfilename \"a\n", "/two": "dir /a /b\n", "/yes": "appendonly maybe\n", "/up": "dir /srv/../etc\n",
		"/loop": "include /loop\n", "/zero": "dir /a\x00\n", "/class": "include /x/[[:alpha:]]\n", "/open": "include /[\n", "/path": "dbfilename a/b\n", "/relative": "dir data\n",
	}
	for want, args := range map[string][]string{
		"line 3 of /quote: a quote is not closed, or something follows a closing quote":      {"/quote"},
		"line 1 of /two: dir has 2 values, and it takes one":                                 {"/two"},
		`line 1 of /yes: appendonly is "maybe", neither yes nor no`:                          {"/yes"},
		"line 1 of /up: the path /srv/../etc goes up by .., which bootagent does not follow": {"/up"},
		"more than 16 files include each other, the last one /loop":                          {"/loop"},
		"/zero has a byte that is zero":                                                      {"/zero"},
		"has a class of characters, which bootagent does not read":                           {"/class"},
		"the pattern /[ is not closed":                                                       {"/open"},
		"line 1 of /path: dbfilename is a/b: it has to be a name, not a path":                {"/path"},
		"/none: file does not exist":                                                         {"/none"},
		"line 1 of /relative: the path data is relative, and the directory":                  {"/relative"},
		"no absolute dir is set, and the directory in which it is started is not known":      nil,
		"it starts a sentinel, which keeps no data":                                          {"/a.conf", "--sentinel"},
		"with --version it starts no server":                                                 {"--version"},
		"it reads settings from its standard input":                                          {"/quote", "-"},
		"its option --dbfilename is followed by --dir":                                       {"--dbfilename", "--dir", "/x"},
		`its argument "x" belongs to no option`:                                              {"/two", "x"},
		"the command line: dir is empty":                                                     {"--dir", ""},
	} {
		got, err := Read(files, args, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v; want %q", args, got, err, want)
		}
	}
	if _, err := Read(files, []string{"/none"}, "/"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: got %v", err)
	}
}

func TestVersionsAreCheckedUnlessTheSettingsSayOtherwise(t *testing.T) {
	for value, want := range map[string]bool{"strict": false, "relaxed": true} {
		got, err := Read(memory{}, []string{"--rdb-version-check", value}, "/")
		if err != nil || got.RelaxedVersions != want {
			t.Errorf("%s: got %+v, %v", value, got, err)
		}
	}
}

// Whatever stands in a configuration file, the data directory is absolute, and
// the names in it are names.
func FuzzRead(f *testing.F) {
	f.Add("dir /srv/x\ninclude /a\nsave \"\"\n", "--dir", "x")
	f.Add("dbfilename \"a\\x41\"'", "/a", "--save")
	f.Fuzz(func(t *testing.T, text, one, two string) {
		got, err := Read(memory{"/a": text}, []string{"/a", one, two}, "/")
		switch {
		case err != nil:
		case !filepath.IsAbs(got.Dir) || filepath.Clean(got.Dir) != got.Dir:
			t.Errorf("dir is %q", got.Dir)
		case strings.Contains(got.DumpName+got.AppendName+got.AppendDir, "/"):
			t.Errorf("a name is a path: %+v", got)
		}
	})
}
