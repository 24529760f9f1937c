package cloud

import "time"

// A world is all that EC2 knows, as values that nobody changes any more.
type world struct {
	volumes   map[string]Volume
	snapshots map[string]Snapshot
	instances map[string]instanceState
}

// history is what Describe answers from while EC2 is eventually consistent: the worlds after each
// change, the oldest first, and when each can be seen.
type history []seen

type seen struct {
	at    time.Time
	world world
}

// add notes the world after a change.
func (h *history) add(w world, lag time.Duration) {
	*h = append(*h, seen{time.Now().Add(lag), w})
	h.now() // forgets what is past
}

// now gives the newest world that can be seen.
func (h *history) now() world {
	for n := len(*h) - 1; n > 0; n-- {
		if !(*h)[n].at.After(time.Now()) {
			*h = (*h)[n:]
			break
		}
	}
	return (*h)[0].world
}
