package sim

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"bootagent/pkg/fault"
	"bootagent/pkg/graph"
	"bootagent/pkg/report"
	"bootagent/pkg/status"
)

// A reporter shows the world what the agent reports.
type reporter struct{ *agent }

func (r reporter) Identifying(p []graph.Progress) { r.report(status.Status{}, nil, p) }

func (r reporter) Booting(told status.Status, held map[string]graph.Progress, p []graph.Progress) {
	r.report(told, held, p)
}

func (r reporter) NoPlan(err error, _ []string, _ []status.Bypass) {
	w := r.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	r.noPlan = err
	w.read(err.Error() + fault.HintOf(err))
}

// Ready says nothing that early does not check by itself.
func (reporter) Ready() {}

func (r reporter) SetProblem(_, why string) {
	w := r.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read(why)
}

func (a *agent) report(told status.Status, held map[string]graph.Progress, p []graph.Progress) {
	w := a.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	a.noPlan = nil // it began anew
	p = w.mutant.tell(p)
	a.told, a.held, a.progress = told, held, p
	if told.Role != "" && w.early == "" {
		w.early = early(p)
	}
	for _, s := range p {
		w.read(s.String() + s.Wait.Hint + s.Warning + fault.HintOf(s.Err))
	}
}

// A saying is what an agent reported last.
type saying struct {
	told     status.Status
	progress []graph.Progress
	held     map[string]graph.Progress
	noPlan   error
}

// said returns what the agent reported last. What it waits for with a timer of its own
// may come at any moment.
func (a *agent) said() saying {
	w := a.machine.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return saying{a.told, a.progress, a.held, a.noPlan}
}

// early says what is told too early: that the role is ready between two steps,
// or that the boot need not wait while a step runs.
func early(p []graph.Progress) string {
	is := func(states ...graph.State) bool {
		return slices.ContainsFunc(p, func(s graph.Progress) bool { return !s.Aside && slices.Contains(states, s.State) })
	}
	switch {
	case is(graph.Running) && report.Settled(p):
		return "the boot is told not to wait, and a step runs"
	case is(graph.Running, graph.Waiting, graph.Failed) || !is(graph.Pending, graph.Skipped):
		return "" // a step is at work, which is what is told; or all is done
	}
	if s := report.Of(status.Status{}, nil, p); s.State == status.Ready {
		return "the role is told to be ready, and not all is done"
	}
	return ""
}

// read looks at a text that the agent lets out.
func (w *World) read(text string) {
	if w.leaked == "" && strings.Contains(text, plaintext) {
		w.leaked = text
	}
}

// A handler takes the agent's log. A step says in it that it starts and ends.
type handler struct {
	agent *agent
	step  string
}

func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

func (h *handler) WithGroup(string) slog.Handler { return h }

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, attr := range attrs {
		if attr.Key == "step" {
			with.step = attr.Value.String()
		}
	}
	return &with
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	a := h.agent
	w := a.machine.world
	text := r.Message
	r.Attrs(func(attr slog.Attr) bool { text += " " + attr.Value.String(); return true })
	w.mu.Lock()
	w.read(text)
	w.mu.Unlock()
	nothing := effect{do: func() error { return nil }}
	if h.step == "" {
		return nil
	}
	switch r.Message {
	case "started":
		a.is(h.step)
		return a.call(context.Background(), r.Message, h.step, nothing)
	case "finished", "cancelled":
		return a.call(context.Background(), r.Message, h.step, nothing)
	case "failed":
		return a.call(context.Background(), "fails", text, nothing)
	}
	return nil
}
