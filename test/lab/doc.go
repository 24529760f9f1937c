// Package lab boots virtual machines for the end-to-end tests and the demo: Debian with its own kernel,
// systemd, MariaDB and nginx, in QEMU, with NVMe disks that are plugged and unplugged while the machine
// runs. Debian is version 12 on amd64, or what a platform of package image has. A machine with arm64 boots
// by UEFI, in emulation.
//
// Package image builds an image once and keeps it in the user's cache folder. Each machine has a copy
// of the image's disk. Package qemu runs the process of a machine that is on.
//
//	img, err := image.Build(ctx, image.Spec{
//		Debs:     []string{"build/bootagent_amd64.deb"},
//		Files:    map[string]image.File{"/etc/bootagent/roles.d/mysql.yaml": {Data: role}},
//		Commands: [][]string{{"bootagent", "guard", "install"}},
//	}, log)
//	defer img.Close()
//
//	m, err := lab.New(ctx, img, lab.Config{
//		Dir:   dir, // console.log and qemu.log stay there
//		Ports: []int{3306},
//		Files: map[string]image.File{"/etc/bootagent/user-data": {Data: userData}},
//	}, log)
//	defer m.Close()
//
//	err = m.Boot(ctx) // returns when the machine can run commands; Start does not wait
//	err = m.WaitConsole(ctx, "Reached target multi-user.target")
//
//	disk, err := qemu.NewDisk(filepath.Join(dir, "data.raw"), "vol0123456789abcdef0", 1<<30)
//	err = m.Plug(ctx, disk)
//	out, err := m.Output(ctx, "lsblk", "--noheadings", "--output", "SERIAL") // Run returns the exit code
//	conn, err := net.Dial("tcp", m.Addr(3306))
//	err = m.Unplug(ctx, disk)
//
//	err = m.PowerOff(ctx) // presses the power button: logind shuts the machine down; Kill does not
//	log, err := m.Console() // contains, in order, lines such as "Stopped mariadb.service"
//	err = m.Boot(ctx)     // boots the same machine again; disks stay plugged until Unplug
//
// Tests use package labtest. It closes machines, and keeps and prints the console of a machine whose
// test failed. Nothing here needs root: an ordinary user gets a user namespace for mmdebstrap and the
// chroot (Debian's package uidmap). [bootagent/test/lab/program.Missing] names the packages that the
// host lacks.
//
// The environment:
//
//	BOOTAGENT_LAB_PLATFORM  the platform of images that name none (default: bookworm), see image.Platforms
//	BOOTAGENT_LAB_ACCEL  QEMU's -accel. The default is plain emulation, because a stock kernel does
//	                     not boot on every host that has /dev/kvm.
//	BOOTAGENT_LAB_KEEP   the folder where labtest keeps the files of failed machines (default: build/lab)
//
// Limits: Kill is a power cut for disks with a volatile cache only.
// A booted machine cannot be snapshotted, because QEMU cannot migrate NVMe devices.
package lab
