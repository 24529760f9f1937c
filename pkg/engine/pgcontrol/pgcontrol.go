// Package pgcontrol reads PostgreSQL's control file, as far as it says how the
// server stopped. It reads no file itself.
package pgcontrol

import "encoding/binary"

// Size is how much of the file is needed, in bytes.
const Size = 20

// A State is that of a database, of those of DBState in PostgreSQL's pg_control.h.
type State uint32

// String is the word of pg_controldata(1).
func (s State) String() string {
	if int(s) < len(words) {
		return words[s]
	}
	return "unknown state"
}

var words = []string{
	"starting up", "shut down", "shut down in recovery", "shutting down",
	"in crash recovery", "in archive recovery", "in production",
}

// Known tells whether it is a state of the versions up to 18.
func (s State) Known() bool { return int(s) < len(words) }

// Clean tells whether there is nothing to recover.
func (s State) Clean() bool { return s == 1 || s == 2 }

// Of returns the state in the beginning of the file. ok is false where that is
// none of a control file. The file is in the order of the machine that wrote it:
// here that of amd64 and arm64.
func Of(head []byte) (s State, ok bool) {
	if len(head) < Size {
		return 0, false
	}
	if layout := binary.LittleEndian.Uint32(head[8:]); layout == 0 || layout > 1<<16 {
		return 0, false
	}
	return State(binary.LittleEndian.Uint32(head[16:])), true
}
