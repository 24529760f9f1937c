package pgcontrol

import (
	"encoding/hex"
	"strings"
	"testing"
)

// The beginnings are those of files that initdb of PostgreSQL 15, 17 and 18 made.
func TestTheStateIsReadFromTheFilesOfSeveralVersions(t *testing.T) {
	for head, want := range map[string]string{
		"0ce6ee8d5a6a0a6b1405000025770d0c01000000": "shut down",
		"e8e6284b646a0a6ba40600008979100c01000000": "shut down",
		"4c57c6d9686a0a6b080700003300120c06000000": "in production",
		"4c57c6d9686a0a6b080700003300120c02000000": "shut down in recovery",
		"4c57c6d9686a0a6b080700003300120c07000000": "unknown state",
		strings.Repeat("00", 64):                   "",
		"4c57c6d9686a0a6b080700003300120c":         "",
		"4c57c6d9686a0a6b000708003300120c00000001": "", // of a machine of the other order
		"": "",
	} {
		b, err := hex.DecodeString(head)
		if err != nil {
			t.Fatal(err)
		}
		s, ok := Of(b)
		if ok != (want != "") || ok && s.String() != want || s.Clean() != strings.HasPrefix(want, "shut down") || ok && s.Known() != (want != "unknown state") {
			t.Errorf("%s: got %v, %t", head, s, ok)
		}
	}
}
