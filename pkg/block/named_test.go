package block

import (
	"bytes"
	"flag"
	"slices"
	"strings"
	"testing"
)

func TestADiskIsNamedByAllOrNotAtAll(t *testing.T) {
	want := Named{Filesystem: "xfs", Serial: "vol0123456789abcdef0", Seq: 0, Size: 8 << 30}
	parse := func(args []string) (got Named) {
		f := flag.NewFlagSet("", flag.ContinueOnError)
		got.Flags(f)
		if err := f.Parse(args); err != nil {
			t.Fatal(err)
		}
		return got
	}
	args := want.Args()
	if got := parse(args); got != want || !got.Whole() {
		t.Errorf("%q: got %+v", args, got)
	}
	for at := 0; at < len(args); at += 2 {
		less := slices.Delete(slices.Clone(args), at, at+2)
		if got := parse(less); got.Whole() {
			t.Errorf("%q name a disk: %+v", less, got)
		}
	}
}

func TestADiskOfAnotherSizeIsNotTheOneThatIsNamed(t *testing.T) {
	disk := bytes.NewReader(make([]byte, 512))
	for size, want := range map[int64]string{512: "", 511: "disk vol1 has 512 bytes now, not 511", 1 << 30: "not 1073741824"} {
		n := Named{Serial: "vol1", Size: size}
		if err := n.HasSize(disk); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: got %v, want %q", size, err, want)
		}
	}
}
