package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent lets a small heap grow further between collections than Go's default. The service keeps little and makes
	// short-lived garbage with every check, so this costs some tens of MB and saves a sixth of the CPU.
	gcPercent = 400
	// gcRoom is how much a large heap may grow, in bytes: a policy of a million rules must not take five times its room.
	gcRoom = 256 << 20
	// gcLeast is the percentage below which collections would cost more than memory does.
	gcLeast = 50
	// gcBallast is memory that is never touched, and so takes no room, but counts as in use: without it the few MB that a
	// service with a small policy keeps would have it collect ten times a second. It saves a twentieth of the CPU for some
	// 30 MB of garbage more.
	gcBallast = 8 << 20
	// gcEvery is how often the size of the heap is looked at.
	gcEvery = time.Second
)

// keepHeap sets the garbage collector by the size of what is in use, until ctx ends; unless the environment has GOGC.
func keepHeap(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	ballast := make([]byte, gcBallast)
	defer runtime.KeepAlive(ballast)
	tick := time.NewTicker(gcEvery)
	defer tick.Stop()
	set := 0
	for {
		if percent := gcPercentFor(liveHeap()); percent != set {
			debug.SetGCPercent(percent)
			set = percent
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// gcPercentFor returns the percentage for a heap of which so many bytes are in use.
func gcPercentFor(live uint64) int {
	if live <= gcRoom*100/gcPercent {
		return gcPercent
	}
	return max(int(gcRoom*100/live), gcLeast)
}

// liveHeap returns the bytes that were in use at the last collection.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
