// Package lab boots real machines for the end-to-end tests and the demo: Debian 12 with its own
// kernel, systemd, MariaDB and nginx, in QEMU, with NVMe disks that come and go while it runs.
//
// An image is made once and kept in the user's cache folder; a machine is a copy of it.
//
//	img, err := lab.Build(ctx, lab.Spec{
//		Debs:     []string{"build/bootagent_amd64.deb"},
//		Files:    map[string]lab.File{"/etc/bootagent/roles.d/mysql.yaml": {Data: role}},
//		Commands: [][]string{{"bootagent", "guard", "install"}},
//	}, log)
//	defer img.Close()
//
//	m, err := img.Machine(ctx, lab.Config{
//		Dir:   dir, // console.log and qemu.log stay there
//		Ports: []int{3306},
//		Files: map[string]lab.File{"/etc/bootagent/user-data": {Data: userData}},
//	}, log)
//	defer m.Close()
//
//	err = m.Boot(ctx) // returns when commands can be run in it; Start does not wait
//	err = m.WaitConsole(ctx, "Reached target multi-user.target")
//
//	disk, err := lab.NewDisk(filepath.Join(dir, "data.raw"), "vol0123456789abcdef0", 1<<30)
//	err = m.Plug(ctx, disk)
//	out, err := m.Output(ctx, "lsblk", "--noheadings", "--output", "SERIAL") // Run, to see the exit code
//	conn, err := net.Dial("tcp", m.Addr(3306))
//	err = m.Unplug(ctx, disk)
//
//	err = m.PowerOff(ctx) // the power button: logind shuts the machine down; Kill pulls the plug
//	log, err := m.Console() // what systemd said meanwhile: "Stopped mariadb.service", in order
//	err = m.Boot(ctx)     // the same machine again; disks stay plugged until Unplug
//
// Tests use package labtest, which closes machines, and keeps and prints the console of one whose
// test failed. Nothing here needs root: without it, mmdebstrap and the chroot run in a user
// namespace (Debian's uidmap). [Missing] names what the host lacks.
//
// The environment:
//
//	BOOTAGENT_LAB_ACCEL  QEMU's -accel; plain emulation by default, since a stock kernel does not
//	                     boot on every machine that has /dev/kvm
//	BOOTAGENT_LAB_KEEP   where labtest keeps what failed machines leave behind (default: build/lab)
//
// What it can't do: Kill is no power cut, as the host keeps what the guest wrote and never flushed.
// A booted machine can't be snapshotted, as QEMU's NVMe does not migrate.
package lab
