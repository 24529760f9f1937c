package imdsd

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"bootagent/pkg/systemd/guard"
)

// A hook is a program for connect(2) in one family of addresses.
type hook struct {
	name   string // as BPFProgram= calls it
	attach uint32 // attach type
	words  []word // of the metadata service's address
}

// A word is a part of an address: where struct bpf_sock_addr has it, and its value.
type word struct {
	offset int16
	value  uint32
}

func hooks() (all []hook) {
	for _, addr := range guard.MetadataAddresses() {
		h := hook{name: "connect4", attach: unix.BPF_CGROUP_INET4_CONNECT}
		offset := int16(4) // of user_ip4, and user_ip6 follows it
		if addr.Is6() {
			h = hook{name: "connect6", attach: unix.BPF_CGROUP_INET6_CONNECT}
			offset = 8
		}
		for bytes := addr.AsSlice(); len(bytes) > 0; bytes = bytes[4:] {
			h.words = append(h.words, word{offset, binary.NativeEndian.Uint32(bytes)}) // both are in network byte order
			offset += 4
		}
		all = append(all, h)
	}
	return all
}

// instructionSize is the size of an instruction, in bytes.
const instructionSize = 8

// setsockopt is the number of the kernel's function bpf_setsockopt (linux/bpf.h).
const setsockopt = 49

// code returns the instructions (Documentation/bpf/standardization/instruction-set.rst
// of Linux) for
//
//	if (every word of the address is that of the metadata service)
//		bpf_setsockopt(context, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
//	return 1; // go on with connect(2)
func (h hook) code() (code []byte) {
	const (
		r0, r1, r2, r3, r4, r5, frame = 0, 1, 2, 3, 4, 5, 10

		load  = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
		store = unix.BPF_ST | unix.BPF_MEM | unix.BPF_W
		set   = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K
		copy  = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_X
		add   = unix.BPF_ALU64 | unix.BPF_ADD | unix.BPF_K
		jump  = unix.BPF_JMP32 | unix.BPF_JNE | unix.BPF_K // if not equal
		call  = unix.BPF_JMP | unix.BPF_CALL
		exit  = unix.BPF_JMP | unix.BPF_EXIT

		marking = 7 // instructions from store to call
	)
	emit := func(op, to, from byte, offset int16, value int32) {
		code = append(code, op, from<<4|to)
		code = binary.NativeEndian.AppendUint16(code, uint16(offset))
		code = binary.NativeEndian.AppendUint32(code, uint32(value))
	}
	for i, w := range h.words {
		emit(load, r2, r1, w.offset, 0)
		emit(jump, r2, 0, int16(2*(len(h.words)-1-i)+marking), int32(w.value))
	}
	emit(store, frame, 0, -4, guard.PassMark)
	emit(copy, r4, frame, 0, 0)
	emit(add, r4, 0, 0, -4)
	emit(set, r2, 0, 0, unix.SOL_SOCKET)
	emit(set, r3, 0, 0, unix.SO_MARK)
	emit(set, r5, 0, 0, 4)
	emit(call, 0, 0, 0, setsockopt)
	emit(set, r0, 0, 0, 1)
	emit(exit, 0, 0, 0, 0)
	return code
}
