// Package imdsd lets a service with imds: allow pass the lock of systemd-imdsd.
//
// Where systemd.imds.network=locked is set, systemd-networkd has a route of type
// "prohibit" to the metadata service, which only packets with a firewall mark pass
// (systemd-imdsd@.service(8), since 261). A process marks its packets by SO_MARK,
// which takes a capability that a service of a role has no need of.
//
// So the kernel marks them: the command bootagent pass-imds pins two BPF programs
// below /sys/fs/bpf, and BPFProgram= in the guard of the service makes systemd attach
// them to the control group of the service at each of its starts. They run at
// connect(2), before the kernel looks for a route, and mark a socket that connects to
// the metadata service. They change no other socket, and nothing where there is no
// lock.
package imdsd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"bootagent/pkg/command"
	"bootagent/pkg/systemd/guard"
)

// Command returns the command, for the list of the program's commands.
func Command() command.Command {
	return command.Command{
		Name: "pass-imds", RunBy: guard.PassUnit, Raw: run,
		Summary: "let services with imds: allow pass the lock of systemd-imdsd",
	}
}

func run(_ context.Context, args []string, _ io.Writer) error {
	if err := command.Parse("pass-imds", args, nil, 0, 0); err != nil {
		return err
	}
	return pin(guard.PassDir)
}

// pin loads the programs and pins them in a directory of a BPF file system, in place
// of those that are there. Services that run keep the ones that they have.
func pin(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, h := range hooks() {
		program, err := h.load()
		if err != nil {
			return err
		}
		err = pinAt(program, filepath.Join(dir, h.name))
		unix.Close(program)
		if err != nil {
			return err
		}
	}
	return nil
}

// load loads a program into the kernel and returns its descriptor.
func (h hook) load() (fd int, err error) {
	code, license := h.code(), []byte{0}
	// The beginning of struct bpf_attr for BPF_PROG_LOAD, see bpf(2) and linux/bpf.h.
	attr := struct {
		kind, count    uint32
		code, license  uint64
		level, size    uint32
		log            uint64
		version, flags uint32
		name           [16]byte
		device, attach uint32
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_SOCK_ADDR, count: uint32(len(code) / instructionSize),
		code: address(code), license: address(license), attach: h.attach,
	}
	copy(attr.name[:len(attr.name)-1], "imds_"+h.name)
	fd, err = bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if err != nil {
		return -1, fmt.Errorf("cannot load the BPF program for %s: %w", h.name, err)
	}
	return fd, nil
}

func pinAt(program int, path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	name := append([]byte(path), 0)
	attr := struct {
		path           uint64
		program, flags uint32
	}{path: address(name), program: uint32(program)}
	_, err := bpf(unix.BPF_OBJ_PIN, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(name)
	if err != nil {
		return fmt.Errorf("cannot pin the BPF program %s: %w", path, err)
	}
	return nil
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

func bpf(what uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	result, _, errno := unix.Syscall(unix.SYS_BPF, what, uintptr(attr), size)
	if errno != 0 {
		return -1, os.NewSyscallError("bpf", errno)
	}
	return int(result), nil
}
