package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"bootagent/test/lab/program"
)

// A WriteCache is what happens to data that a guest writes to a disk and does not flush, when the
// machine is killed.
type WriteCache string

const (
	// HostCache is the cache of this host, which outlives the machine: nothing is lost.
	HostCache WriteCache = ""

	// Volatile is a cache that ends with the machine, as in a power cut: what was not flushed is lost.
	Volatile WriteCache = "writeback"

	// Deaf is Volatile, and ignores flushes: all that was written is lost. A power cut that loses
	// nothing on such a disk is not one.
	Deaf WriteCache = "unsafe"
)

// A server is an nbdkit that serves a disk to QEMU, and is the disk's volatile cache. Its cache filter
// keeps written data to itself until the client flushes (nbdkit-cache-filter(1)). What it then writes to the
// disk's file is safe: this host outlives the machine.
type server struct {
	dir      string // with the sockets
	cmd      *exec.Cmd
	exited   chan struct{}
	listener net.Listener
}

func (s *server) socket() string { return filepath.Join(s.dir, "nbd") }

// serve starts the server of a disk, or returns nil for a disk in the host's cache.
func (d *Disk) serve() (*server, error) {
	if d.Cache == HostCache {
		return nil, nil
	}
	path, err := program.Path("nbdkit")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "nbd") // the path of a socket has at most 107 bytes
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, exited: make(chan struct{})}
	behind := filepath.Join(dir, "server")
	s.cmd = exec.Command(path, "--foreground", "--unix", behind, "--filter=cache", "--filter=fua", "file", d.Path,
		"cache="+string(d.Cache), "fuamode=discard")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output bytes.Buffer
	s.cmd.Stderr = &output
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // as in start
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // it is killed
		}
		close(s.exited)
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for range 500 {
		if conn, err := net.Dial("unix", behind); err == nil {
			conn.Close()
			if s.listener, err = net.Listen("unix", s.socket()); err != nil {
				s.drop()
				return nil, err
			}
			go journalWriter{s.listener, behind}.serve()
			return s, nil
		}
		select {
		case <-s.exited:
			return nil, errors.Join(fmt.Errorf("nbdkit does not serve %s: %s", d.Path, output.Bytes()), os.RemoveAll(dir))
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.drop()
	return nil, fmt.Errorf("nbdkit does not serve %s within 10 s", d.Path)
}

// drop ends the server, and with it the data that was not flushed.
func (s *server) drop() {
	if s == nil {
		return
	}
	_ = s.cmd.Process.Kill() // fails only if it has exited
	<-s.exited
	if s.listener != nil {
		_ = s.listener.Close() // QEMU's connection ends with the server's
	}
	_ = os.RemoveAll(s.dir)
}
