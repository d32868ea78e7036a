package keys

import (
	"context"
	"time"
)

const (
	// maxPendingUses is how many uses wait for the recorder, and mostUses how many it holds; more are not recorded.
	maxPendingUses = 4096
	mostUses       = 100_000
	// useInterval is how often uses are written.
	useInterval = 10 * time.Second
)

// use says that a key was used.
type use struct {
	id string
	at time.Time
}

// used notes that a key was used, at most once in a minute of the clock, and waits for nothing.
func (t *keyTable) used(entry *apiKeyEntry, at time.Time) {
	if t == nil || t.uses == nil {
		return
	}
	minute := at.Unix() / 60
	if last := entry.used.Load(); last == minute || !entry.used.CompareAndSwap(last, minute) {
		return
	}
	select {
	case t.uses <- use{entry.id, at}:
	default: // there are more than are written; another minute will do
	}
}

// record writes the uses until ctx ends. What cannot be written is lost.
func (t *keyTable) record(ctx context.Context) {
	var recorder UseRecorder
	defer func() {
		if recorder != nil {
			recorder.Close()
		}
	}()
	ticker := time.NewTicker(useInterval)
	defer ticker.Stop()
	pending, complained := map[string]time.Time{}, false
	for {
		select {
		case u := <-t.uses:
			if len(pending) < mostUses {
				pending[u.id] = u.at
			}
			continue
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if len(pending) == 0 {
			continue
		}
		err := t.write(ctx, &recorder, pending)
		if err != nil && !complained && ctx.Err() == nil {
			t.logger.WarnContext(ctx, "the last use of API keys cannot be recorded", "source", t.table.Source, "err", err)
		}
		complained = err != nil
		clear(pending)
	}
}

func (t *keyTable) write(ctx context.Context, recorder *UseRecorder, uses map[string]time.Time) (err error) {
	if *recorder == nil {
		if *recorder, err = t.table.Recorder(ctx); err != nil {
			*recorder = nil
			return err
		}
	}
	if err = (*recorder).RecordUse(ctx, uses); err != nil {
		(*recorder).Close()
		*recorder = nil
	}
	return err
}
