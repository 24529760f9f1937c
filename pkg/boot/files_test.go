package boot

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bootagent/pkg/files"
	"bootagent/pkg/graph"
	"bootagent/pkg/host"
	"bootagent/pkg/role"
	"bootagent/pkg/role/file"
)

func (m *machine) Write(_ context.Context, f host.File) (changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	content, err := files.Fill(f, func(unit, credential string) ([]byte, error) {
		if !m.safe.staged[credential] || unit != "mariadb.service" {
			return nil, errors.New("it is not staged")
		}
		_, secret, _ := strings.Cut(m.safe.sources[credential], ":")
		return []byte(secret + "\n"), nil
	})
	if err != nil || m.files[f.Name] == string(content) {
		return false, err
	}
	if err := m.does("write %s %o %s", f.Name, f.Mode, f.Owner); err != nil {
		return false, err
	}
	m.files[f.Name] = string(content)
	return true, nil
}

func (m *machine) Written(name string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[name] != "", nil
}

const serverID = "server-id.cnf"

// withFiles is a plan in EC2 with a secret, and a file that has of all there is.
func withFiles() (*machine, role.Plan) {
	m, p := inEC2()
	m.cloud.volumes[volumeID].tags = map[string]string{"cluster": "orders", "server-id": "7"}
	p.Volumes[0].Find.Tags = nil
	p.Volumes[0].Find.ID = volumeID
	p.Secrets = withSecret().Secrets
	m.safe.sources["root-sql"] = `A:hu"sh`
	p.Files = []file.File{{
		Name: serverID, Owner: "mysql", Mode: file.OfOwner, Services: []string{"mariadb.service"},
		Content: file.Text{{Text: "id="}, {Put: "volume.data.tag.server-id"}, {Text: " of "}, {Put: "volume.data.id"}, {Text: ", "}, {Put: "secret.root-sql"}, {Text: "\n"}},
	}, {
		Name: "vars", Owner: "root", Mode: file.OfOwner, Services: []string{"mariadb.service"},
		Env: []file.Variable{{Name: "A", Value: file.Text{{Text: "$"}, {Put: "secret.root-sql"}}}},
	}}
	p.Services[0].Needs = append(p.Services[0].Needs, role.Need{Kind: role.KindSecret, Name: "root-sql"},
		role.Need{Kind: role.KindFile, Name: serverID}, role.Need{Kind: role.KindFile, Name: "vars"})
	return m, p
}

const step = "file " + serverID + ": write"

func TestAServiceStartsOnceItsFilesAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := withFiles()
		r := start(t, p, m)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.is(step, graph.Pending)
		r.is("data mysql: engine", graph.Pending) // the files count when the engine is asked
		if len(m.files) > 0 {
			t.Errorf("there are %q before the secret is", m.files)
		}
		r.bring(m, "A")
		time.Sleep(time.Minute)
		synctest.Wait()
		r.isUp()
		if got, want := m.files[serverID], "id=7 of "+volumeID+`, hu"sh`+"\n"; got != want {
			t.Errorf("it has %q, not %q", got, want)
		}
		if got, want := m.files["vars"], `A="\$hu\"sh"`+"\n"; got != want {
			t.Errorf("the variables are %q, not %q", got, want)
		}
		wrote, granted := slices.Index(m.effects, "write "+serverID+" 400 mysql"), slices.Index(m.effects, "grant mariadb.service")
		if wrote < 0 || granted < wrote {
			t.Errorf("it did %q", m.effects)
		}
		r.stop()

		before := len(m.effects)
		r = start(t, p, m)
		r.isUp()
		if again := m.effects[before:]; !slices.Equal(again, []string{"probe mysql-ready.service"}) {
			t.Errorf("an agent that was started again did %q", again)
		}
		r.stop()
	})
}

func TestAServiceThatNeedsNothingElseWaitsForItsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMachine(), role.Plan{
			Role:  "web",
			Files: []file.File{{Name: "x", Owner: "root", Mode: file.All, Services: []string{"nginx.service"}, Content: file.Text{{Text: "x"}}}},
			Services: []role.Service{{
				Unit: "nginx.service", Needs: []role.Need{{Kind: role.KindFile, Name: "x"}},
			}},
		}
		m.fail = func(effect string) error {
			if strings.HasPrefix(effect, "write") {
				return errors.New("no space left")
			}
			return nil
		}
		r := start(t, p, m)
		defer r.stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		r.is("file x: write", graph.Failed, "no space left")
		r.is("service nginx.service: grant", graph.Skipped)
		m.mu.Lock()
		m.fail = func(string) error { return nil }
		m.mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		r.is("service nginx.service: up", graph.Done)
	})
}

func TestATagThatIsNotThereIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := withFiles()
		m.safe.keys = []string{"A"}
		delete(m.cloud.volumes[volumeID].tags, "server-id")
		r := start(t, p, m)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.is(step, graph.Waiting, "for the tag server-id on volume "+volumeID, "until 00:20:00", "give volume "+volumeID+" the tag server-id")
		r.is("service mariadb.service: grant", graph.Pending)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		r.is(step, graph.Failed, "in vain for the tag server-id")
		m.mu.Lock()
		m.cloud.volumes[volumeID].tags["server-id"] = "8"
		m.mu.Unlock()
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

func TestATagThatDoesNotFitIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := withFiles()
		m.safe.keys = []string{"A"}
		m.cloud.volumes[volumeID].tags["server-id"] = "7\nskip-grant-tables"
		r := start(t, p, m)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.is(step, graph.Failed, "the tag server-id of volume data ("+volumeID+") contains a line break", "so it is not put into /run/bootagent/files/"+serverID,
			"correct the tag server-id of volume "+volumeID+", then: bootagent retry")
		if m.files[serverID] != "" || strings.Contains(r.step(step).String(), "skip-grant-tables") {
			t.Errorf("it wrote %q; it says %s", m.files[serverID], r.step(step))
		}
		m.mu.Lock()
		m.cloud.volumes[volumeID].tags["server-id"] = "7"
		m.mu.Unlock()
		if err := r.RetryNow(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		r.isUp()
		r.stop()
	})
}

func TestARetryReadsTagsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := withFiles()
		m.safe.keys = []string{"A"}
		r := firstBoot(t, p, m)
		defer r.stop()
		m.mu.Lock()
		m.cloud.volumes[volumeID].tags["server-id"] = "9"
		before := len(m.effects)
		m.mu.Unlock()
		if err := r.RetryNow(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		r.isUp()
		if did := m.effects[before:]; !slices.Contains(did, "write "+serverID+" 400 mysql") || slices.Contains(did, "grant mariadb.service") {
			t.Errorf("it did %q", did)
		}
		if !strings.HasPrefix(m.files[serverID], "id=9 ") {
			t.Errorf("it has %q", m.files[serverID])
		}
	})
}

// A plain reboot needs no API.
func TestARebootUsesTheTagThatWasReadBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := withFiles()
		m.safe.keys = []string{"A"}
		firstBoot(t, p, m).stop()
		m.reboot()
		m.cloud.silent, m.safe.keys = true, []string{"A"}
		r := firstBoot(t, p, m)
		defer r.stop()
		if got := r.step(step).Warning; !strings.Contains(got, "uses the tag server-id of "+volumeID+" as it was read before: EC2 does not answer") {
			t.Errorf("the warning is %q", got)
		}
		if !strings.HasPrefix(m.files[serverID], "id=7 ") {
			t.Errorf("it has %q", m.files[serverID])
		}
	})
}

func TestAFileThatIsDeletedIsThereAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := withFiles()
		m.safe.keys = []string{"A"}
		r := firstBoot(t, p, m)
		r.lookAgain(m, func() { clear(m.files) })
		r.isUp()
		if len(m.files) != 2 {
			t.Errorf("there are %q", m.files)
		}
		r.stop()
	})
}

func TestASecretThatIsNotOneLineIsNotPutIn(t *testing.T) {
	for secret, why := range map[string]string{"hu\nsh": "contains a line break", "": "is empty", strings.Repeat("x", 4097): "has 4097 bytes, and at most 4096 are allowed"} {
		synctest.Test(t, func(t *testing.T) {
			m, p := withFiles()
			m.safe.keys = []string{"A"}
			m.safe.sources["root-sql"] = "A:" + secret
			r := start(t, p, m)
			time.Sleep(time.Minute)
			synctest.Wait()
			r.is(step, graph.Failed, "secret root-sql can't be put into file "+serverID+": it "+why, "encrypt a secret of one line, and reboot")
			if len(m.files) > 0 {
				t.Errorf("it wrote %q", m.files)
			}
			r.stop()
		})
	}
}
