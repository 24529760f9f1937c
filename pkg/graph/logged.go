package graph

import (
	"context"
	"log/slog"
	"time"

	"bootagent/pkg/fault"
)

// Logged returns run, and logs when it starts, and how it ends: "finished",
// "failed", or "cancelled" where its context has ended.
func Logged(_ string, log *slog.Logger, run Func) Func {
	return func(ctx context.Context) error {
		began := time.Now()
		log.Info("started")
		err := run(ctx)
		took := slog.Duration("took", time.Since(began).Round(time.Millisecond))
		switch {
		case err == nil:
			log.Info("finished", took)
		case ctx.Err() != nil:
			log.Info("cancelled", took, "why", context.Cause(ctx))
		default:
			log.Error("failed", took, "error", err, "hint", fault.HintOf(err))
		}
		return err
	}
}
