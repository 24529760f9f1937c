package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"bootagent/test/lab/image"
	"bootagent/test/lab/labtest"
)

// An engine is one service of the machine that the contract is made on, and what a test needs to know of
// it. VERSION is the major version of the image's PostgreSQL.
type engine struct {
	name    string // in the contract
	example string // the role of the package that has it
	unit    string
	running string   // prints the processes of the server
	mounts  []string // what it needs, in the order in which it is unmounted; none if it has no volume

	// roads start it, in addition to those that every unit has. Some start the server without its service:
	// they find no data. All have to fail while the service is held.
	roads []string

	create string // makes a table, or what is like that, without rows
	insert string // adds a row
	count  string // prints how many rows there are
	answer string // what count prints, if it is not a number
	says   string // what the agent reads in the engine's files after a clean stop
}

// engines returns the engines of a platform.
func engines(image.Platform) []engine {
	return []engine{
		{
			name: "MariaDB", example: "mysql", unit: "mariadb.service", running: "pidof mariadbd",
			mounts: []string{"/var/lib/mysql", "/srv/data"},
			roads: []string{
				"systemctl restart mysql", "systemctl start mysqld.service", "service mariadb start", "/etc/init.d/mariadb start",
			},
			create: `mariadb -e "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY)"`,
			insert: `mariadb -e "INSERT INTO shop.orders VALUES ()"`,
			count:  `mariadb -Ne "SELECT COUNT(*) FROM shop.orders"`,
		},
		{
			name: "PostgreSQL", example: "postgres", unit: "postgresql@VERSION-main.service", running: "pidof postgres",
			mounts: []string{"/var/lib/postgresql/VERSION/main", "/var/lib/postgresql/VERSION/pg_wal", "/srv/data", "/srv/log"},
			roads: []string{
				"pg_ctlcluster VERSION main start", "pg_ctlcluster VERSION main start -- -t 5",
				"runuser -u postgres -- pg_ctlcluster VERSION main start",
				"systemctl restart postgresql; systemctl is-active postgresql@VERSION-main", "service postgresql start; systemctl is-active postgresql@VERSION-main",
			},
			create: `runuser -u postgres -- psql -qXc "CREATE TABLE orders (id SERIAL)"`,
			insert: `runuser -u postgres -- psql -qXc "INSERT INTO orders DEFAULT VALUES"`,
			count:  `runuser -u postgres -- psql -XAtc "SELECT COUNT(*) FROM orders"`,
			says:   "pg_control: shut down",
		},
		{
			name: "Redis", example: "redis", unit: "redis-server.service",
			running: "pidof redis-server redis-check-rdb", // Debian's server is a link to it
			mounts:  []string{"/var/lib/redis", "/srv/data"},
			roads:   []string{"systemctl restart redis", "service redis-server start", "/etc/init.d/redis-server start"},
			create:  "true",
			insert:  "redis-cli RPUSH orders new",
			count:   "redis-cli --raw LLEN orders",
		},
		{
			name: "none", example: "kafka", unit: "kafka.service", running: "pgrep -f '^/usr/bin/perl /usr/local/bin/broker'",
			mounts: []string{"/var/lib/kafka", "/var/lib/kafka-import", "/srv/data", "/srv/log"},
			create: "true",
			insert: "echo APPEND | nc -N -w 20 127.0.0.1 9092",
			count:  "echo COUNT | nc -N -w 20 127.0.0.1 9092",
		},
		{
			name: "nginx", example: "web", unit: "nginx.service", running: "pidof nginx",
			roads:  []string{"service nginx start", "/etc/init.d/nginx start"},
			create: "true",
			insert: "true",
			count:  "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 20 127.0.0.1 8080 | tail -n 1",
			answer: greeting + " of orders",
		},
	}
}

// greeting is the secret that nginx serves.
const greeting = "canary-greeting-24d1"

// broker is the stand-in for Kafka. It keeps a message in the file of a topic, and has synced it before it
// answers. Like Kafka, it starts only on storage that was made for it.
const broker = `#!/usr/bin/perl
use strict;
use warnings;
use IO::Handle;
use IO::Socket::INET;
my $dir = shift;
open(my $meta, '<', "$dir/meta.properties") or die "no formatted storage in $dir: $!";
open(my $log, '+>>', "$dir/orders.log") or die "cannot open $dir/orders.log: $!";
seek($log, 0, 0);
my $count = () = <$log>;
my $server = IO::Socket::INET->new(LocalPort => 9092, Listen => 64, ReuseAddr => 1) or die "cannot listen: $@";
while (my $client = $server->accept) {
	while (my $line = <$client>) {
		if ($line =~ /^APPEND/) {
			print {$log} "message\n" or die "cannot append: $!";
			$log->flush && $log->sync or die "cannot sync: $!";
			$count++;
		}
		print {$client} "$count\n";
		$client->flush;
	}
	close $client;
}
`

// site is nginx's configuration, which the agent writes.
const site = `server {
  listen 8080;
  location / { default_type text/plain; return 200 "${secret.greeting} of ${params.site}\n"; }
}
`

// allOfOne makes one role of the example roles of the package, so that one machine runs all engines. Each
// service needs what it needs in its example, and what is added here.
func allOfOne(t *testing.T, engines []engine) []byte {
	t.Helper()
	type object = map[string]any
	all := object{
		"version": 1, "role": "contract",
		"params":  object{"disk": object{"pattern": "vol[0-9a-f]{17}"}, "site": object{}},
		"volumes": object{"log": object{"find": object{"serial": logSerial}, "format": "if-blank", "mount": "/srv/log"}},
		"secrets": object{"greeting": object{"from": "file:///etc/bootagent/secrets/greeting.age", "services": []string{"nginx.service"}}},
		"files":   object{"site.conf": object{"content": site, "services": []string{"nginx.service"}}},
		"data": object{
			"wal": object{
				"volume": "log", "dir": "wal", "bind": "/var/lib/postgresql/VERSION/pg_wal", "engine": "none", "owner": "postgres", "if-absent": "initialize",
			},
			"import": object{
				"volume": "log", "dir": "import", "bind": "/var/lib/kafka-import", "engine": "none", "owner": "kafka", "if-absent": "wait",
			},
		},
		"services": object{},
	}
	more := map[string][]string{"postgres": {"data.wal"}, "kafka": {"data.import"}, "web": {"secret.greeting", "file.site.conf"}}
	for _, e := range engines {
		text, err := os.ReadFile(filepath.Join("../../packaging/roles", e.example+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		named := strings.NewReplacer("postgresql/15/", "postgresql/VERSION/", "postgresql@15-", "postgresql@VERSION-").Replace(string(text))
		var role struct {
			Volumes, Data map[string]any
			Services      map[string]map[string]any
		}
		if err := yaml.Unmarshal([]byte(named), &role); err != nil {
			t.Fatal(err)
		}
		needs := slices.Clone(more[e.example])
		for name, volume := range role.Volumes {
			all["volumes"].(object)[name] = volume
		}
		for name, data := range role.Data {
			all["data"].(object)[name] = data
			needs = append(needs, "data."+name)
		}
		for name, service := range role.Services {
			service["needs"] = needs
			all["services"].(object)[name] = service
		}
	}
	text, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// allEngines is an image with all engines of a platform in one role, and with units that try to start each
// of them in every other way there is.
func allEngines(t *testing.T, on image.Platform, engines []engine) *image.Image {
	t.Helper()
	files := map[string]image.File{
		"/etc/bootagent/agent.yaml":            {Data: []byte("user-data: {file: /etc/bootagent/user-data}\n")},
		"/etc/bootagent/roles.d/contract.yaml": {Data: allOfOne(t, engines)},
		"/etc/nginx/conf.d/site.conf":          {Data: []byte("include /run/bootagent/files/site.conf;\n")},
		"/usr/local/bin/broker":                {Data: []byte(broker), Mode: 0o755},
		"/etc/systemd/system/kafka.service": {Data: []byte(`[Unit]
Description=Stand-in for Kafka
[Service]
User=kafka
ExecStart=/usr/bin/perl /usr/local/bin/broker /var/lib/kafka
TimeoutStopSec=15min
[Install]
WantedBy=multi-user.target
`)},
		"/etc/systemd/system/qemu-guest-agent.service.d/isolate.conf": {Data: []byte("[Unit]\nIgnoreOnIsolate=yes\n")},
	}
	services := "[Unit]\nAllowIsolate=yes\nRequires=sysinit.target\nAfter=sysinit.target\n"
	enable := []string{"systemctl", "enable", "redis-server.service", "kafka.service"}
	for _, e := range engines {
		files["/etc/systemd/system/needs-"+e.example+".service"] = image.File{Data: []byte(`[Unit]
Requires=` + e.unit + `
After=` + e.unit + `
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
`)}
		files["/etc/systemd/system/poke-"+e.example+".timer"] = image.File{Data: []byte("[Timer]\nOnActiveSec=1\nUnit=" + e.unit + "\n[Install]\nWantedBy=timers.target\n")}
		files["/etc/systemd/system/front-"+e.example+".socket"] = image.File{Data: []byte("[Socket]\nListenStream=/run/front-" + e.example + ".sock\nService=" + e.unit + "\n[Install]\nWantedBy=sockets.target\n")}
		services += "Requires=" + e.unit + "\nAfter=" + e.unit + "\n"
		enable = append(enable, "needs-"+e.example+".service", "poke-"+e.example+".timer", "front-"+e.example+".socket")
	}
	files["/etc/systemd/system/lab-services.target"] = image.File{Data: []byte(services)} // what a person starts, and isolates
	return labtest.Image(t, image.Spec{
		Platform: on,
		Debs:     []string{deb(t)},
		Files:    files,
		Commands: [][]string{
			{"useradd", "--system", "--user-group", "--home-dir", "/nonexistent", "kafka"},
			{"install", "-d", "-o", "kafka", "-g", "kafka", "-m", "0750", "/usr/share/kafka/storage", "/var/lib/kafka", "/var/lib/kafka-import"},
			{"sh", "-c", "echo cluster.id=lab >/usr/share/kafka/storage/meta.properties; chown kafka:kafka /usr/share/kafka/storage/meta.properties"},
			// Each release of Debian has another PostgreSQL. Its clusters start at boot, as its packages leave them.
			{"sh", "-c", "sed -i s/VERSION/$(ls /etc/postgresql)/g /etc/bootagent/roles.d/* /etc/systemd/system/*-postgres.* /etc/systemd/system/lab-services.target; rm /etc/postgresql/*/*/start.conf"},
			// Clients are outside of the machine.
			{"sh", "-c", "cd /etc/postgresql/*/main && echo \"listen_addresses = '*'\" >conf.d/lab.conf && echo host all all all scram-sha-256 >>pg_hba.conf"},
			// Each write of Redis is on the disk before the client hears of it.
			{
				"sed", "-i", "s/^appendonly .*/appendonly yes/; s/^appendfsync .*/appendfsync always/; s/^bind .*/bind 0.0.0.0/; s/^protected-mode .*/protected-mode no/",
				"/etc/redis/redis.conf",
			},
			enable,
			{"bootagent", "guard", "install"},
			{"bootagent", "guard", "check"},
		},
	})
}
