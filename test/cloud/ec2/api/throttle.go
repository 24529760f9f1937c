package api

import (
	"strings"
	"sync"
	"time"
)

// A bucket holds tokens. Each call takes one; if there is none, the call is throttled.
type bucket struct {
	capacity float64
	refill   float64 // tokens a second
	tokens   float64
	at       time.Time
}

func (b *bucket) take() bool {
	now := time.Now()
	b.tokens = min(b.capacity, b.tokens+b.refill*now.Sub(b.at).Seconds())
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// The sizes of the token buckets of an account in a region, and the tokens that they get in a second.
// https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
var (
	reading  = bucket{capacity: 100, refill: 20} // Describe*
	scanning = bucket{capacity: 50, refill: 10}  // the actions in [scans] without filter and page
	changing = bucket{capacity: 50, refill: 5}
	others   = map[string]bucket{
		"CreateTags":   {capacity: 100, refill: 10},
		"CreateVolume": {capacity: 100, refill: 5},
	}
	scans = map[string]bool{"DescribeInstances": true, "DescribeSnapshots": true, "DescribeVolumes": true}
)

// throttle has one bucket for each action, and a second one for those that scan.
type throttle struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

// take reports whether a call may pass. A scan is a call without filter and page.
func (t *throttle) take(action string, scan bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucket(action)
	if scan && scans[action] {
		b = t.bucket(action + " of all")
	}
	return b.take()
}

// bucket returns the bucket of an action. The second bucket of an action has " of all" at its end.
func (t *throttle) bucket(action string) *bucket {
	if b := t.buckets[action]; b != nil {
		return b
	}
	b, ok := others[action]
	switch {
	case ok:
	case strings.HasSuffix(action, " of all"):
		b = scanning
	case strings.HasPrefix(action, "Describe"):
		b = reading
	default:
		b = changing
	}
	b.tokens, b.at = b.capacity, time.Now()
	t.buckets[action] = &b
	return &b
}

// set replaces the bucket of an action by a full one.
func (t *throttle) set(action string, capacity, refill float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range []string{action, action + " of all"} {
		t.buckets[name] = &bucket{capacity, refill, capacity, time.Now()}
	}
}
