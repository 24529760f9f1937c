package cloud

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// EC2 is the EC2 API, version 2016-11-15, in one region. As an http.Handler it answers what came
// over the network; its methods are for whoever runs the cloud, and need no permission.
type EC2 struct {
	faults
	cloud    *Cloud
	throttle throttle

	mu        sync.Mutex
	world     world
	history   history
	lag       time.Duration
	short     bool // pages are
	delays    Delays
	changed   chan struct{} // closed with each change, and made anew
	instances map[string]*Instance
	wires     map[wire]*wiring
	stuck     map[string]string // by volume, the state that it does not leave

	creating sync.Mutex               // held by CreateVolume
	tokens   map[string]createdVolume // by ClientToken
}

// An apiError is an error in EC2's words.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

// refuse gives the error of a request that is at fault itself.
func refuse(code, format string, args ...any) error {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

func newEC2(c *Cloud) *EC2 {
	e := &EC2{
		cloud:     c,
		throttle:  throttle{buckets: map[string]*bucket{}},
		delays:    c.config.Delays,
		changed:   make(chan struct{}),
		world:     world{map[string]Volume{}, map[string]Snapshot{}, map[string]instanceState{}},
		instances: map[string]*Instance{},
		wires:     map[wire]*wiring{},
		stuck:     map[string]string{},
		tokens:    map[string]createdVolume{},
	}
	e.history.add(e.world, 0)
	return e
}

// SetDelays is for what begins from now on.
func (e *EC2) SetDelays(d Delays) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.delays = d
}

// SetLag has changes that are made from now on be seen by Describe so much later. All else acts on
// what is true.
func (e *EC2) SetLag(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lag = d
}

// SetShortPages has a page with a token hold less than it was asked for, or nothing, as EC2's may:
// what a filter leaves out counts for the page.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html
func (e *EC2) SetShortPages(short bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.short = short
}

func (e *EC2) pagesAreShort() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.short
}

// Throttle gives an action a bucket of another size, full; refill is in tokens a second. By default
// the buckets are as large as AWS says.
func (e *EC2) Throttle(action string, capacity, refill float64) {
	e.throttle.set(action, capacity, refill)
}

// change makes a new world of the one there is, unless do fails. What do changes of a volume, say,
// has to be a copy: older worlds are still seen.
func (e *EC2) change(do func(w *world) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := world{maps.Clone(e.world.volumes), maps.Clone(e.world.snapshots), maps.Clone(e.world.instances)}
	if err := do(&w); err != nil {
		return err
	}
	e.world = w
	e.history.add(w, e.lag)
	close(e.changed)
	e.changed = make(chan struct{})
	return nil
}

// now gives the world as it is.
func (e *EC2) now() world {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.world
}

// wait waits until the world is as ok wants it.
func (e *EC2) wait(ctx context.Context, ok func(world) bool) error {
	for {
		e.mu.Lock()
		w, changed := e.world, e.changed
		e.mu.Unlock()
		if ok(w) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.cloud.ctx.Done():
			return errors.New("the cloud is closed")
		}
	}
}

// An action is one of EC2's.
type action struct {
	// asks says what the caller has to be allowed.
	asks func(e *EC2, q query) []ask
	do   func(e *EC2, q query) (response, error)
}

var actions = map[string]action{
	"AttachVolume":      {asksOfAttachment("ec2:AttachVolume"), (*EC2).attachVolume},
	"CreateTags":        {asksOfTags("ec2:CreateTags"), (*EC2).createTags},
	"DeleteTags":        {asksOfTags("ec2:DeleteTags"), (*EC2).deleteTags},
	"CreateVolume":      {(*EC2).asksOfCreateVolume, (*EC2).createVolume},
	"DescribeInstances": {asksOfAll("ec2:DescribeInstances"), (*EC2).describeInstances},
	"DescribeSnapshots": {asksOfAll("ec2:DescribeSnapshots"), (*EC2).describeSnapshots},
	"DescribeVolumes":   {asksOfAll("ec2:DescribeVolumes"), (*EC2).describeVolumes},
	"DetachVolume":      {asksOfAttachment("ec2:DetachVolume"), (*EC2).detachVolume},
	"ModifyVolume":      {asksOfModifyVolume, (*EC2).modifyVolume},
}

func asksOfAll(action string) func(*EC2, query) []ask {
	return func(*EC2, query) []ask { return []ask{{action: action, resource: "*"}} }
}

// apiVersion is the only one, ever since.
const apiVersion = "2016-11-15"

func (e *EC2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	who, bad := e.cloud.IAM.verify(r, "ec2")
	badForm := r.ParseForm()
	q := query{r.Form}
	call := Call{
		Time: time.Now(), Service: "ec2", Action: q.Get("Action"),
		Role: who.role, Principal: who.session, Params: q.params(),
	}

	fault := e.next(call.Action)
	if !sleep(r.Context(), fault.Delay) || fault.Hang {
		call.Code = Unanswered
		e.cloud.Calls.add(call)
		e.cloud.hang(w, r)
	}
	var answer response
	var err error
	if fault.Status == 0 || fault.Effect {
		switch {
		case badForm != nil:
			err = refuse("MalformedQueryString", "%v", badForm)
		case bad != 0:
			err = ec2Refusal(bad)
		default:
			answer, err = e.answer(q, who, &call)
		}
	}
	if fault.Status != 0 {
		err = &apiError{fault.Status, fault.Code, fault.Message}
	}

	request := requestID()
	call.Status = http.StatusOK
	body, wrong := []byte(nil), error(nil)
	if err == nil {
		answer.stamp(call.Action, request)
		body, wrong = xml.Marshal(answer)
	} else {
		refused := (*apiError)(nil)
		if !errors.As(err, &refused) {
			refused = &apiError{http.StatusInternalServerError, "InternalError", err.Error()}
		}
		call.Status, call.Code = refused.status, refused.code
		body, wrong = xml.Marshal(newErrorResponse(refused, request))
	}
	if wrong != nil {
		http.Error(w, wrong.Error(), http.StatusInternalServerError)
		return
	}
	e.cloud.Calls.add(call)

	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.Header().Set("Server", "AmazonEC2")
	w.Header().Set("X-Amzn-Requestid", request)
	body = append([]byte(xml.Header), body...)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(call.Status)
	if fault.Cut > 0 {
		w = &cutter{w, fault.Cut}
	}
	_, _ = w.Write(body) // a client may go whenever it wants
}

// answer does what a caller asks for, if it may.
func (e *EC2) answer(q query, who caller, call *Call) (response, error) {
	name := q.Get("Action")
	a, ok := actions[name]
	switch {
	case name == "":
		return nil, refuse("MissingAction", "The request must contain the parameter Action")
	case !ok:
		return nil, refuse("InvalidAction", "The action %s is not valid for this web service.", name)
	case q.Get("Version") != apiVersion:
		return nil, refuse("NoSuchVersion", "The requested version (%s) of service AmazonEC2 does not exist", q.Get("Version"))
	case !e.throttle.take(name, q.scan()):
		return nil, &apiError{Throttled.Status, Throttled.Code, Throttled.Message}
	}
	asks := a.asks(e, q)
	for n := range asks {
		if asks[n].context == nil {
			asks[n].context = map[string][]string{}
		}
		asks[n].context["aws:RequestedRegion"] = []string{e.cloud.config.Region}
		if strings.HasPrefix(who.session, "i-") {
			asks[n].context["ec2:SourceInstanceARN"] = []string{e.arn("instance", who.session)}
		}
		if !slices.Contains(call.Needs, asks[n].action) {
			call.Needs = append(call.Needs, asks[n].action)
		}
	}
	if denied := e.cloud.IAM.denied(who, asks); denied != "" {
		return nil, &apiError{http.StatusForbidden, "UnauthorizedOperation", "You are not authorized to perform this operation. " + denied +
			". Encoded authorization failure message: " + random(400)}
	}
	if q.Get("DryRun") == "true" {
		return nil, &apiError{http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."}
	}
	return a.do(e, q)
}

// ec2Refusal says in EC2's words what is wrong with a signature.
func ec2Refusal(bad signatureError) error {
	switch bad {
	case expiredToken, skewed:
		return refuse("RequestExpired", "Request has expired.")
	case wrongScope:
		return &apiError{http.StatusUnauthorized, "AuthFailure", "Credential should be scoped to a valid region."}
	default:
		return &apiError{http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials"}
	}
}

// arn names a volume, an instance or a snapshot, or all of them by a star.
func (e *EC2) arn(kind, id string) string {
	account := e.cloud.config.Account
	if kind == "snapshot" {
		account = "" // a snapshot may be another's
	}
	return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", e.cloud.config.Region, account, kind, id)
}

// tagged gives the condition keys of a resource that has tags.
func tagged(tags map[string]string) map[string][]string {
	context := map[string][]string{}
	for key, value := range tags {
		context["ec2:ResourceTag/"+key] = []string{value}
		context["aws:ResourceTag/"+key] = []string{value}
	}
	return context
}

// A query is the form of a request: VolumeId.1, Filter.2.Value.1.
type query struct{ url.Values }

// list gives the values of name.1, name.2 and so on.
func (q query) list(name string) []string {
	var out []string
	for n := 1; q.Has(fmt.Sprintf("%s.%d", name, n)); n++ {
		out = append(out, q.Get(fmt.Sprintf("%s.%d", name, n)))
	}
	return out
}

// structs gives prefix.1, prefix.2 and so on, as long as one has the field.
func (q query) structs(prefix, field string) []string {
	var out []string
	for n := 1; q.Has(fmt.Sprintf("%s.%d.%s", prefix, n, field)); n++ {
		out = append(out, fmt.Sprintf("%s.%d", prefix, n))
	}
	return out
}

// tags reads prefix.1.Key, prefix.1.Value and so on.
func (q query) tags(prefix string) map[string]string {
	tags := map[string]string{}
	for _, tag := range q.structs(prefix, "Key") {
		tags[q.Get(tag+".Key")] = q.Get(tag + ".Value")
	}
	return tags
}

// need is an error if one of the parameters is not there.
func (q query) need(names ...string) error {
	for _, name := range names {
		if q.Get(name) == "" {
			return refuse("MissingParameter", "The request must contain the parameter %s", strings.ToLower(name[:1])+name[1:])
		}
	}
	return nil
}

// scan tells whether a Describe names nothing that bounds it.
func (q query) scan() bool {
	for key := range q.Values {
		name, _, _ := strings.Cut(key, ".")
		if name == "Filter" || name == "MaxResults" || name == "NextToken" || strings.HasSuffix(name, "Id") {
			return false
		}
	}
	return true
}

// params is what the recorder keeps: all but what every request has.
func (q query) params() map[string]string {
	params := map[string]string{}
	for key := range q.Values {
		if key != "Action" && key != "Version" {
			params[key] = q.Get(key)
		}
	}
	return params
}

// A response is an answer of EC2; all begin with a Head.
type response interface{ stamp(action, request string) }

// A Head is exported for encoding/xml, which finds no XMLName otherwise.
type Head struct {
	XMLName   xml.Name
	Xmlns     string `xml:"xmlns,attr"`
	RequestID string `xml:"requestId"`
}

func (h *Head) stamp(action, request string) {
	h.XMLName.Local = action + "Response"
	h.Xmlns = "http://ec2.amazonaws.com/doc/" + apiVersion + "/"
	h.RequestID = request
}

// A set is EC2's list: there even if it is empty.
type set[T any] struct {
	Items []T `xml:"item"`
}

type xmlTag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func tagSet(tags map[string]string) set[xmlTag] {
	var out set[xmlTag]
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out.Items = append(out.Items, xmlTag{key, tags[key]})
	}
	return out
}

type returned struct {
	Head
	Return bool `xml:"return"`
}

type errorResponse struct {
	XMLName   xml.Name `xml:"Response"`
	Code      string   `xml:"Errors>Error>Code"`
	Message   string   `xml:"Errors>Error>Message"`
	RequestID string   `xml:"RequestID"`
}

func newErrorResponse(e *apiError, request string) errorResponse {
	return errorResponse{Code: e.code, Message: e.message, RequestID: request}
}

// stamp is a time as EC2 writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func requestID() string {
	id := random(16)
	return strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
}

// newID gives an id as EC2 does: the prefix and 17 hexadecimal digits.
func newID(prefix string) string { return prefix + "-0" + random(8) }
