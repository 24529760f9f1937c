package role_test

import (
	"fmt"
	"strings"
	"testing"

	"bootagent/pkg/grammar"
)

// What a tired person writes is answered with what would be right, at once.
func TestTheFirstCureIsTheRightOne(t *testing.T) {
	const (
		head     = "version: 1\nrole: db\n"
		services = "services: {db.service: {}}\n"
		params   = "params: {cluster: {}}\n"
	)
	volume := func(text string) string { return head + params + "volumes: {data: {" + text + "}}\n" + services }
	data := func(text string) string {
		return head + "volumes: {data: {}}\ndata: {sql: {volume: data, dir: sql, bind: /var/lib/sql, engine: mariadb, owner: mysql, " + text + "}}\n" + services
	}
	replaced := func(old, with string) string { return strings.Replace(data("if-absent: fail"), old, with, 1) }
	secret := func(text string) string { return head + "secrets: {a: {" + text + "}}\n" + services }
	from := func(text string) string { return secret("from: " + text + ", services: [db.service]") }
	sources := " (allowed: " + strings.Join(grammar.All().Sources.Forms(), ", ") + ")"
	const name = "a name (lower-case letters, digits and dashes, beginning with a letter)"
	for _, c := range []struct{ what, src, want string }{
		{"format: true", volume("format: true"), `4:26: "format" in volume "data" can't be "true" (allowed: never, if-blank)`},
		{"pick: 1", volume("find: {tags: {a: b}, pick: 1}"), `4:45: "pick" in find of volume "data" can't be "1" (allowed: one, any-free)`},
		{"owner: 999", replaced("owner: mysql", "owner: 999"), `4:82: "owner" in data "sql" must be the name of a user, such as mysql, not a number`},
		{"owner in quotes", replaced("owner: mysql", `owner: "999"`), `4:82: data "sql": owner: a user's number; write the user's name, such as mysql`},
		{"owner and group", replaced("owner: mysql", "owner: mysql:mysql"), `4:82: data "sql": owner: a user and a group; write the user's name alone`},
		{"dir: .", replaced("dir: sql", "dir: ."), `4:33: data "sql": dir: data can't be the root of the volume, which also holds lost+found; name a directory below it, such as mysql, and bind it to where the engine looks`},
		{"role: 5", "version: 1\nrole: 5\n" + services, `2:7: "role" in the role file must be ` + name + `, not a number`},
		{"role of capitals", "version: 1\nrole: My_SQL\n" + services, `2:7: "My_SQL" is not ` + name + `; did you mean "my-sql"?`},
		{"engine: 1", replaced("engine: mariadb", "engine: 1"), `4:66: "engine" in data "sql" can't be "1" (allowed: ` + strings.Join(grammar.All().Engines, ", ") + ")"},
		{"mount: 1", volume("mount: 1"), `4:25: "mount" in volume "data" must be an absolute path, not a number`},
		{"imds: true", head + "services: {db.service: {imds: true}}\n", `3:31: "imds" in service "db.service" can't be "true" (allowed: deny, allow)`},
		{"a key that is a number", head + "volumes: {1: {}}\n" + services, `3:11: a key of volumes must be ` + name + `, not a number`},

		{"no space after the role", "version: 1\nrole:mysql\n" + services, `2:1: not YAML: a space is missing after the colon`},
		{"no space in the first line", "version:1\nrole: db\n" + services, `1:1: not YAML: a space is missing after the colon`},
		{"no space in braces", replaced("volume: data,", "volume:data,"), `4:14: unknown key "volume:data" in data "sql": a space is missing after "volume:"`},
		{"no space after a service", head + "services:\n  db.service:{}\n", `4:3: services must be a map, not text: a space is missing after the colon`},
		{"an equals sign", "version: 1\nrole = db\n" + services, `2:1: not YAML: ": " is missing after the key`},
		{"a non-breaking space", "version: 1\nrole:\u00a0db\n" + services, `2:6: a non-breaking space (U+00A0) stands here; replace it by a plain space or remove it`},
		{"a space that can't be seen", "version: 1\nrole: db\u200b\n" + services, `2:9: a space that can't be seen (U+200B) stands here; replace it by a plain space or remove it`},
		{"curly quotes", volume("find: {serial: “a”}"), `4:33: “ is not a quote of YAML; use " or '`},
		{"a template", volume("find: {serial: {{ disk }}}"), `4:33: a template was not rendered: {{ ... }} or {% ... %} stands here; render it first`},
		{"a template in quotes", volume(`find: {serial: "{{ disk }}"}`), `4:33: a template was not rendered: {{ ... }} or {% ... %} stands here; role files have expansions of their own: ${params.NAME} or ${instance.id}, .zone, .region, .type, .private-ipv4`},

		{"tags of AWS's tools", volume("find: {tags: [{Key: a, Value: b}]}"), `4:31: tags in find of volume "data" must be a map, not a list; write tags: {cluster: orders, holds: mysql}`},
		{"one tag of AWS's tools", volume("find: {tags: {Key: a, Value: b}}"), `4:31: tags in find of volume "data": this is the form of AWS's tools; write tags: {cluster: orders, holds: mysql}`},
		{"tags as text", volume("find: {tags: a=b}"), `4:31: tags in find of volume "data" must be a map, not text; write tags: {cluster: orders, holds: mysql}`},
		{"an id without find", volume("find: vol-01234567"), `4:24: find of volume "data" must be a map, not text; write find: {tags: {cluster: orders}}`},
		{"the short name of a parameter", volume(`find: {serial: "${cluster}"}`), `4:33: volume "data": serial: unknown name "cluster" in ${...}; did you mean ${params.cluster}? (known: ${params.NAME} or ${instance.id}, .zone, .region, .type, .private-ipv4)`},

		{"2d", volume("timeout: 2d"), `4:27: "timeout" in volume "data" is too long: at most 24h is allowed`},
		{"1 day", volume("timeout: 1d"), `4:27: "timeout" in volume "data" is not a duration; write 24h`},
		{"10 minutes", volume("timeout: 10 minutes"), `4:27: "timeout" in volume "data" is not a duration; write 10m`},
		{"1h 30m", volume("timeout: 1h 30m"), `4:27: "timeout" in volume "data" is not a duration; write 1h30m`},
		{"20", volume("timeout: 20"), `4:27: "timeout" in volume "data" has no unit; write 20s for seconds or 20m for minutes`},

		{"ssm", from(`"ssm:/a/b"`), `3:21: secret "a" can't come from "ssm:/a/b"` + sources},
		{"secretsmanager", from(`"secretsmanager://a"`), `3:21: secret "a" can't come from "secretsmanager://a"` + sources},
		{"one slash", from(`"s3:/bucket/key"`), `3:21: secret "a" can't come from "s3:/bucket/key"; write s3://BUCKET/KEY` + sources},
		{"an ARN", from(`"arn:aws:s3:::bucket/key"`), `3:21: secret "a" can't come from "arn:aws:s3:::bucket/key"; did you mean "s3://bucket/key"?` + sources},
		{"a URL of S3", from(`"https://bucket.s3.eu-central-1.amazonaws.com/key"`), `3:21: secret "a" can't come from "https://bucket.s3.eu-central-1.amazonaws.com/key"; did you mean "s3://bucket/key"?` + sources},
		{"a path", from("/etc/a.age"), `3:21: secret "a" can't come from "/etc/a.age"; did you mean "file:///etc/a.age"?` + sources},
		{"two slashes", from(`"file://etc/a.age"`), `3:21: secret "a": not the path of a file: write three slashes, as in file:///etc/bootagent/sql.age`},

		{"services as a list", head + "services: [db.service]\n", `3:11: services must be a map, not a list; write services: {nginx.service: {}}`},
		{"a service without its type", head + "services: {mariadb: {}}\n", `3:12: unit "mariadb" must end in .service; did you mean "mariadb.service"?`},
		{"needs without a kind", strings.Replace(data("if-absent: fail"), "db.service: {}", "db.service: {needs: [sql]}", 1), `5:33: an entry of "needs" in service "db.service" can't be "sql"; did you mean "data.sql"? (allowed: volume.data, data.sql)`},
		{"ready as text", head + "services: {db.service: {ready: probe.service}}\n", `3:32: ready of service "db.service" must be a map, not text; write ready: {unit: mysql-ready.service}`},
		{"a parameter as text", head + "params: {cluster: orders}\n" + services, `3:19: parameter "cluster" must be a map, not text; write cluster: {default: orders}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := grammar.All().Decode("db.yaml", []byte(c.src))
			if first, _, _ := strings.Cut(fmt.Sprint(err), "\n"); first != "db.yaml:"+c.want {
				t.Errorf("%s\ngot  %v\nwant db.yaml:%s", c.src, err, c.want)
			}
		})
	}
}

// knownKeys are the names of all keys of a role file.
func knownKeys() string {
	var names []string
	for _, k := range grammar.All().Keys() {
		names = append(names, k.Name)
	}
	return strings.Join(names, ", ")
}

// A mistake is not told a second time where another key only follows from it.
func TestWhatFollowsFromAMistakeIsNotTold(t *testing.T) {
	const secrets = "secrets: {a: {from: \"file:///a\", services: [db.service]}}\n"
	for _, c := range []struct{ what, src, want string }{
		{"no services", secrets, `1:1: "services" is missing in the role file`},
		{"a service without its type", secrets + "services: {db: {}}\n", `4:12: unit "db" must end in .service; did you mean "db.service"?`},
		{
			"volumes misspelt", "volums: {data: {}}\ndata: {a: {volume: data, dir: a, bind: /srv/a, engine: mariadb, owner: a}}\nservices: {db.service: {needs: [volume.data]}}\n",
			`3:1: unknown key "volums" in the role file; did you mean "volumes"? (known keys: ` + knownKeys() + ")",
		},
		{
			"params misspelt", "parms: {a: {}}\nvolumes: {data: {find: {serial: \"${params.a}\"}}}\nservices: {db.service: {}}\n",
			`3:1: unknown key "parms" in the role file; did you mean "params"? (known keys: ` + knownKeys() + ")",
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := grammar.All().Decode("db.yaml", []byte("version: 1\nrole: db\n"+c.src))
			if got := fmt.Sprint(err); got != "db.yaml:"+c.want {
				t.Errorf("got  %s\nwant db.yaml:%s", got, c.want)
			}
		})
	}
}

// What stands below a misspelt key may be right where it belongs.
func TestWhatStandsBelowAMisspeltKeyIsNotReported(t *testing.T) {
	text := "version: 1\nrole: db\nvolums:\n  data: {find: {serial: \"${instance.id}\"}}\nservices: {db.service: {}}\n"
	_, err := grammar.All().Decode("db.yaml", []byte(text))
	if err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), `did you mean "volumes"?`) {
		t.Errorf("got %v", err)
	}
}
