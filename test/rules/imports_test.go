// Package rules holds the rules that the tree itself has to keep: who may
// import whom, what the programs may be made of, and what is in the packages.
// It reads the tree and what `make package` left in build/.
package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The roots of the tree and of what make built there.
const (
	root  = "../.."
	build = root + "/build"
)

// A row is what one package may import of other modules and of ours. Beside
// that it may import the standard library, but for what never names.
type row struct {
	pkg   string
	may   []string // packages of ours, or modules with all their packages
	never []string // of the standard library; os/... is os with all below it
	why   string
}

const (
	xsys      = "golang.org/x/sys"
	yaml      = "gopkg.in/yaml.v3"
	goSystemd = "github.com/coreos/go-systemd/v22"
	godbus    = "github.com/godbus/dbus/v5"
	fsnotify  = "github.com/fsnotify/fsnotify"
	renameio  = "github.com/google/renameio/v2"
	smithy    = "github.com/aws/smithy-go"
	aws       = "github.com/aws/aws-sdk-go-v2/aws"
	awsIMDS   = "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	awsRole   = "github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	awsSDK    = "github.com/aws/aws-sdk-go-v2"
	age       = "filippo.io/age"
)

var (
	all     = []string{"bootagent/pkg", "bootagent/cmd/bootagent", xsys, yaml, goSystemd, godbus, renameio, aws}
	learns  = []string{"bootagent/pkg/fault", "bootagent/pkg/host", "bootagent/pkg/role", "bootagent/pkg/settings", "bootagent/pkg/userdata"}
	network = []string{"net", "net/http"}
	effects = []string{"net", "net/http", "os/...", "syscall"}

	// declared is what the keys of a role file are made of.
	declared = []string{
		"bootagent/pkg/aws/name", "bootagent/pkg/policy", "bootagent/pkg/role/expand", "bootagent/pkg/role/key",
		"bootagent/pkg/strictyaml", "bootagent/pkg/syntax", "bootagent/pkg/unit",
	}
)

// table is the dependency table of the design. A new package gets a row here
// before it gets code.
var table = []row{
	{pkg: "cmd/bootagent", may: all, why: "wires all and knows how nothing works"},
	{pkg: "pkg/golden", never: network, why: "what tests compare; every test may import it, and nothing else does"},
	{pkg: "pkg/buildinfo", never: effects, why: "the version of the program; it asks nobody"},
	{pkg: "pkg/fault", never: effects, why: "kinds of errors; whoever makes or reads one may import it"},
	{pkg: "pkg/graph", may: []string{"bootagent/pkg/fault"}, never: effects, why: "steps; it knows no plan"},
	{pkg: "pkg/host", may: []string{"bootagent/pkg/aws/name", "bootagent/pkg/fault", "bootagent/pkg/role/ready", "bootagent/pkg/role/source"}, never: effects, why: "what is asked of the machine and the cloud; it asks nobody"},
	{pkg: "pkg/plan", may: slices.Concat(learns, []string{"bootagent/pkg/aws/cli", "bootagent/pkg/aws/imds", "bootagent/pkg/grammar"}), never: effects, why: "user-data and role files to a Plan; it reads nothing itself"},
	{
		pkg: "pkg/agent", may: slices.Concat(learns, []string{"bootagent/pkg/boot", "bootagent/pkg/data/auto", "bootagent/pkg/graph", "bootagent/pkg/plan", "bootagent/pkg/status", "bootagent/pkg/storage", "bootagent/pkg/unit", "bootagent/pkg/machine"}),
		never: effects, why: "the life of the agent; every effect is behind its Config, and the simulated world runs it",
	},
	{pkg: "pkg/account", never: network, why: "accounts of the machine; no files, no units"},
	{pkg: "pkg/child", may: []string{"bootagent/pkg/account", "bootagent/pkg/fault", "bootagent/pkg/graph", "bootagent/pkg/secret", xsys}, never: network, why: "processes that may hang"},
	{pkg: "pkg/journal", may: []string{"bootagent/pkg/status", "bootagent/pkg/unit", goSystemd, xsys}, never: []string{"net/http"}, why: "journald's socket"},
	{
		pkg:   "pkg/machine/engines",
		may:   []string{"bootagent/pkg/answers", "bootagent/pkg/child", "bootagent/pkg/engine", "bootagent/pkg/host", "bootagent/pkg/regular", "bootagent/pkg/shell", "bootagent/pkg/systemd", "bootagent/pkg/unit", "bootagent/pkg/datadir", xsys},
		never: network, why: "programs of engines, in children and units; which, pkg/engine says",
	},
	{pkg: "pkg/machine/disks", may: []string{"bootagent/pkg/block", "bootagent/pkg/host"}, never: network, why: "events of disks, gathered; who makes it listens to the kernel"},
	{pkg: "pkg/machine/marked", may: []string{"bootagent/pkg/block", "bootagent/pkg/filesystem/superblock", "bootagent/pkg/host", "bootagent/pkg/storage/diskinfo", xsys}, never: network, why: "it reads the superblocks of disks, in a child"},
	{pkg: "pkg/machine", may: all, why: "the real host: pkg/host by disks, filesystems, systemd and the cloud"},
	{
		pkg: "cmd/bootagent-generator", may: []string{"bootagent/pkg/role", "bootagent/pkg/systemd/guard", "bootagent/pkg/unit"}, never: network,
		why: "runs before all else in every boot, so it is small and asks nobody",
	},
	{pkg: "pkg/shell", never: effects, why: "words of a shell; the one place that quotes them"},
	{
		pkg: "pkg/aws/diagnose", may: []string{"bootagent/pkg/aws/cli", "bootagent/pkg/shell"}, never: []string{"net", "os/...", "syscall"},
		why: "what an error of AWS means; it calls nothing, and everybody who calls AWS imports it",
	},
	{pkg: "pkg/aws/cli", may: []string{"bootagent/pkg/shell"}, never: effects, why: "text of commands that a person runs"},
	{pkg: "pkg/aws/name", never: effects, why: "how AWS writes names; it asks nobody, and whoever names a volume or an object may import it"},
	{pkg: "pkg/program", never: network, why: "the one runner of programs that end by themselves"},
	{pkg: "pkg/strictyaml", may: []string{yaml}, never: effects, why: "the one place that knows YAML; text in, facts out"},
	{pkg: "pkg/unit", never: slices.Concat(effects, []string{"regexp"}), why: "names of units, and which may be held: the one list of that; whoever names one may import it"},
	{pkg: "pkg/userdata", may: []string{"bootagent/pkg/strictyaml"}, never: effects, why: "bytes to a Selection: no disk, no network"},
	{
		pkg:   "pkg/role",
		may:   append([]string{"bootagent/pkg/regular", "bootagent/pkg/role/directory", "bootagent/pkg/role/file", "bootagent/pkg/role/find", "bootagent/pkg/role/mountoption", "bootagent/pkg/role/param", "bootagent/pkg/role/ready", "bootagent/pkg/role/source", "bootagent/pkg/grammar"}, declared...),
		never: []string{"net", "net/http", "os/exec"},
		why:   "role files to a Plan: it reads those and touches nothing",
	},
	{pkg: "pkg/role/key", may: []string{"bootagent/pkg/strictyaml"}, never: effects, why: "declarations of keys, and how they are read; it knows none"},
	{pkg: "pkg/role/expand", may: []string{"bootagent/pkg/strictyaml"}, never: effects, why: "values into texts"},
	{pkg: "pkg/role/find", may: declared, never: effects, why: "how a role file says which disk a volume is; it looks at none"},
	{pkg: "pkg/role/mountoption", may: declared, never: effects, why: "which mount options a role may give a volume; it mounts nothing"},
	{pkg: "pkg/role/directory", may: declared, never: effects, why: "how a role file declares a data directory; it looks at none"},
	{pkg: "pkg/role/ready", may: declared, never: effects, why: "how a role file says what tells that a service serves; it asks none"},
	{pkg: "pkg/role/file", may: declared, never: effects, why: "how a role file declares configuration files; it writes none"},
	{pkg: "pkg/role/param", may: declared, never: effects, why: "how a role file declares parameters, and which values fit"},
	{pkg: "pkg/role/source", may: declared, never: effects, why: "how a role file writes sources; it knows none"},
	{
		pkg: "pkg/grammar", may: append([]string{"bootagent/pkg/engine", "bootagent/pkg/role", "bootagent/pkg/secret/sources"}, declared...), never: effects,
		why: "the one place that joins engines and sources for role files",
	},
	{pkg: "pkg/uuid", never: effects, why: "random UUIDs; it asks nobody but the kernel's source of random numbers"},
	{pkg: "pkg/syntax", may: []string{"bootagent/pkg/unit"}, never: effects, why: "names on the machine; it looks at none"},
	{pkg: "pkg/aws/name", never: effects, why: "names in AWS; it asks nobody"},
	{pkg: "pkg/settings", may: []string{"bootagent/pkg/secret", "bootagent/pkg/strictyaml"}, never: []string{"net", "net/http", "os/exec"}, why: "one file to Settings"},
	{pkg: "pkg/boot", may: []string{"bootagent/pkg/aws/name", "bootagent/pkg/data", "bootagent/pkg/fault", "bootagent/pkg/files", "bootagent/pkg/graph", "bootagent/pkg/host", "bootagent/pkg/role", "bootagent/pkg/role/file", "bootagent/pkg/service", "bootagent/pkg/storage", "bootagent/pkg/unit"}, never: effects, why: "the way of a boot decides; every effect is behind an interface of pkg/host"},
	{pkg: "pkg/files", may: []string{"bootagent/pkg/aws/name", "bootagent/pkg/fault", "bootagent/pkg/graph", "bootagent/pkg/host", "bootagent/pkg/role/file"}, never: effects, why: "the way of a file decides; of what it is put together of, it knows values and steps"},
	{pkg: "pkg/ramfile", may: []string{"bootagent/pkg/account"}, never: []string{"net", "net/http", "os/exec"}, why: "it writes files for others to read; it knows nothing of what is in them"},
	{pkg: "pkg/records", may: []string{"bootagent/pkg/aws/name", "bootagent/pkg/host", renameio}, never: []string{"net", "net/http", "os/exec"}, why: "files of the machine's own disk"},
	{pkg: "pkg/mountinfo", never: effects, why: "text of mountinfo to mounts; the one parser of it, which every package that reads the file may import"},
	{pkg: "pkg/block", may: []string{"bootagent/pkg/mountinfo", xsys}, never: network, why: "ioctls of disks; no cloud"},
	{pkg: "pkg/blankproof", may: []string{"bootagent/pkg/blankproof/signature", "bootagent/pkg/block", "bootagent/pkg/filesystem/superblock", "bootagent/pkg/program", xsys}, never: []string{"net", "net/http", "os/exec"}, why: "reads of a disk that pkg/block describes, blkid and wipefs as programs; it writes to no disk"},
	{pkg: "pkg/blankproof/signature", may: []string{"bootagent/pkg/block"}, never: effects, why: "the table of formats and their marks; it is data, and takes of pkg/block its units"},
	{pkg: "pkg/selinux", may: []string{xsys}, never: network, why: "one extended attribute; no policy, and no library of SELinux"},
	{pkg: "pkg/filesystem", may: []string{"bootagent/pkg/datadir", "bootagent/pkg/filesystem/superblock", "bootagent/pkg/mountinfo", "bootagent/pkg/selinux", xsys}, never: network, why: "extended attributes, statx, what the kernel says of a mounted filesystem, and mounts that are attached nowhere; no volumes"},
	{pkg: "pkg/filesystem/superblock", never: effects, why: "bytes of a superblock to a size; its caller reads the disk"},
	{pkg: "pkg/filesystem/growfs", may: []string{"bootagent/pkg/block", "bootagent/pkg/command", "bootagent/pkg/filesystem", "bootagent/pkg/filesystem/superblock", "bootagent/pkg/host", "bootagent/pkg/storage/diskinfo", xsys}, never: network, why: "a command: it identifies a disk and what is mounted of it, and has the kernel grow that"},
	{pkg: "pkg/filesystem/introduce", may: []string{"bootagent/pkg/block", "bootagent/pkg/command", "bootagent/pkg/filesystem", "bootagent/pkg/host", "bootagent/pkg/selinux", "bootagent/pkg/storage/diskinfo", xsys}, never: network, why: "a command: it identifies a disk, and has pkg/filesystem write to it"},
	{pkg: "pkg/datadir", may: []string{"bootagent/pkg/account", "bootagent/pkg/selinux", xsys}, never: network, why: "renameat2, which never replaces; no engines, no volumes, no units"},
	{pkg: "pkg/engine/pgcontrol", never: effects, why: "the state in PostgreSQL's control file; its caller reads the file"},
	{pkg: "pkg/engine/pgstart", may: []string{"bootagent/pkg/systemd/execstart"}, never: effects, why: "how a service starts PostgreSQL; its caller asks and reads"},
	{pkg: "pkg/engine/redisconf", may: []string{"bootagent/pkg/engine/redistest"}, never: effects, why: "the settings of Redis; its caller reads the files"},
	{pkg: "pkg/engine/redisdump", may: []string{"bootagent/pkg/engine/redisconf"}, never: effects, why: "the files of Redis; its caller reads them"},
	{pkg: "pkg/engine/redistest", never: []string{"net/http"}, why: "real servers for the tests of both; no program imports it"},
	{
		pkg: "pkg/engine", may: []string{"bootagent/pkg/datadir", "bootagent/pkg/engine/innodb", "bootagent/pkg/engine/mycnf", "bootagent/pkg/engine/pgcontrol", "bootagent/pkg/engine/pgstart", "bootagent/pkg/engine/redisconf", "bootagent/pkg/engine/redisdump", "bootagent/pkg/engine/redistest", "bootagent/pkg/engine/release", "bootagent/pkg/fault", "bootagent/pkg/host", "bootagent/pkg/shell", "bootagent/pkg/systemd/execstart"}, never: effects,
		why: "one file for each engine; it reads files by pkg/datadir, and asks and runs nothing; no volumes",
	},
	{pkg: "pkg/answers", may: []string{renameio}, never: []string{"net", "net/http", "os/exec"}, why: "what programs answered, in files; who makes one runs them"},
	{pkg: "pkg/engine/mycnf", may: []string{"bootagent/pkg/fault", "bootagent/pkg/host"}, never: effects, why: "options of MySQL and MariaDB to settings; its caller runs what it asks"},
	{pkg: "pkg/engine/innodb", may: []string{"bootagent/pkg/engine/release", "bootagent/pkg/host"}, never: effects, why: "the files of MySQL and MariaDB; its caller reads them"},
	{pkg: "pkg/engine/release", never: effects, why: "versions of MySQL and MariaDB; text to rules"},
	{
		pkg: "pkg/secret",
		may: []string{
			"bootagent/pkg/fault", "bootagent/pkg/host", "bootagent/pkg/role/source", "bootagent/pkg/secret/credential", "bootagent/pkg/regular", "bootagent/pkg/secret/sources", "bootagent/pkg/shell", "bootagent/pkg/strictyaml",
			age, renameio, xsys,
		},
		never: []string{"net", "net/http", "os/exec"},
		why:   "age and the cache; no volumes, and of units a name; who makes it hands in S3, and what runs a command for keys",
	},
	{
		pkg:   "pkg/secret/sources",
		may:   []string{"bootagent/pkg/aws/name", "bootagent/pkg/fault", "bootagent/pkg/host", "bootagent/pkg/policy", "bootagent/pkg/role/source", "bootagent/pkg/regular", "bootagent/pkg/syntax", xsys},
		never: []string{"net", "net/http", "os/exec"},
		why:   "where secrets come from; it decrypts nothing, and who makes it hands in S3",
	},
	{pkg: "pkg/regular", may: []string{xsys}, never: []string{"net", "net/http", "os/exec"}, why: "one file, read safely"},
	{pkg: "pkg/secret/credential", may: []string{"bootagent/pkg/fault", "bootagent/pkg/ramfile", xsys}, never: []string{"net", "net/http", "os/exec"}, why: "files on ramfs; it decrypts nothing"},
	{
		pkg:   "pkg/systemd",
		may:   []string{"bootagent/pkg/mountinfo", "bootagent/pkg/systemd/guard", "bootagent/pkg/systemd/holder", "bootagent/pkg/systemd/pid1", "bootagent/pkg/unit", goSystemd, godbus, xsys},
		never: []string{"net", "net/http", "os/exec"},
		why:   "transient units of the agent: mounts, grants and commands; it knows no plans, and it talks to PID 1 by pkg/systemd/pid1 only",
	},
	{
		pkg: "pkg/systemd/pid1", may: []string{"bootagent/pkg/systemd/execstart", "bootagent/pkg/systemd/pid1/pid1test", goSystemd, godbus, xsys}, never: []string{"net/http", "os/exec"},
		why: "D-Bus over a Unix socket: units and jobs of any kind",
	},
	{pkg: "pkg/systemd/pid1/pid1test", may: []string{goSystemd, godbus}, never: []string{"net/http", "os/exec"}, why: "a PID 1 for the tests of both; no program imports it"},
	{pkg: "pkg/systemd/execstart", may: []string{"bootagent/pkg/shell", xsys}, never: []string{"net", "net/http", "os/exec"}, why: "settings of a service to the command that it runs; of files it reads those of EnvironmentFile="},
	{pkg: "pkg/systemd/holder", may: []string{"bootagent/pkg/mountinfo", xsys}, never: []string{"net", "net/http", "os/exec"}, why: "it reads /proc and asks nobody"},
	{
		pkg: "pkg/systemd/guard", may: []string{"bootagent/pkg/shell", "bootagent/pkg/systemd/unitfile", "bootagent/pkg/unit"}, never: []string{"net", "net/http", "os/exec"},
		why: "the generator links it",
	},
	{pkg: "pkg/systemd/unitfile", may: []string{"bootagent/pkg/systemd/unitfile/unitfiletest", "bootagent/pkg/unit"}, never: []string{"net", "net/http", "os/exec"}, why: "unit files as systemd reads them; the generator links it"},
	{
		pkg: "pkg/systemd/imdsd", may: []string{"bootagent/pkg/command", "bootagent/pkg/systemd/guard", xsys}, never: []string{"net/http", "os/exec"},
		why: "two BPF programs, and the command that pins them; it asks no metadata service",
	},
	{
		pkg: "pkg/apparmor", may: []string{"bootagent/pkg/program", "bootagent/pkg/shell", "bootagent/pkg/systemd/guard", "bootagent/pkg/systemd/unitfile", renameio}, never: []string{"net", "net/http", "os/exec"},
		why: "profiles and their local files, and apparmor_parser as a program; the caller says what services are given",
	},
	{pkg: "pkg/systemd/unitfile/unitfiletest", never: network, why: "root directories, and the real systemd, for the tests of both; no program imports it"},
	{
		pkg:   "pkg/image",
		may:   []string{"bootagent/pkg/apparmor", "bootagent/pkg/secret", "bootagent/pkg/aws/name", "bootagent/pkg/engine", "bootagent/pkg/fault", "bootagent/pkg/filesystem", "bootagent/pkg/grammar", "bootagent/pkg/program", "bootagent/pkg/role", "bootagent/pkg/selinux", "bootagent/pkg/settings", "bootagent/pkg/shell", "bootagent/pkg/systemd/guard", "bootagent/pkg/systemd/unitfile", "bootagent/pkg/unit"},
		never: []string{"net", "net/http", "os/exec"},
		why:   "files of an image, and systemd's verifier as a program; it asks no machine and changes nothing",
	},
	{
		pkg: "pkg/aws/imds", may: []string{"bootagent/pkg/aws/cli", "bootagent/pkg/systemd/guard", aws, awsIMDS, awsRole, smithy, renameio, xsys}, never: []string{"os/exec"},
		why: "it asks the metadata service, and no other, by sockets that it may have to mark; it knows no plans",
	},
	{
		pkg: "pkg/storage", may: []string{"bootagent/pkg/aws/name", "bootagent/pkg/fault", "bootagent/pkg/graph", "bootagent/pkg/host", "bootagent/pkg/role", "bootagent/pkg/storage/known", "bootagent/pkg/storage/ledger", "bootagent/pkg/storage/plugged", "bootagent/pkg/storage/size", "bootagent/pkg/storage/stop", "bootagent/pkg/uuid"}, never: effects,
		why: "a volume as layers; of a plan it knows volumes, and no services",
	},
	{
		pkg: "pkg/data", may: []string{"bootagent/pkg/fault", "bootagent/pkg/graph", "bootagent/pkg/host", "bootagent/pkg/role", "bootagent/pkg/storage"}, never: effects,
		why: "a data directory from its engine's settings to its bind; of services it knows names",
	},
	{
		pkg: "pkg/data/auto", may: []string{"bootagent/pkg/fault", "bootagent/pkg/host", "bootagent/pkg/role", "bootagent/pkg/syntax"}, never: effects,
		why: "the answer of an engine to a path of the plan; it asks by the interfaces of its caller",
	},
	{
		pkg: "pkg/service", may: []string{"bootagent/pkg/fault", "bootagent/pkg/graph", "bootagent/pkg/host", "bootagent/pkg/role", "bootagent/pkg/unit"}, never: effects,
		why: "a service from its grant to its stop; of what it stands on it knows mount points and disks, and no volumes of the plan",
	},
	{pkg: "pkg/bypass", may: []string{"bootagent/pkg/fault", "bootagent/pkg/host", "bootagent/pkg/unit", renameio}, never: []string{"net", "net/http", "os/exec"}, why: "files in /run"},
	{pkg: "pkg/bypass/byhand", may: all, why: "a command: it asks the agent, and starts a service where no agent can"},
	{pkg: "pkg/release", may: []string{renameio}, never: []string{"net", "net/http", "os/exec"}, why: "one file"},
	{pkg: "pkg/storage/known", may: []string{"bootagent/pkg/host"}, never: effects, why: "which events of a disk say something new; it looks at no disk"},
	{pkg: "pkg/storage/plugged", may: []string{"bootagent/pkg/fault", "bootagent/pkg/host", "bootagent/pkg/role", "bootagent/pkg/syntax"}, never: effects, why: "which of the disks that are there is meant; it asks by pkg/host"},
	{pkg: "pkg/storage/size", may: []string{"bootagent/pkg/aws/name", "bootagent/pkg/host", "bootagent/pkg/role/find"}, never: effects, why: "whether the size of a disk is for good; it asks by pkg/host"},
	{
		pkg: "pkg/storage/ledger", may: []string{"bootagent/pkg/fault", "bootagent/pkg/host", "bootagent/pkg/shell", "bootagent/pkg/storage/stop"}, never: effects,
		why: "what a volume says of itself, and whose it is by that; who reads and writes it hands in the bytes",
	},
	{pkg: "pkg/storage/ledger/byhand", may: []string{"bootagent/pkg/command", "bootagent/pkg/control", "bootagent/pkg/terminal", xsys}, never: network, why: "a command: it asks a person, and the agent"},
	{pkg: "pkg/storage/stop", never: effects, why: "how services stopped, in words; a ledger keeps it"},
	{
		pkg: "pkg/storage/grow", may: []string{"bootagent/pkg/aws/name", "bootagent/pkg/fault", "bootagent/pkg/graph", "bootagent/pkg/host", "bootagent/pkg/role", "bootagent/pkg/storage"}, never: effects,
		why: "when a volume grows; every effect is behind an interface of pkg/host",
	},
	{
		pkg: "pkg/storage/health", may: []string{"bootagent/pkg/fault", "bootagent/pkg/graph", "bootagent/pkg/host", "bootagent/pkg/role", "bootagent/pkg/unit"}, never: effects,
		why: "whether a volume can be written; it asks by pkg/host",
	},
	{pkg: "pkg/storage/grow/byhand", may: []string{"bootagent/pkg/command", "bootagent/pkg/control"}, never: effects, why: "a command: it asks the agent"},
	{
		pkg: "pkg/storage/diskinfo", may: []string{"bootagent/pkg/blankproof", "bootagent/pkg/block", "bootagent/pkg/host"}, never: effects,
		why: "a disk and its proof in the types of pkg/host; the simulated world uses it, too",
	},
	{
		pkg: "pkg/storage/ebs", may: []string{"bootagent/pkg/aws/diagnose", "bootagent/pkg/aws/name", "bootagent/pkg/fault", "bootagent/pkg/host", "bootagent/pkg/policy"}, never: []string{"os/...", "syscall"},
		why: "it decides over an interface; its tests compare what it asks for with the policy",
	},
	{
		pkg: "pkg/aws/s3", may: []string{"bootagent/pkg/aws/diagnose", "bootagent/pkg/fault", awsSDK, smithy, xsys}, never: []string{"os/...", "syscall"},
		why: "S3 by the SDK: who needs an object does not import it",
	},
	{
		pkg: "pkg/aws/ec2", may: []string{"bootagent/pkg/aws/cli", "bootagent/pkg/aws/diagnose", "bootagent/pkg/aws/name", "bootagent/pkg/storage/ebs", awsSDK, smithy}, never: []string{"os/...", "syscall"},
		why: "EC2 by the SDK, which takes minutes to compile: what decides does not import it",
	},
	{pkg: "pkg/policy", never: effects, why: "needs to IAM's words; it asks nobody"},
	{
		pkg: "pkg/report", may: []string{"bootagent/pkg/fault", "bootagent/pkg/graph", "bootagent/pkg/host", "bootagent/pkg/plan", "bootagent/pkg/status", "bootagent/pkg/unit"}, never: []string{"net", "net/http", "os/exec", "syscall"},
		why: "it writes one file; what tells systemd is given to it, so the simulated world decides by the same code",
	},
	{pkg: "pkg/control", may: []string{"bootagent/pkg/fault", xsys}, never: []string{"os/exec"}, why: "HTTP over a Unix socket; it knows no plans, and no keys but their bytes"},
	{pkg: "pkg/command", may: []string{"bootagent/pkg/strictyaml"}, never: effects, why: "arguments to flags, and help: it knows no command"},
	{pkg: "pkg/terminal", may: []string{xsys}, never: []string{"net", "net/http", "os/exec", "syscall"}, why: "what a person types"},
	{
		pkg: "pkg/probe", may: []string{"bootagent/pkg/role/ready", "bootagent/pkg/systemd", "bootagent/pkg/unit", goSystemd, xsys}, never: []string{"os/exec"},
		why: "connections, requests and programs that ask the services of this machine; it decides nothing",
	},
	{pkg: "pkg/role/plantext", may: []string{"bootagent/pkg/role", "bootagent/pkg/role/file"}, never: effects, why: "a plan to text"},
	{pkg: "pkg/status", may: []string{fsnotify, xsys}, never: []string{"net", "net/http", "os/exec", "syscall"}, why: "how a state came about is not its concern"},
}

// listed is what "go list" says of a package.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestEveryPackageImportsOnlyWhatTheTableAllows(t *testing.T) {
	rows := map[string]row{}
	for _, r := range table {
		rows["bootagent/"+r.pkg] = r
	}
	found := map[string]bool{}
	for pkg := range list(t) {
		found[pkg.ImportPath] = true
		r, ok := rows[pkg.ImportPath]
		if !ok {
			t.Errorf("%s has no row in the dependency table; give it one that says what it may import, and why", pkg.ImportPath)
			continue
		}
		for _, path := range pkg.Imports {
			if problem := r.forbids(path); problem != "" {
				t.Errorf("%s imports %s, %s (%s)", pkg.ImportPath, path, problem, r.why)
			}
		}
		// A package's tests may do what they want with the standard library.
		r.never = nil
		for _, path := range slices.Concat(pkg.TestImports, pkg.XTestImports) {
			if problem := r.forbids(path); problem != "" && path != pkg.ImportPath && path != "bootagent/pkg/golden" {
				t.Errorf("the tests of %s import %s, %s (%s)", pkg.ImportPath, path, problem, r.why)
			}
		}
	}
	for path := range rows {
		if !found[path] {
			t.Errorf("the dependency table has a row for %s, which is not there", path)
		}
	}
}

// forbids says what is wrong with an import, or nothing.
func (r row) forbids(path string) string {
	below := func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	first, _, _ := strings.Cut(path, "/")
	foreign := first == "bootagent" || strings.Contains(first, ".")
	switch {
	case foreign && !slices.ContainsFunc(r.may, below):
		return "which its row does not allow"
	case slices.ContainsFunc(r.never, func(no string) bool {
		dir, tree := strings.CutSuffix(no, "/...")
		return path == no || tree && below(dir)
	}):
		return "which its row forbids"
	}
	return ""
}

// list gives all packages of the main module.
func list(t *testing.T) func(yield func(listed) bool) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(run(t, "go", "-C", root, "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")))
	return func(yield func(listed) bool) {
		for {
			var pkg listed
			err := dec.Decode(&pkg)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !yield(pkg) {
				return
			}
		}
	}
}

// banned are the packages of the standard library that no program may link,
// not even by way of another.
var banned = map[string]string{
	"text/template":  "finds methods by their name, so the linker keeps all there are",
	"html/template":  "the same",
	"net/http/pprof": "serves the agent's memory",
	"expvar":         "serves the agent's command line",
	"plugin":         "loads code at run time",
}

func TestNoProgramLinksWhatIsBanned(t *testing.T) {
	for _, program := range programs {
		deps := strings.Fields(string(run(t, "go", "-C", root, "list", "-deps", "./cmd/"+program.name)))
		for _, dep := range deps {
			if why, bad := banned[dep]; bad {
				t.Errorf("%s links %s, which %s", program.name, dep, why)
			}
		}
	}
}

// Where a program can reach a call of a method by a name that is only known
// when it runs, the linker keeps every exported method of every type.
func TestNoProgramCallsMethodsByName(t *testing.T) {
	for _, program := range programs {
		dump, err := exec.Command("go", "-C", root, "build", "-o", "/dev/null", "-ldflags=-dumpdep", "./cmd/"+program.name).CombinedOutput()
		if err != nil || !bytes.Contains(dump, []byte("main.main")) {
			t.Fatalf("the linker does not tell what %s holds: %v\n%s", program.name, err, dump)
		}
		for line := range strings.Lines(string(dump)) {
			// "from -> to <ReflectMethod>": who calls it, and what calls by name.
			if strings.HasSuffix(strings.TrimSpace(line), "<ReflectMethod>") {
				t.Errorf("%s: %s", program.name, strings.TrimSpace(line))
			}
		}
	}
}

// run runs a program and gives its output; one that fails fails the test.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.Bytes()
}
