package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

func TestWritesOfAJournalAreAskedToBeOnTheDisk(t *testing.T) {
	ext4 := make([]byte, 4096)
	ext4[1024+56], ext4[1024+57] = 0x53, 0xEF
	for _, c := range []struct {
		name string
		kind uint16
		data []byte
		fua  bool
	}{
		{"XFS's log", 1, []byte("\xFE\xED\xBA\xBE and more"), true},
		{"ext4's journal", 1, []byte("\xC0\x3B\x39\x98 and more"), true},
		{"ext4's superblock", 1, ext4, true},
		{"other data", 1, make([]byte, 4096), false},
		{"data that have the magic elsewhere", 1, []byte("a \xFE\xED\xBA\xBE"), false},
		{"few data", 1, []byte{0xFE, 0xED}, false},
		{"a flush", 3, nil, false},
	} {
		// A handshake with two options, the write, and another request.
		hello := append([]byte{0, 0, 0, 3}, option(8, nil)...)
		hello = append(hello, option(7, []byte("\x00\x00\x00\x00\x00\x00"))...)
		after := request(3, 0, nil)
		var got bytes.Buffer
		err := relay(&got, bytes.NewReader(bytes.Join([][]byte{hello, request(c.kind, 0, c.data), after}, nil)))
		var flags uint16
		if c.fua {
			flags = 1
		}
		want := bytes.Join([][]byte{hello, request(c.kind, flags, c.data), after}, nil)
		if !errors.Is(err, io.EOF) || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: got %q, %v, want %q", c.name, got.Bytes(), err, want)
		}
	}
}

func option(number uint32, data []byte) []byte {
	head := binary.BigEndian.AppendUint64(nil, 0x49484156454F5054)
	head = binary.BigEndian.AppendUint32(head, number)
	return append(binary.BigEndian.AppendUint32(head, uint32(len(data))), data...)
}

func request(kind, flags uint16, data []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, 0x25609513)
	head = binary.BigEndian.AppendUint16(head, flags)
	head = binary.BigEndian.AppendUint16(head, kind)
	head = append(head, "handle00offset00"...)
	return append(binary.BigEndian.AppendUint32(head, uint32(len(data))), data...)
}
