package role

import (
	"strings"
	"testing"
)

func TestNamesAreOfALength(t *testing.T) {
	for what, c := range map[string]struct {
		check func(string) error
		most  int
	}{
		"directory":  {checkDir, 128},
		"owner":      {checkOwner, 31},
		"credential": {checkCredential, 64},
		"bucket":     {checkBucket, 63},
		"part of id": {checkIDText, 21},
	} {
		fits := strings.Repeat("a", c.most)
		if err := c.check(fits); err != nil {
			t.Errorf("a %s of %d: %v", what, c.most, err)
		}
		if err := c.check(fits + "a"); err == nil {
			t.Errorf("a %s of %d passes", what, c.most+1)
		}
	}
	for _, short := range []string{"", "b", "bb"} {
		if err := checkBucket(short); err == nil {
			t.Errorf("the bucket %q passes", short)
		}
	}
}
