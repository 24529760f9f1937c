package role

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"bootagent/pkg/strictyaml"
)

// version is the version of the grammar that is read here.
const version = 1

const (
	defaultWait   = 10 * time.Minute
	defaultWithin = 5 * time.Minute
	longest       = 24 * time.Hour // a wait of days is a slip of the finger
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
// decide about more than which disk is meant.
func refuseExpansion(path []string, v strictyaml.Value) {
	inSerial := len(path) == 4 && path[0] == "volumes" && path[2] == "find" && path[3] == "serial"
	if !inSerial && strings.Contains(v.String(), "${") {
		v.Failf("an expansion ${...} can't stand here; it may stand in the serial of a volume's find only")
	}
}

func (r *Role) sort() {
	slices.SortFunc(r.Params, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Volumes, func(a, b Volume) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Data, func(a, b Data) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Services, func(a, b Service) int { return strings.Compare(a.Unit, b.Unit) })
}

// A decoder reads a role file, and remembers what must not be used twice.
type decoder struct {
	role *Role

	params  []string // names, also of those that are wrong otherwise
	volumes []string
	needs   []string // all that a service can need: data.mysql, volume.data

	mountPoints []place
	binds       []place
	serials     map[string]string // a serial without expansions, and its volume
	dirs        map[string]string // volume and directory, and its data
	held        map[string]string // a unit, and the service that it is held with
}

// A place is a path that something is mounted on.
type place struct{ path, what string }

func (d *decoder) decode(root *strictyaml.Map) {
	d.serials, d.dirs, d.held = make(map[string]string), make(map[string]string), make(map[string]string)
	d.role.Name, _ = root.Need("role").Name()
	params := root.Take("params").Map("params").Entries()
	volumes := root.Take("volumes").Map("volumes").Entries()
	data := root.Take("data").Map("data").Entries()
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
	v := Volume{Name: name, Filesystem: XFS, Make: MakeNever, At: "/srv/bootagent/" + name, Wait: defaultWait}
	if find := m.Take("find"); find.Given() {
		f := find.Map("find of " + what)
		if serial := f.Need("serial"); serial.Given() {
			v.Find.Serial = d.serial(serial, what)
		}
		f.Done()
	}
	if filesystem, ok := m.Take("filesystem").OneOf(string(XFS), string(Ext4)); ok {
		v.Filesystem = FilesystemType(filesystem)
	}
	if made, ok := m.Take("make").OneOf(string(MakeNever), string(MakeIfBlank)); ok {
		v.Make = Make(made)
	}
	blame := e.Key
	if at := m.Take("at"); at.Given() {
		blame = at
		v.At, _ = at.Text()
	}
	if v.At != "" {
		d.mountPoint(v.At, what, blame)
	}
	if wait, ok := m.Take("wait").Duration(longest); ok {
		v.Wait = wait
	}
	v.Adopt, _ = m.Take("adopt").Bool()
	m.Done()
	d.role.Volumes = append(d.role.Volumes, v)
}

func (d *decoder) serial(v strictyaml.Value, what string) string {
	serial, ok := v.Text()
	if !ok {
		return ""
	}
	names, parts, err := expansions(serial)
	switch {
	case err != nil:
		v.Failf("the serial of %s %v", what, err)
	case len(names) == 0:
		if err := checkSerial(serial); err != nil {
			v.Failf("the serial of %s %v", what, err)
		}
		if other := d.serials[serial]; other != "" {
			v.Failf("%s has the same serial as %s", what, other)
		}
		d.serials[serial] = what
	default:
		for _, part := range parts {
			if err := checkSerialText(part); err != nil {
				v.Failf("the serial of %s %v", what, err)
			}
		}
	}
	for _, name := range names {
		if !slices.Contains(d.params, name) {
			v.Failf("the serial of %s has an unknown parameter %s%s (parameters: %s)",
				what, strictyaml.Quote(name), strictyaml.DidYouMean(name, d.params), listOrNone(d.params))
		}
	}
	return serial
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
	if on := m.Need("on"); on.Given() && len(d.volumes) == 0 {
		on.Failf("%s is on a volume, and the role has none", what)
	} else {
		data.On, _ = on.OneOf(d.volumes...)
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
	m.Done()
	d.role.Data = append(d.role.Data, data)
}

func (d *decoder) dir(v strictyaml.Value, data Data, what string) {
	if err := checkDir(data.Dir); err != nil {
		v.Failf("the dir of %s %v", what, err)
		return
	}
	place := data.On + "/" + data.Dir
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
	unit := e.Key.String()
	what := "service " + strictyaml.Quote(unit)
	m := e.Value.Map(what)
	s := Service{Unit: unit, Needs: d.serviceNeeds(m.Take("needs"), what)}
	if ready := m.Take("ready"); ready.Given() {
		s.Ready = d.ready(ready.Map("ready of "+what), unit)
	}
	if also := m.Take("also-guard"); also.Given() {
		units, _ := also.List()
		for _, v := range units {
			if _, ok := v.Text(); ok && d.unit(v, heldTypes...) {
				d.hold(v, unit)
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
	ready := Ready{Within: defaultWithin}
	unit := m.Need("unit")
	if text, ok := unit.Text(); ok && d.unit(unit, ".service") {
		ready.Unit = text
		if text == service {
			unit.Failf("the ready unit of %s can't be the service itself; name a unit that succeeds when the service serves", service)
		}
	}
	if within, ok := m.Take("within").Duration(longest); ok {
		ready.Within = within
	}
	m.Done()
	return &ready
}

// serviceNeeds reads what a service needs, by default everything that the role
// has. Who needs data, needs the volume that it is on: the service has to stop
// when either goes.
func (d *decoder) serviceNeeds(v strictyaml.Value, what string) []Need {
	words := d.needs
	if v.Given() {
		words = d.needWords(v, what)
	}
	var needs []Need
	for _, word := range words {
		kind, name, _ := strings.Cut(word, ".")
		needs = append(needs, Need{Kind(kind), name})
		for _, data := range d.role.Data {
			if Kind(kind) == KindData && data.Name == name {
				needs = append(needs, Need{KindVolume, data.On})
			}
		}
	}
	slices.SortFunc(needs, func(a, b Need) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(needs)
}

func (d *decoder) needWords(v strictyaml.Value, what string) (words []string) {
	list, _ := v.List()
	for _, entry := range list {
		if word, ok := entry.Text(); ok && len(d.needs) == 0 {
			entry.Failf("%s can't need %s: the role has neither volumes nor data", what, strictyaml.Quote(word))
			continue
		}
		word, ok := entry.OneOf(d.needs...)
		if ok && slices.Contains(words, word) {
			entry.Failf("%s needs %s twice", what, word)
		}
		words = append(words, word)
	}
	return words
}

func listOrNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
