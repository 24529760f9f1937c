package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// A Config is what one cloud is made with; all of it may be left out.
type Config struct {
	Region  string // default eu-central-1, with the zones a, b and c
	Account string // default 123456789012

	// Dir is where the backing files of volumes go that are made without a Path. Without it they
	// have none, and Hardware has nothing to plug.
	Dir string

	// Delays are none by default. What takes time still happens beside the request that asked for
	// it, so wait for the state.
	Delays Delays

	Log *slog.Logger // default: nowhere
}

// Delays is how long EC2 takes until a state is left.
type Delays struct {
	Create    time.Duration // a volume, from creating
	Attach    time.Duration // an attachment, from attaching; what Plug takes comes on top
	Detach    time.Duration // an attachment, from detaching; what Unplug takes comes on top
	Start     time.Duration // an instance, from pending
	Stop      time.Duration // an instance, from stopping
	Terminate time.Duration // an instance, from shutting-down
}

// Typical is about what EC2 takes on a good day.
func Typical() Delays {
	return Delays{
		Create: 2 * time.Second, Attach: 2 * time.Second, Detach: 3 * time.Second,
		Start: 8 * time.Second, Stop: 20 * time.Second, Terminate: 20 * time.Second,
	}
}

// A Cloud is one account in one region. Its methods, and those of its parts, may be called from
// several goroutines.
type Cloud struct {
	EC2   *EC2
	S3    *S3
	IAM   *IAM
	Calls *Recorder // of all three services, IMDS among them

	config Config

	// ctx is that of what goes on beside requests: attaching, say. It ends with Close, and with it
	// the requests that are never answered.
	ctx     context.Context
	cancel  context.CancelFunc
	working sync.WaitGroup

	mu      sync.Mutex // held to begin what working waits for
	servers []*http.Server
}

// New makes an empty cloud. Close it.
func New(config Config) *Cloud {
	config.Region = cmp.Or(config.Region, "eu-central-1")
	config.Account = cmp.Or(config.Account, "123456789012")
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cloud{config: config, Calls: &Recorder{log: config.Log}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.IAM = newIAM(c)
	c.EC2 = newEC2(c)
	c.S3 = newS3(c)
	return c
}

// Region is where the cloud is.
func (c *Cloud) Region() string { return c.config.Region }

// Close ends all connections, those that were never answered among them, and returns when nothing
// goes on any more.
func (c *Cloud) Close() error {
	c.mu.Lock()
	c.cancel()
	servers := c.servers
	c.servers = nil
	c.mu.Unlock()
	var errs []error
	for _, server := range servers {
		errs = append(errs, server.Close())
	}
	c.working.Wait()
	return errors.Join(errs...)
}

// Listen serves one of the cloud's handlers on a port of the loopback interface, and gives its URL.
func (c *Cloud) Listen(h http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return "http://" + l.Addr().String(), c.Serve(l, h)
}

// Serve serves one of the cloud's handlers, or any other, until Close, and returns at once. The
// listener has to be of the loopback interface or a Unix socket: the cloud has no other protection.
func (c *Cloud) Serve(l net.Listener, h http.Handler) error {
	switch addr := l.Addr().(type) {
	case *net.UnixAddr:
	case *net.TCPAddr:
		if !addr.IP.IsLoopback() {
			return errors.Join(fmt.Errorf("cannot serve on %v: it is not of the loopback interface", addr), l.Close())
		}
	default:
		return errors.Join(fmt.Errorf("cannot serve on %v: neither TCP nor a Unix socket", addr), l.Close())
	}
	server := &http.Server{
		Handler:  h,
		ErrorLog: slog.NewLogLogger(c.config.Log.Handler(), slog.LevelDebug),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return errors.Join(fmt.Errorf("cannot serve on %v: the cloud is closed", l.Addr()), l.Close())
	}
	c.servers = append(c.servers, server)
	c.working.Go(func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.config.Log.Error("a server of the cloud ended", "addr", l.Addr().String(), "err", err)
		}
	})
	return nil
}

// later does something beside the request that asked for it, after a delay.
func (c *Cloud) later(delay time.Duration, do func(ctx context.Context)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	c.working.Go(func() {
		if sleep(c.ctx, delay) {
			do(c.ctx)
		}
	})
}

// sleep tells whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
