package e2e

import "strings"

// prober is a program that probes: what it does depends on its first argument.
const prober = `#!/bin/sh
case $1 in
who) echo "$(id -un) $2 $(pwd)"; touch /srv/written /tmp/written /run/written 2>/dev/null && exit 0; exit 3 ;;
loading) echo "LOADING the dataset" >&2; exit 1 ;;
endless) exec yes n ;;
leaves) setsid sleep 7777 & exit 0 ;;
metadata) timeout 20 bash -c 'exec 3<>/dev/tcp/169.254.169.254/81' && exit 0; exit 4 ;;
esac
`

// probes has nginx be probed in each way, with real sockets and programs.
func probes(g guest) {
	g.sh("printf '%%s' '%s' >/usr/local/bin/prober; chmod 755 /usr/local/bin/prober", strings.ReplaceAll(prober, "'", `'\''`))
	g.sh("cp /etc/bootagent/roles.d/web.yaml /root/web.yaml")
	ask := func(ready string) {
		g.sh("sed 's#^  nginx.service:.*#  nginx.service: {ready: {%s, interval: 1s, try-timeout: 5s, timeout: 3m}}#' /root/web.yaml >/etc/bootagent/roles.d/web.yaml; bootagent retry", ready)
	}
	const answer = `bootagent status --json | tr -d '\n' | grep -o '"answer": "[^"]*"'`
	serves := func(ready, want string) {
		g.t.Helper()
		ask(ready)
		g.until(settles, "bootagent wait --timeout 60s")
		g.says(answer, want)
	}
	waits := func(ready, want string) {
		g.t.Helper()
		ask(ready)
		g.until(settles, "%s", "bootagent status >/root/told; test $? = 4 && grep -F 'waiting since' /root/told | grep 'nginx.service to serve, as' | grep -q -F -e 'the last answer is: "+want+"'")
		g.until(settles, "%s", answer+" | grep -q -F -e '"+want+"'")
	}
	waits("tcp: 127.0.0.1:81", "connection refused")
	serves("tcp: localhost:80", "it accepts a connection")
	waits("unix: /run/none.sock", "no such file or directory")
	serves("unix: /run/systemd/private", "it accepts a connection")
	waits("http: http://127.0.0.1/none", "404 Not Found")
	serves("http: http://127.0.0.1/", "200 OK")
	waits("command: [/usr/local/bin/none]", "exited with status 203, as /usr/local/bin/none can")
	waits("command: [/usr/local/bin/prober, loading]", "exited with status 1: LOADING the dataset")
	waits("command: [/usr/local/bin/prober, endless]", "no answer within 5s: n; n; n")
	// The metadata service, as far as a probe can tell. It is a local address here.
	g.sh("ip address add 169.254.169.254/32 dev lo; cd /run/systemd/system; printf '[Socket]\\nListenStream=169.254.169.254:81\\nAccept=yes\\n' >imds.socket; " +
		"printf '[Service]\\nExecStart=/bin/true\\n' >imds@.service; systemctl daemon-reload; systemctl start imds.socket")
	g.is("0", "/usr/local/bin/prober metadata; echo $?")
	ask("command: [/usr/local/bin/prober, metadata]")
	g.until(settles, "%s", answer+" | grep -q -e 'no answer within 5s' -e 'exited with status 4'")
	g.sh("systemctl stop imds.socket; ip address delete 169.254.169.254/32 dev lo")
	waits("command: [/usr/local/bin/prober, who, \"$HOME %n\"], user: www-data", "exited with status 3: www-data $HOME %n /")
	g.is("", "ls /srv/written /tmp/written /run/written 2>/dev/null")
	serves("command: [/usr/local/bin/prober, leaves]", "exited with status 0")
	g.is("", "pgrep --full 'sleep 777[7]|yes [n]'")
	g.is("", "ls /run/bootagent/*.out 2>/dev/null; systemctl list-units --all --plain --no-legend 'bootagent-probe-*'")
	g.sh("cp /root/web.yaml /etc/bootagent/roles.d/web.yaml; bootagent retry")
	g.until(settles, "bootagent wait --timeout 60s")
}
