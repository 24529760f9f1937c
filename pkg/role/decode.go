package role

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/strictyaml"
	"bootagent/pkg/unit"
)

// version is the version of the grammar that is read here.
const version = 1

const (
	defaultTimeout      = 10 * time.Minute
	defaultReadyTimeout = 5 * time.Minute
	longest             = 24 * time.Hour // more is most likely a mistake
)

// Decode reads a role file. File is what errors call it. What is wrong with
// the file is told as strictyaml.Errors, all of it at once.
func Decode(file string, src []byte) (*Role, error) {
	doc := strictyaml.Parse(file, src)
	doc.Scalars(refuseExpansion)
	root := doc.Root("the role file")
	d := decoder{role: &Role{File: file}}
	if root.Version(version) {
		d.decode(root)
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	d.role.sort()
	return d.role, nil
}

// refuseExpansion refuses expansions wherever they would make the user-data
// decide about more than which disk, or which object, is meant.
func refuseExpansion(path []string, v strictyaml.Value) {
	if strings.Contains(v.String(), "${") && !mayExpand(path) {
		v.Failf("an expansion ${...} can't stand here; it may stand in the serial, the id and the tags of a volume's find, and in the key of a secret's object")
	}
}

// mayExpand tells whether expansions may stand in the value that the keys of
// path lead to. No key itself ever has one.
func mayExpand(path []string) bool {
	switch {
	case len(path) == 4 && path[0] == "volumes" && path[2] == "find":
		return path[3] == "serial" || path[3] == "id"
	case len(path) == 5 && path[0] == "volumes" && path[2] == "find":
		return path[3] == "tags" && !strings.Contains(path[4], "${")
	}
	return len(path) == 3 && path[0] == "secrets" && path[2] == "from"
}

func (r *Role) sort() {
	slices.SortFunc(r.Params, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Volumes, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Data, func(a, b Data) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Secrets, func(a, b Secret) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Services, func(a, b Service) int { return strings.Compare(a.Unit, b.Unit) })
}

// A decoder reads a role file, and remembers what must not be used twice.
type decoder struct {
	role *Role

	params  []string // names, also of those that are wrong otherwise
	volumes []string
	units   []string // of services
	needs   []string // all that a service can need: data.mysql, volume.data

	mountPoints []place
	binds       []place
	finds       finds
	dirs        map[string]string // volume and directory, and its data
	credentials map[string]string // service and credential, and its secret
	held        map[string]string // a unit, and the service that it is held with
}

// A place is a path that something is mounted on.
type place struct{ path, what string }

func (d *decoder) decode(root *strictyaml.Map) {
	d.finds, d.dirs = make(finds), make(map[string]string)
	d.credentials, d.held = make(map[string]string), make(map[string]string)
	d.role.Name, _ = root.Need("role").Name()
	params := root.Take("params").Map("params").Entries()
	volumes := root.Take("volumes").Map("volumes").Entries()
	data := root.Take("data").Map("data").Entries()
	secrets := root.Take("secrets").Map("secrets").Entries()
	services := root.Need("services")
	root.Done()

	for _, e := range params {
		d.params = append(d.params, e.Key.String())
		d.param(e)
	}
	for _, e := range volumes {
		d.volumes = append(d.volumes, e.Key.String())
		d.need(KindVolume, e)
		d.volume(e)
	}
	for _, e := range data {
		d.need(KindData, e)
		d.data(e)
	}
	for _, e := range services.Map("services").Entries() {
		d.units = append(d.units, e.Key.String())
	}
	for _, e := range secrets {
		d.need(KindSecret, e)
		d.secret(e)
	}
	d.services(services)
}

func (d *decoder) need(kind Kind, e strictyaml.Entry) {
	d.needs = append(d.needs, Need{kind, e.Key.String()}.String())
}

func (d *decoder) param(e strictyaml.Entry) {
	name, _ := e.Key.Name()
	m := e.Value.Map("parameter " + strictyaml.Quote(e.Key.String()))
	p := Param{Name: name}
	if pattern := m.Take("pattern"); pattern.Given() {
		if text, ok := pattern.Text(); ok {
			p.Pattern = text
			p.pattern = compile(pattern, text)
		}
	}
	if value := m.Take("default"); value.Given() {
		if text, ok := value.Text(); ok {
			p.Default = &text
			if err := p.check(text); err != nil {
				value.Failf("the default of parameter %q %v", name, err)
			}
		}
	}
	m.Done()
	d.role.Params = append(d.role.Params, p)
}

// compile anchors a pattern. It is compiled by itself first: "a)|(b" must not
// become whole by the anchors around it.
func compile(v strictyaml.Value, pattern string) *regexp.Regexp {
	if _, err := regexp.Compile(pattern); err != nil {
		v.Failf("the pattern is no regular expression that Go knows: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	anchored, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		v.Failf("the pattern is too large or nested too deeply")
		return nil
	}
	return anchored
}

func (d *decoder) volume(e strictyaml.Entry) {
	name, _ := e.Key.Name()
	what := "volume " + strictyaml.Quote(e.Key.String())
	m := e.Value.Map(what)
	v := Volume{Name: name, Filesystem: XFS, Format: FormatNever, Mount: "/srv/bootagent/" + name, Timeout: defaultTimeout}
	if find := m.Take("find"); find.Given() {
		v.Find = d.find(find, e.Key.String(), what)
	}
	if filesystem, ok := m.Take("filesystem").OneOf(string(XFS), string(Ext4)); ok {
		v.Filesystem = FilesystemType(filesystem)
	}
	if format, ok := m.Take("format").OneOf(string(FormatNever), string(FormatIfBlank)); ok {
		v.Format = Format(format)
	}
	proof := m.Take("blank-proof")
	if how, ok := proof.OneOf(string(Sampled), string(Whole)); ok {
		v.BlankProof = BlankProof(how)
		if v.Format != FormatIfBlank {
			proof.Failf("%s has a blank-proof and no format: %s; without that, nothing is proven blank", what, FormatIfBlank)
		}
	}
	blame := e.Key
	if at := m.Take("mount"); at.Given() {
		blame = at
		v.Mount, _ = at.Text()
	}
	if v.Mount != "" {
		d.mountPoint(v.Mount, what, blame)
	}
	if timeout, ok := m.Take("timeout").Duration(longest); ok {
		v.Timeout = timeout
	}
	v.Adopt, _ = m.Take("adopt").Bool()
	m.Done()
	d.role.Volumes = append(d.role.Volumes, v)
}

// find reads which disk a volume is.
func (d *decoder) find(v strictyaml.Value, name, what string) (find Find) {
	m := v.Map("find of " + what)
	var way string // the first of the ways to find it that stands there
	var by strictyaml.Value
	take := func(key string) strictyaml.Value {
		value := m.Take(key)
		switch {
		case !value.Given():
		case way == "":
			way, by = key, value
		default:
			value.Failf("%q can't stand beside %q in find of %s; a disk is found in one way", key, way, what)
		}
		return value
	}
	find.Serial = d.expandable(take("serial"), "the serial of "+what, checkSerial, checkSerialText)
	find.ID = d.expandable(take("id"), "the id of "+what, checkID, checkIDText)
	if tags := take("tags"); tags.Given() {
		find.Tags = d.tags(tags, what)
	}
	pick := m.Take("pick")
	m.Done()
	if way == "" {
		v.Failf("find of %s says no way to find it; it needs one of serial, id and tags, or to be left out", what)
		return Find{}
	}
	if _, ok := pick.OneOf("one"); ok && way != "tags" {
		pick.Failf(`"pick" can't stand beside %q in find of %s; it is about the volumes that the tags fit`, way, what)
	}
	if !find.open() {
		if err := d.finds.add(name, find); err != nil {
			by.Failf("%v", err)
		}
	}
	return find
}

// expandable reads a text that may have expansions in it.
func (d *decoder) expandable(v strictyaml.Value, what string, check, checkPart func(string) error) string {
	text, ok := v.Text()
	if !ok {
		return ""
	}
	if err := d.checkExpandable(text, check, checkPart); err != nil {
		v.Failf("%s %v", what, err)
	}
	return text
}

// checkExpandable checks a text, or the parts of it between its expansions.
func (d *decoder) checkExpandable(text string, check, checkPart func(string) error) error {
	refs, parts, err := expansions(text, d.params)
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return check(text)
	}
	for _, part := range parts {
		if err := checkPart(part); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) tags(v strictyaml.Value, what string) map[string]string {
	tags := make(map[string]string)
	entries := v.Map("tags of " + what).Entries()
	for _, e := range entries {
		key := e.Key.String()
		tag := "the tag " + strictyaml.Quote(key) + " of " + what
		if err := checkTagKey(key); err != nil {
			e.Key.Failf("the key of %s %v", tag, err)
		}
		tags[key] = d.expandable(e.Value, tag, checkTag, checkTagText)
	}
	if len(entries) == 0 {
		v.Failf("the tags of %s are empty; every volume has none of them, so name at least one", what)
	}
	return tags
}

func (d *decoder) mountPoint(path, what string, v strictyaml.Value) {
	if err := checkMountPoint(path); err != nil {
		v.Failf("the mount point %s of %s %v", strictyaml.Quote(path), what, err)
		return
	}
	for _, other := range d.mountPoints {
		if overlap(path, other.path) {
			v.Failf("the mount point %s of %s %s that of %s, %s", path, what, lies(path, other.path), other.what, other.path)
		}
	}
	d.mountPoints = append(d.mountPoints, place{path, what})
}

func (d *decoder) data(e strictyaml.Entry) {
	name, _ := e.Key.Name()
	what := "data " + strictyaml.Quote(e.Key.String())
	m := e.Value.Map(what)
	data := Data{Name: name, IfAbsent: Fail}
	if on := m.Need("volume"); on.Given() && len(d.volumes) == 0 {
		on.Failf("%s is on a volume, and the role has none", what)
	} else {
		data.Volume, _ = on.OneOf(d.volumes...)
	}
	dir := m.Need("dir")
	if text, ok := dir.Text(); ok {
		data.Dir = text
		d.dir(dir, data, what)
	}
	bind := m.Need("bind")
	if text, ok := bind.Text(); ok {
		data.Bind = text
		d.bind(bind, text, what)
	}
	if engine, ok := m.Need("engine").OneOf(string(MariaDB)); ok {
		data.Engine = Engine(engine)
	}
	owner := m.Need("owner")
	if text, ok := owner.Text(); ok {
		data.Owner = text
		if err := checkOwner(text); err != nil {
			owner.Failf("the owner of %s %v", what, err)
		}
	}
	if ifAbsent, ok := m.Take("if-absent").OneOf(string(Fail), string(Initialize)); ok {
		data.IfAbsent = IfAbsent(ifAbsent)
	}
	if beside := m.Take("beside"); beside.Given() {
		data.Beside = d.beside(beside, data, what)
	}
	m.Done()
	d.role.Data = append(d.role.Data, data)
}

// beside reads the names of data that the role had before.
func (d *decoder) beside(v strictyaml.Value, data Data, what string) (former []string) {
	list, ok := v.List()
	if ok && data.IfAbsent != Initialize {
		v.Failf("%s is never initialised, so it is never made beside other data; say if-absent: %s, or leave beside: out", what, Initialize)
	}
	for _, entry := range list {
		name, ok := entry.Name()
		switch {
		case !ok:
		case name == data.Name:
			entry.Failf("%s can't be beside itself; name data that the role no longer has", what)
		case slices.Contains(former, name):
			entry.Failf("%s is beside %q twice", what, name)
		default:
			former = append(former, name)
		}
	}
	slices.Sort(former)
	return former
}

func (d *decoder) dir(v strictyaml.Value, data Data, what string) {
	if err := checkDir(data.Dir); err != nil {
		v.Failf("the dir of %s %v", what, err)
		return
	}
	place := data.Volume + "/" + data.Dir
	if other := d.dirs[place]; other != "" {
		v.Failf("%s has the same directory as %s", what, other)
	}
	d.dirs[place] = what
}

func (d *decoder) bind(v strictyaml.Value, path, what string) {
	if err := checkMountPoint(path); err != nil {
		v.Failf("the bind %s of %s %v", strictyaml.Quote(path), what, err)
		return
	}
	for _, other := range d.mountPoints {
		if overlap(path, other.path) {
			v.Failf("the bind %s of %s %s the mount point of %s, %s", path, what, lies(path, other.path), other.what, other.path)
		}
	}
	for _, other := range d.binds {
		if overlap(path, other.path) {
			v.Failf("the bind %s of %s %s that of %s, %s", path, what, lies(path, other.path), other.what, other.path)
		}
	}
	d.binds = append(d.binds, place{path, what})
}

func (d *decoder) secret(e strictyaml.Entry) {
	name, _ := e.Key.Name()
	what := "secret " + strictyaml.Quote(e.Key.String())
	m := e.Value.Map(what)
	s := Secret{Name: name, Credential: name}
	if from := m.Need("from"); from.Given() {
		s.From = d.source(from, what)
	}
	blame := e.Key
	if credential := m.Take("credential"); credential.Given() {
		blame = credential
		s.Credential, _ = credential.Text()
		if err := checkCredential(s.Credential); err != nil {
			credential.Failf("the credential %s of %s %v", strictyaml.Quote(s.Credential), what, err)
		}
	}
	if services := m.Need("services"); services.Given() {
		s.Services = d.secretServices(services, what)
	}
	m.Done()
	for _, unit := range s.Services {
		place := unit + "/" + s.Credential
		if other := d.credentials[place]; other != "" {
			blame.Failf("%s is the credential %q of %s, as %s is; give one of them another name by credential:", what, s.Credential, unit, other)
		}
		d.credentials[place] = what
	}
	d.role.Secrets = append(d.role.Secrets, s)
}

// secretServices reads the services that get a secret.
func (d *decoder) secretServices(v strictyaml.Value, what string) (units []string) {
	list, ok := v.List()
	if ok && len(list) == 0 {
		v.Failf("%s is for no service; name at least one of this role", what)
	}
	for _, entry := range list {
		unit, ok := entry.OneOf(d.units...)
		switch {
		case !ok:
		case slices.Contains(units, unit):
			entry.Failf("%s is for %s twice", what, unit)
		default:
			units = append(units, unit)
		}
	}
	slices.Sort(units)
	return units
}

// source reads where a secret comes from.
func (d *decoder) source(v strictyaml.Value, what string) Source {
	text, ok := v.Text()
	if !ok {
		return Source{}
	}
	if rest, is := strings.CutPrefix(text, fileScheme); is {
		if err := checkFile(rest); err != nil {
			v.Failf("the path %s of %s %v", strictyaml.Quote(rest), what, err)
		}
		return Source{Path: rest}
	}
	rest, is := strings.CutPrefix(text, s3Scheme)
	if !is {
		v.Failf("%s can't come from %s%s (allowed: s3://bucket/key, file:///path)", what, strictyaml.Quote(text), nearSource(text))
		return Source{}
	}
	bucket, key, _ := strings.Cut(rest, "/")
	if err := checkBucket(bucket); err != nil {
		v.Failf("the bucket %s of %s %v", strictyaml.Quote(bucket), what, err)
		return Source{}
	}
	// Whatever an expansion gives, it is no / and so a part of an element.
	likely := expansion.ReplaceAllString(key, "x")
	if err := d.checkExpandable(key, checkKey, func(string) error { return checkKey(likely) }); err != nil {
		v.Failf("the key of %s %v", what, err)
	}
	return Source{Bucket: bucket, Key: key}
}

// nearSource is the hint for a source that is nearly one.
func nearSource(text string) string {
	if path.IsAbs(text) {
		return "; did you mean " + strictyaml.Quote(fileScheme+text) + "?"
	}
	scheme, _, _ := strings.Cut(text, ":")
	return strictyaml.DidYouMean(scheme+"://", []string{s3Scheme, fileScheme})
}

func (d *decoder) services(v strictyaml.Value) {
	entries := v.Map("services").Entries()
	if v.Given() && len(entries) == 0 {
		v.Failf("the role has no service; name at least one, such as nginx.service: {}")
	}
	for _, e := range entries {
		if d.unit(e.Key, ".service") {
			d.hold(e.Key, e.Key.String())
		}
	}
	for _, e := range entries {
		d.service(e)
	}
}

func (d *decoder) service(e strictyaml.Entry) {
	name := e.Key.String()
	what := "service " + strictyaml.Quote(name)
	m := e.Value.Map(what)
	s := Service{Unit: name, Needs: d.serviceNeeds(m.Take("needs"), name, what)}
	if ready := m.Take("ready"); ready.Given() {
		s.Ready = d.ready(ready.Map("ready of "+what), name)
	}
	if also := m.Take("also-guard"); also.Given() {
		units, _ := also.List()
		for _, v := range units {
			if _, ok := v.Text(); ok && d.unit(v, unit.HeldTypes()...) {
				d.hold(v, name)
				s.AlsoGuard = append(s.AlsoGuard, v.String())
			}
		}
		slices.Sort(s.AlsoGuard)
	}
	if imds, ok := m.Take("imds").OneOf("deny", "allow"); ok {
		s.IMDS = imds == "allow"
	}
	m.Done()
	d.role.Services = append(d.role.Services, s)
}

// unit checks the name of a unit that is to be held.
func (d *decoder) unit(v strictyaml.Value, types ...string) bool {
	err := checkUnit(v.String(), types...)
	if err != nil {
		v.Failf("the unit %s %v", strictyaml.Quote(v.String()), err)
	}
	return err == nil
}

// hold notes that a unit is held with a service: one guard names one grant.
func (d *decoder) hold(v strictyaml.Value, service string) {
	unit := v.String()
	if other, held := d.held[unit]; held {
		v.Failf("%s is held already, with %s; it can be held with one service only, and once", unit, other)
	}
	d.held[unit] = service
}

func (d *decoder) ready(m *strictyaml.Map, service string) *Ready {
	ready := Ready{Timeout: defaultReadyTimeout}
	unit := m.Need("unit")
	if text, ok := unit.Text(); ok && d.unit(unit, ".service") {
		ready.Unit = text
		if text == service {
			unit.Failf("the ready unit of %s can't be the service itself; name a unit that succeeds when the service serves", service)
		}
	}
	if timeout, ok := m.Take("timeout").Duration(longest); ok {
		ready.Timeout = timeout
	}
	m.Done()
	return &ready
}

// serviceNeeds reads what a service needs, by default all volumes and data of
// the role. Who needs data, needs the volume that it is on: the service has to
// stop when either goes. What is for a service, it needs whatever it says:
// without the credential that its guard names, it can't start.
func (d *decoder) serviceNeeds(v strictyaml.Value, unit, what string) []Need {
	var needs []Need
	for _, word := range d.needs {
		if kind, name, _ := strings.Cut(word, "."); Kind(kind) != KindSecret && !v.Given() {
			needs = append(needs, Need{Kind(kind), name})
		}
	}
	if v.Given() {
		needs = d.needWords(v, what)
	}
	for _, data := range d.role.Data {
		if slices.Contains(needs, Need{KindData, data.Name}) {
			needs = append(needs, Need{KindVolume, data.Volume})
		}
	}
	for _, secret := range d.role.Secrets {
		if slices.Contains(secret.Services, unit) {
			needs = append(needs, Need{KindSecret, secret.Name})
		}
	}
	slices.SortFunc(needs, func(a, b Need) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(needs)
}

func (d *decoder) needWords(v strictyaml.Value, what string) (needs []Need) {
	list, _ := v.List()
	for _, entry := range list {
		if word, ok := entry.Text(); ok && len(d.needs) == 0 {
			entry.Failf("%s can't need %s: the role has no volumes, data or secrets", what, strictyaml.Quote(word))
			continue
		}
		word, ok := entry.OneOf(d.needs...)
		kind, name, _ := strings.Cut(word, ".")
		need := Need{Kind(kind), name}
		if ok && slices.Contains(needs, need) {
			entry.Failf("%s needs %s twice", what, word)
		}
		needs = append(needs, need)
	}
	return needs
}

func listOrNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
