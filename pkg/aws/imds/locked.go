package imds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bootagent/pkg/systemd/guard"
)

// dialer connects to the service, also where the way to it is barred for all
// but those that know the mark.
func dialer(within time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	plain := net.Dialer{Timeout: within}
	marked := plain
	marked.Control = mark
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := plain.DialContext(ctx, network, address)
		if !barred(err) {
			return conn, err
		}
		if conn, again := marked.DialContext(ctx, network, address); again == nil || !barred(again) {
			return conn, again
		}
		return nil, err
	}
}

// barred tells whether this machine itself refused a connection: a route of
// type "prohibit" gives EACCES (ip-route(8)), a packet filter may give EPERM.
func barred(err error) bool { return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) }

// mark marks the packets of a socket. It takes CAP_NET_RAW or CAP_NET_ADMIN,
// the former since Linux 5.17 (socket(7)).
func mark(_, _ string, c syscall.RawConn) error {
	var marking error
	err := c.Control(func(fd uintptr) {
		marking = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, guard.PassMark)
	})
	if err = errors.Join(err, marking); err != nil {
		return fmt.Errorf("cannot mark the packets: %w", err)
	}
	return nil
}
