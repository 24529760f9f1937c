// Package region runs machines of the lab as instances of the fake cloud: each has its IMDS at
// 169.254.169.254 and reaches the region's EC2 and S3, a volume that is attached is a disk that is
// plugged in, and one that is detached is pulled.
//
//	r, err := region.New(img, dir, ec2.Typical(), log)
//	defer r.Close()
//	v, err := r.EC2.CreateVolume(ec2.Volume{Tags: map[string]string{"cluster": "orders"}})
//	i, err := r.Launch(ctx, "first", ec2.Launch{Role: "db", UserData: userData}, lab.Config{})
//	defer i.Close()
//	err = i.Boot(ctx) // the lab's machine
//	err = i.Terminate(ctx) // power-off; then the cloud detaches its volumes
package region

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"bootagent/test/cloud"
	"bootagent/test/cloud/ec2"
	"bootagent/test/lab"
)

// AgentFile is the agent.yaml of an image whose instances run here. IMDS is where it always is.
const AgentFile = "endpoints: {ec2: \"http://" + ec2Addr + "\", s3: \"http://" + s3Addr + "\"}\n"

const (
	imdsAddr = "169.254.169.254"
	ec2Addr  = "169.254.169.4"
	s3Addr   = "169.254.169.5"
)

// A Region is a cloud whose instances are machines of one image. Close it after its instances.
type Region struct {
	*cloud.Cloud
	img     *lab.Image
	dir     string
	sockets string // their folder: the path of a Unix socket is short
	log     *slog.Logger
}

// New makes a region. Volumes and what machines leave behind are files below dir.
func New(img *lab.Image, dir string, delays ec2.Delays, log *slog.Logger) (*Region, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	sockets, err := os.MkdirTemp("", "region-")
	if err != nil {
		return nil, err
	}
	r := &Region{
		Cloud: cloud.New(cloud.Config{Dir: dir, Delays: delays, Log: log}),
		img:   img, dir: dir, sockets: sockets, log: log,
	}
	if err := errors.Join(r.serve("ec2", r.EC2), r.serve("s3", r.S3)); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close ends the cloud.
func (r *Region) Close() error { return errors.Join(r.Cloud.Close(), os.RemoveAll(r.sockets)) }

func (r *Region) socket(name string) string { return filepath.Join(r.sockets, name) }

func (r *Region) serve(name string, h http.Handler) error {
	l, err := net.Listen("unix", r.socket(name))
	if err != nil {
		return err
	}
	return r.Serve(l, h)
}

// An Instance is an instance of the cloud and the machine that it is.
type Instance struct {
	*lab.Machine
	Cloud *ec2.Instance
}

// Launch makes an instance. EC2 starts it at once; its machine is off until Boot. Of the
// configuration, who the machine is and what it reaches are the region's.
func (r *Region) Launch(ctx context.Context, name string, launch ec2.Launch, config lab.Config) (*Instance, error) {
	i, err := r.EC2.Run(launch)
	if err != nil {
		return nil, err
	}
	if err := r.serve(i.ID, i.IMDS); err != nil {
		return nil, err
	}
	config.Dir = filepath.Join(r.dir, name)
	config.AssetTag, config.UUID = i.ID, uuid(i.ID)
	config.Servers = map[string]string{
		imdsAddr + ":80": r.socket(i.ID), ec2Addr + ":80": r.socket("ec2"), s3Addr + ":80": r.socket("s3"),
	}
	m, err := r.img.Machine(ctx, config, r.log)
	if err != nil {
		return nil, err
	}
	i.SetHardware(&hardware{machine: m, disks: make(map[string]*lab.Disk)})
	return &Instance{m, i}, nil
}

// Terminate shuts the machine down by its power button, as EC2 does, and waits until the cloud has
// the instance terminated and its volumes detached.
func (i *Instance) Terminate(ctx context.Context) error {
	if err := i.PowerOff(ctx); err != nil {
		return err
	}
	if err := i.Cloud.Terminate(); err != nil {
		return err
	}
	return i.Cloud.Wait(ctx, ec2.Terminated)
}

// uuid of an instance's firmware. EC2's begins with "ec2" (EC2 User Guide, "Detect whether a host
// is an EC2 instance").
func uuid(id string) string {
	x := fmt.Sprintf("%x", sha256.Sum256([]byte(id)))
	return fmt.Sprintf("ec2%s-%s-4%s-8%s-%s", x[:5], x[5:9], x[9:12], x[12:15], x[15:27])
}

// hardware plugs volumes into a machine.
type hardware struct {
	machine *lab.Machine

	mu    sync.Mutex
	disks map[string]*lab.Disk // by the volume's id
}

// Plug plugs a volume in.
func (h *hardware) Plug(ctx context.Context, v ec2.Volume) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	disk := &lab.Disk{Path: v.Path, Serial: v.Serial()}
	if err := h.machine.Plug(ctx, disk); err != nil {
		return err
	}
	h.disks[v.ID] = disk
	return nil
}

// Unplug pulls a volume.
func (h *hardware) Unplug(ctx context.Context, v ec2.Volume) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	disk := h.disks[v.ID]
	if disk == nil {
		return fmt.Errorf("volume %s is not plugged in", v.ID)
	}
	if err := h.machine.Unplug(ctx, disk); err != nil {
		return err
	}
	delete(h.disks, v.ID)
	return nil
}
