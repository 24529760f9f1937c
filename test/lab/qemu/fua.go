package qemu

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
)

// A journalWriter is between QEMU and the server of a disk. QEMU's NVMe disk offers its guest writes that are on the
// disk when they end (Force Unit Access, FUA), but ignores the bit that asks for it (seen with QEMU 7.2).
// The guest's filesystems end an fsync with such a write to their journal: XFS and ext4 lost the last one in each
// power cut. The bit is put back here for each write of a journal.
//
// A direct write to a file that was opened with O_DSYNC would need it, too. No server of the tests makes one.
type journalWriter struct {
	listener net.Listener
	server   string // its socket
}

// serve connects each client to the server, until the listener is closed.
func (j journalWriter) serve() {
	for {
		client, err := j.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("unix", j.server)
			if err != nil {
				return // QEMU tells that the connection was lost
			}
			defer server.Close()
			go func() {
				_, _ = io.Copy(client, server)
				client.Close()
			}()
			_ = relay(server, client) // ends with the connection
		}()
	}
}

// From https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
const (
	nbdOption      = 0x49484156454F5054 // begins an option of the handshake
	nbdRequest     = 0x25609513         // begins a request
	nbdWrite       = 1                  // the only request that data follow
	nbdFUA         = 1
	nbdOptionHead  = 16
	nbdRequestHead = 28
)

// relay copies what a client of NBD says. It sets the flag FUA of each write of a journal.
func relay(server io.Writer, client io.Reader) error {
	in := bufio.NewReader(client)
	if _, err := io.CopyN(server, in, 4); err != nil { // the client's flags
		return err
	}
	for {
		head, err := in.Peek(nbdOptionHead)
		if err != nil {
			return err
		}
		if binary.BigEndian.Uint64(head) == nbdOption {
			if _, err := io.CopyN(server, in, nbdOptionHead+int64(binary.BigEndian.Uint32(head[12:]))); err != nil {
				return err
			}
			continue
		}
		if head, err = in.Peek(nbdRequestHead); err != nil {
			return err
		}
		size := nbdRequestHead
		if binary.BigEndian.Uint32(head) == nbdRequest && binary.BigEndian.Uint16(head[6:]) == nbdWrite {
			size += int(binary.BigEndian.Uint32(head[24:]))
		}
		message := make([]byte, size)
		if _, err := io.ReadFull(in, message); err != nil {
			return err
		}
		if size > nbdRequestHead && ofJournal(message[nbdRequestHead:]) {
			message[5] |= nbdFUA
		}
		if _, err := server.Write(message); err != nil {
			return err
		}
	}
}

// ofJournal tells whether a write is one of XFS's log, or of the journal or the superblock of ext4.
func ofJournal(data []byte) bool {
	const superblock = 1024                                         // where it begins; 56 is the offset of s_magic in it
	return bytes.HasPrefix(data, []byte{0xFE, 0xED, 0xBA, 0xBE}) || // XLOG_HEADER_MAGIC_NUM
		bytes.HasPrefix(data, []byte{0xC0, 0x3B, 0x39, 0x98}) || // JBD2_MAGIC_NUMBER
		len(data) >= 2*superblock && data[superblock+56] == 0x53 && data[superblock+57] == 0xEF
}
