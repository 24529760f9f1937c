package block

import "testing"

func TestBytesAndOffsets(t *testing.T) {
	for b, want := range map[Bytes]string{0: "0 B", 512: "512 B", KiB: "1.0 KiB", 1536 * KiB: "1.5 MiB", GiB: "1.0 GiB", 64 * TiB: "64.0 TiB"} {
		if b.String() != want {
			t.Errorf("%d is %v, want %s", int64(b), b, want)
		}
	}
	if s := Offset(0x218).String(); s != "0x218" {
		t.Error(s)
	}
}
