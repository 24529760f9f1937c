package strictyaml

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bootagent/pkg/golden"
)

// readShelf reads the format that the tests use: a shelf of volumes.
func readShelf(doc *Document) {
	root := doc.Root("the shelf")
	if !root.Version(1) {
		return
	}
	root.Need("shelf").Name()
	for _, e := range root.Take("volumes").Map("volumes").Entries() {
		e.Key.Name()
		what := "volume " + Quote(e.Key.String())
		m := e.Value.Map(what)
		m.Need("title").Text()
		m.Take("filesystem").OneOf("xfs", "ext4")
		m.Take("wait").Duration(24 * time.Hour)
		m.Take("adopt").Bool()
		if list, ok := m.Take("needs").List(); ok {
			for _, v := range list {
				v.Name()
			}
		}
		m.Done()
	}
	root.Done()
}

func TestMistakesAreToldWithTheirPlaceAndWhatWouldBeRight(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data:", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			doc := Parse(filepath.Base(file), src)
			readShelf(doc)
			got := fmt.Sprintln(doc.Err())
			file := strings.TrimSuffix(file, ".yaml") + ".golden"
			golden.Check(t, file, got)
		})
	}
}

func TestARightDocumentIsReadAsItStands(t *testing.T) {
	doc := Parse("f.yaml", []byte(`
version: 1
title: "a: b"
wait: 1h30m
adopt: true
list: [x, "2"]
map: {on: yes}
empty:
`))
	root := doc.Root("the file")
	if !root.Version(1) {
		t.Error("version 1 is not known")
	}
	if got, ok := root.Need("title").Text(); !ok || got != "a: b" {
		t.Errorf("title: %q %v", got, ok)
	}
	if got, ok := root.Need("wait").Duration(2 * time.Hour); !ok || got != 90*time.Minute {
		t.Errorf("wait: %v %v", got, ok)
	}
	if got, ok := root.Need("adopt").Bool(); !ok || !got {
		t.Errorf("adopt: %v %v", got, ok)
	}
	list, ok := root.Need("list").List()
	if !ok || len(list) != 2 || list[1].String() != "2" {
		t.Errorf("list: %v %v", list, ok)
	}
	m := root.Need("map").Map("the map")
	if got, ok := m.Need("on").Text(); !ok || got != "yes" {
		t.Errorf("on: %q %v", got, ok)
	}
	m.Done()
	if got := root.Need("empty").Map("the empty map").Entries(); len(got) != 0 {
		t.Errorf("empty: %v", got)
	}
	if v := root.Take("absent"); v.Given() {
		t.Error("absent is given")
	}
	root.Done()
	if err := doc.Err(); err != nil {
		t.Error(err)
	}
}

func TestAnEmptyDocumentIsAnEmptyMap(t *testing.T) {
	for _, src := range []string{"", "\n", "# nothing\n", "---\n", "---\n...\n"} {
		doc := Parse("f.yaml", []byte(src))
		doc.Root("the file").Done()
		if err := doc.Err(); err != nil {
			t.Errorf("%q: %v", src, err)
		}
	}
}

func TestOneValueHasOneMistake(t *testing.T) {
	doc := Parse("f.yaml", []byte("a: 1\n"))
	v := doc.Root("the file").Take("a")
	v.Text()
	v.Bool()
	v.Failf("and that")
	var errs Errors
	if !errors.As(doc.Err(), &errs) || len(errs) != 1 {
		t.Errorf("want one mistake, got %v", doc.Err())
	}
}

func TestMistakesAreSortedByPlaceAndReachedByErrorsAs(t *testing.T) {
	doc := Parse("f.yaml", []byte("a: x\nb: y\nc: [1, z]\n"))
	root := doc.Root("the file")
	root.Take("c").Bool()
	root.Take("b").Bool()
	root.Take("a").Bool()
	var errs Errors
	if !errors.As(doc.Err(), &errs) || len(errs) != 3 {
		t.Fatalf("want three mistakes, got %v", doc.Err())
	}
	for i, e := range errs {
		if e.File != "f.yaml" || e.Line != i+1 || e.Column != 4 {
			t.Errorf("mistake %d is at %s:%d:%d", i, e.File, e.Line, e.Column)
		}
	}
	var first *Error
	if !errors.As(doc.Err(), &first) || first.Line != 1 {
		t.Errorf("the first mistake is %v", first)
	}
}

func TestALargeDocumentIsRefused(t *testing.T) {
	src := strings.Repeat("#", MaxSize)
	if err := Parse("f.yaml", []byte(src)).Err(); err != nil {
		t.Errorf("%d bytes: %v", len(src), err)
	}
	err := Parse("f.yaml", []byte(src+"#")).Err()
	if want := "f.yaml:1:1: too large: 65537 bytes; a document can have 65536"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestManyMistakesAreNotAllPutIntoWords(t *testing.T) {
	var src strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&src, "key%d: 1\n", i)
	}
	doc := Parse("f.yaml", []byte(src.String()))
	doc.Root("the file").Done()
	lines := strings.Split(doc.Err().Error(), "\n")
	if want := "f.yaml: and 950 further mistakes"; len(lines) != 51 || lines[50] != want {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

// A syntax error is told of the line that a person has to look at, which is
// not the one that yaml.v3 tells.
func TestASyntaxErrorIsToldOfTheLineAtFault(t *testing.T) {
	for _, c := range []struct {
		name, src    string
		line, column int
	}{
		{"indented too little", "a:\n  b: 1\n  c: 2\n d: 3\ne: 4\n", 4, 2},
		{"indented too far", "a:\n  b: 1\n   c: 2\nd: 3\n", 3, 4},
		{"tab", "a:\n\tb: 1\n", 2, 2},
		{"quote never closed", "a: 1\nb: \"x\nc: 2\nd: 3\n", 2, 1},
		{"bracket never closed", "a: 1\nb: [x,\nc: 2\nd: 3\n", 2, 1},
		{"no colon", "a: 1\nb\nc: 2\n", 2, 1},
		{"list among keys", "a: 1\n# why\n- b\nc: 2\n", 3, 1},
		{"alias to nothing", "a: 1\nb: *x\n", 2, 1},
		{"in the last line, without its end", "a: 1\nb: [", 2, 1},
		{"in a second document", "a: 1\n---\nb: ]\n", 3, 1},
		{"lines that end as on Windows", "a: 1\r\nb\r\nc: 2\r\n", 2, 1},
		{"far behind what is right", strings.Repeat("- {b: [c,\n  d]}\n", 400) + "- b: c: d\n- e\n", 801, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var first *Error
			if err := Parse("f", []byte(c.src)).Err(); !errors.As(err, &first) {
				t.Fatal("no mistake found")
			}
			if first.Line != c.line || first.Column != c.column {
				t.Errorf("told at %d:%d, is at %d:%d: %s", first.Line, first.Column, c.line, c.column, first.Problem)
			}
		})
	}
}

func TestErrorsOfTheParserQuoteNoValue(t *testing.T) {
	for _, src := range []string{
		"a: *hunter2\n", "a: &hunter2 x\n", "a: !hunter2 x\n", "a: !!hunter2 x\n", "a: %hunter2\n",
		"a: @hunter2\n", "a: \"hunter2\n", "a: b: hunter2\n", "a: [hunter2\n", "a: hunter2\n\tb: c\n",
		"a: '\\hunter2\n", "a: \"\\hunter2\"\n", "%hunter2 1\n---\na: b\n", "a: |hunter2\n", "a: &x hunter2\nb: *x\n",
		"a: !h!hunter2 b\n", "hunter2", "- hunter2", "a: hunter2\n---\nb: hunter2\n",
	} {
		doc := Parse("f", []byte(src))
		doc.Root("the file").Take("a").Bool()
		err := doc.Err()
		if err == nil {
			t.Errorf("%q is accepted", src)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", src, err)
		}
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("no YAML") }

func TestAPanicOfTheParserIsAnError(t *testing.T) {
	if _, _, err := parse(panicking{}); err == nil {
		t.Error("no error")
	}
}

func TestScalarsVisitsEveryKeyAndValueWithItsPath(t *testing.T) {
	doc := Parse("f", []byte("a: {b: [c, {d: e}]}\nf: g\n"))
	var got []string
	doc.Scalars(func(path []string, v Value) {
		got = append(got, strings.Join(path, ".")+"="+v.String())
	})
	want := "a=a a.b=b a.b=c a.b.d=d a.b.d=e f=f f=g"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestDidYouMean(t *testing.T) {
	for _, c := range []struct{ wrong, known, want string }{
		{"filesytem", "find filesystem at", "filesystem"},
		{"File_System", "find filesystem at", "filesystem"},
		{"if_absent", "if-absent", "if-absent"},
		{"fidn", "find filesystem", "find"},
		{"XFS", "xfs ext4", "xfs"},
		{"ext3", "xfs ext4", "ext4"},
		{"btrfs", "xfs ext4", ""},
		{"x", "a b", ""},
		{"", "a", ""},
		{"at", "", ""},
		{"serivces", "services volumes", "services"},
		{strings.Repeat("x", 100000), "services", ""},
	} {
		want := ""
		if c.want != "" {
			want = "; did you mean " + Quote(c.want) + "?"
		}
		if got := DidYouMean(c.wrong, strings.Fields(c.known)); got != want {
			t.Errorf("%.20q among %q: got %q, want %q", c.wrong, c.known, got, want)
		}
	}
}

func TestQuoteIsShortAndOnOneLine(t *testing.T) {
	if got := Quote("a\nb"); got != `"a\nb"` {
		t.Errorf("got %s", got)
	}
	if got := Quote(strings.Repeat("ä", 65)); got != `"`+strings.Repeat("ä", 64)+`…"` {
		t.Errorf("got %s", got)
	}
}

func TestDurationsInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		24 * time.Hour: "24h", time.Hour: "1h", 90 * time.Minute: "1h30m", 30 * time.Second: "30s", 10 * time.Minute: "10m",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	for _, src := range []string{"", "a: 1", "#\n - - QI\xd7", "#\n-\n-\n0", "! !00 \xf6", "? ? \"\n\" 0", "0: [\n] 0", " \ufeff\n", "{{},<<}", "a: &x [*x]"} {
		f.Add([]byte(src))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		doc := Parse("f", src)
		readShelf(doc)
		checkPlaces(t, doc.Err())
	})
}

// checkPlaces checks that every mistake has a place, and that they are sorted.
func checkPlaces(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var errs Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		t.Fatalf("not Errors: %T %v", err, err)
	}
	for i, e := range errs {
		if e.File == "" || e.Line < 1 || e.Column < 1 || e.Problem == "" {
			t.Errorf("no place or no problem: %+v", *e)
		}
		if i > 0 && (e.Line < errs[i-1].Line || e.Line == errs[i-1].Line && e.Column < errs[i-1].Column) {
			t.Errorf("not sorted: %v before %v", errs[i-1], e)
		}
		if strings.ContainsAny(e.Problem, "\n\r\x00") {
			t.Errorf("more than one line: %q", e.Problem)
		}
	}
}
