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

	"bootagent/test/cloud/ec2"
	"bootagent/test/cloud/ec2/api"
	"bootagent/test/cloud/iam"
	"bootagent/test/cloud/s3"
	"bootagent/test/cloud/service"
)

// A Config is the configuration of a cloud. All fields are optional.
type Config struct {
	Region  string // default eu-central-1, with the zones a, b and c
	Account string // default 123456789012

	// Dir is the directory of the backing files of volumes that are created without a Path. If it is empty,
	// those volumes have no backing file, and Hardware has nothing to plug in.
	Dir string

	// Delays is zero by default. Changes still happen in the background, so wait for the state.
	Delays ec2.Delays

	Log *slog.Logger // by default nothing is logged
}

// A Cloud is one account in one region. Its methods and those of its parts may be called from several
// goroutines.
type Cloud struct {
	EC2   *api.Server
	S3    *s3.S3
	IAM   *iam.IAM
	Calls *service.Recorder // of EC2, S3 and IMDS

	env *service.Env

	mu      sync.Mutex // held by Serve and Close
	servers []*http.Server
}

// New returns an empty cloud. The caller has to close it.
func New(config Config) *Cloud {
	config.Region = cmp.Or(config.Region, "eu-central-1")
	config.Account = cmp.Or(config.Account, "123456789012")
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	env := service.NewEnv(config.Region, config.Account, config.Log)
	permissions := iam.New(env)
	return &Cloud{
		EC2:   api.New(env, permissions, ec2.New(env, permissions, config.Dir, config.Delays)),
		S3:    s3.New(env, permissions),
		IAM:   permissions,
		Calls: env.Calls,
		env:   env,
	}
}

// Region returns the name of the cloud's region.
func (c *Cloud) Region() string { return c.env.Region }

// Close ends all connections, also those that hang, and returns when all background work has ended.
func (c *Cloud) Close() error {
	c.mu.Lock()
	c.env.Stop()
	servers := c.servers
	c.servers = nil
	c.mu.Unlock()
	var errs []error
	for _, server := range servers {
		errs = append(errs, server.Close())
	}
	c.env.Wait()
	return errors.Join(errs...)
}

// Listen serves one of the cloud's handlers on a port of the loopback interface, and returns its URL.
func (c *Cloud) Listen(h http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return "http://" + l.Addr().String(), c.Serve(l, h)
}

// Serve serves one of the cloud's handlers, or any other handler, until Close. It returns at once. The listener has
// to be on the loopback interface or a Unix socket, because the cloud has no other protection.
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
		ErrorLog: slog.NewLogLogger(c.env.Log.Handler(), slog.LevelDebug),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	serving := c.env.Go(func(context.Context) {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.env.Log.Error("a server of the cloud ended", "addr", l.Addr().String(), "err", err)
		}
	})
	if !serving {
		return errors.Join(fmt.Errorf("cannot serve on %v: the cloud is closed", l.Addr()), l.Close())
	}
	c.servers = append(c.servers, server)
	return nil
}
