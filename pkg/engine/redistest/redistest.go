// Package redistest runs the real servers of Redis and Valkey in tests.
package redistest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Servers are the servers of this machine. Debian's redis-tools has the server
// under another name, and starts no service. Without any the test is skipped, or
// fails where tools are required.
func Servers(tb testing.TB) (paths []string) {
	tb.Helper()
	for _, name := range []string{"redis", "valkey"} {
		path, err := exec.LookPath(name + "-server")
		if err != nil {
			same, err := exec.LookPath(name + "-check-rdb")
			if err != nil {
				continue
			}
			path = filepath.Join(tb.TempDir(), name+"-server")
			if err := os.Symlink(same, path); err != nil {
				tb.Fatal(err)
			}
		}
		paths = append(paths, path)
	}
	if len(paths) == 0 {
		const lack = "no server of Redis or Valkey is here: apt-get install redis-tools"
		if os.Getenv("BOOTAGENT_REQUIRE_TOOLS") == "1" {
			tb.Fatal(lack)
		}
		tb.Skip(lack)
	}
	return paths
}

// A Server is one that runs.
type Server struct {
	tb      testing.TB
	command *exec.Cmd
	conn    net.Conn
	answers *bufio.Reader
	ended   chan error
}

// startWithin bounds the start and the stop of a server with little data.
const startWithin = 10 * time.Second

// Start starts a server in a directory, and returns when it has loaded its data.
// It is an error if the server ends before. The test ends it in any case.
func Start(tb testing.TB, path, cwd string, args ...string) (*Server, error) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "redis") // the path of a socket has at most 107 bytes
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	at := 0
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		at = 1 // behind the configuration file
	}
	all := append(append(append([]string{}, args[:at]...), "--port", "0", "--unixsocket", socket, "--daemonize", "no"), args[at:]...)
	s := &Server{tb: tb, command: exec.Command(path, all...), ended: make(chan error, 1)}
	s.command.Dir, s.command.Env, s.command.WaitDelay = cwd, []string{"LC_ALL=C"}, time.Second
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with what it forks to save
	if err := s.command.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() { s.ended <- s.command.Wait() }()
	tb.Cleanup(s.Kill)
	for deadline := time.Now().Add(startWithin); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-s.ended:
			s.ended <- err
			return nil, fmt.Errorf("%s %q ended: %v", path, all, err)
		default:
		}
		if s.conn, err = net.Dial("unix", socket); err != nil {
			continue
		}
		s.answers = bufio.NewReader(s.conn)
		if answer, err := s.do("PING"); err == nil && answer[0] == "PONG" {
			return s, nil
		}
		s.conn.Close()
	}
	return nil, fmt.Errorf("%s %q does not answer within %s", path, all, startWithin)
}

// Do sends a command, and returns its answer, of which an array has more than
// one. An error of the server fails the test.
func (s *Server) Do(words ...string) []string {
	s.tb.Helper()
	answer, err := s.do(words...)
	if err != nil {
		s.tb.Fatalf("%q: %v", words, err)
	}
	return answer
}

func (s *Server) do(words ...string) ([]string, error) {
	command := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		command += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(s.conn, command); err != nil {
		return nil, err
	}
	return s.answer()
}

// answer reads one answer in the protocol of Redis (RESP2).
func (s *Server) answer() ([]string, error) {
	line, err := s.answers.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSpace(line)
	n, _ := strconv.Atoi(line[1:])
	switch line[0] {
	case '-':
		return nil, errors.New(line[1:])
	case '$':
		if n < 0 {
			return []string{""}, nil
		}
		text := make([]byte, n+2)
		_, err := io.ReadFull(s.answers, text)
		return []string{string(text[:n])}, err
	case '*':
		var all []string
		for range n {
			more, err := s.answer()
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
		return all, nil
	}
	return []string{line[1:]}, nil
}

// Config is what the server says of all its settings.
func (s *Server) Config() map[string]string {
	s.tb.Helper()
	config := make(map[string]string)
	all := s.Do("CONFIG", "GET", "*")
	for i := 0; i+1 < len(all); i += 2 {
		config[all[i]] = all[i+1]
	}
	return config
}

// Stop stops the server as systemd does, and waits until it has ended.
func (s *Server) Stop() {
	s.tb.Helper()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		s.tb.Fatal(err)
	}
	select {
	case err := <-s.ended:
		s.ended <- err
	case <-time.After(startWithin):
		s.tb.Fatal("the server does not stop")
	}
}

// Kill ends the server, and what it forked, at once.
func (s *Server) Kill() {
	if s.conn != nil {
		s.conn.Close()
	}
	_ = syscall.Kill(-s.command.Process.Pid, syscall.SIGKILL)
	err := <-s.ended
	s.ended <- err
}
