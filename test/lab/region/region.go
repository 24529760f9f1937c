// Package region runs machines of the lab as instances of the fake cloud. Each instance has its IMDS at
// 169.254.169.254, and reaches the EC2 and S3 of the region. When the cloud attaches a volume, its disk
// is plugged into the machine; when the cloud detaches the volume, the disk is unplugged.
//
//	r, err := region.New(img, dir, ec2.Typical(), log)
//	defer r.Close()
//	v, err := r.EC2.CreateVolume(ec2.Volume{Tags: map[string]string{"cluster": "orders"}})
//	i, err := r.Launch(ctx, "first", ec2.Launch{Role: "db", UserData: userData}, lab.Config{})
//	defer i.Close()
//	err = i.Boot(ctx) // boots the machine
//	err = i.Terminate(ctx) // powers the machine off; then the cloud detaches its volumes
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
	"bootagent/test/lab/image"
	"bootagent/test/lab/qemu"
)

// AgentFile is the agent.yaml for an image whose instances run in a region. It sets the addresses of EC2
// and S3; IMDS has its usual address.
const AgentFile = "endpoints: {ec2: \"http://" + ec2Addr + "\", s3: \"http://" + s3Addr + "\"}\n"

const (
	imdsAddr = "169.254.169.254"
	ec2Addr  = "169.254.169.4"
	s3Addr   = "169.254.169.5"
)

// A Region is a cloud whose instances are machines of one image. Close its instances before it.
type Region struct {
	*cloud.Cloud
	img     *image.Image
	dir     string
	sockets string // their folder; the path of a Unix socket must be short
	log     *slog.Logger
}

// New makes a region. The files of its volumes and machines are below dir.
func New(img *image.Image, dir string, delays ec2.Delays, log *slog.Logger) (*Region, error) {
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

// Close closes the cloud.
func (r *Region) Close() error { return errors.Join(r.Cloud.Close(), os.RemoveAll(r.sockets)) }

func (r *Region) socket(name string) string { return filepath.Join(r.sockets, name) }

func (r *Region) serve(name string, h http.Handler) error {
	l, err := net.Listen("unix", r.socket(name))
	if err != nil {
		return err
	}
	return r.Serve(l, h)
}

// An Instance is an instance of the cloud, and its machine.
type Instance struct {
	*lab.Machine
	Cloud *ec2.Instance
}

// Launch makes an instance. EC2 reports it as started; its machine is off until Boot. Launch sets the
// folder, the UUID, the asset tag and the servers of the configuration.
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
	m, err := lab.New(ctx, r.img, config, r.log)
	if err != nil {
		return nil, err
	}
	i.SetHardware(&hardware{machine: m, disks: make(map[string]*qemu.Disk)})
	return &Instance{m, i}, nil
}

// Terminate presses the power button of the machine, as EC2 does, and waits until the cloud has
// terminated the instance and detached its volumes.
func (i *Instance) Terminate(ctx context.Context) error {
	if err := i.PowerOff(ctx); err != nil {
		return err
	}
	if err := i.Cloud.Terminate(); err != nil {
		return err
	}
	return i.Cloud.Wait(ctx, ec2.Terminated)
}

// uuid returns the UUID of an instance's firmware. On EC2 it begins with "ec2" (EC2 User Guide, "Detect whether a host
// is an EC2 instance").
func uuid(id string) string {
	x := fmt.Sprintf("%x", sha256.Sum256([]byte(id)))
	return fmt.Sprintf("ec2%s-%s-4%s-8%s-%s", x[:5], x[5:9], x[9:12], x[12:15], x[15:27])
}

// hardware plugs the disks of volumes into a machine.
type hardware struct {
	machine *lab.Machine

	mu    sync.Mutex
	disks map[string]*qemu.Disk // by volume ID
}

// Plug plugs the disk of a volume into the machine.
func (h *hardware) Plug(ctx context.Context, v ec2.Volume) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	disk := &qemu.Disk{Path: v.Path, Serial: v.Serial()}
	if err := h.machine.Plug(ctx, disk); err != nil {
		return err
	}
	h.disks[v.ID] = disk
	return nil
}

// Unplug unplugs the disk of a volume.
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
