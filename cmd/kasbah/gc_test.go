package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
)

// TestHeapRoom: a small heap may grow fivefold, a large one by a quarter of a GiB, and none by less than half.
func TestHeapRoom(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 10 << 20: 400, 64 << 20: 400, 128 << 20: 200, 256 << 20: 100, 400 << 20: 64, 1 << 30: 50, 1 << 40: 50} {
		if got := gcPercentFor(live); got != want {
			t.Errorf("%d MiB: %d, want %d", live>>20, got, want)
		}
	}
	if liveHeap() > 1<<40 {
		t.Error("the heap in use is not known")
	}
}

// TestBallast: it counts as in use for as long as the heap is kept, and not where the environment sets the collector.
func TestBallast(t *testing.T) {
	percent := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	inUse := func() int64 {
		runtime.GC()
		return int64(liveHeap())
	}
	keeps := func(settle func() bool) bool {
		before := inUse()
		ctx, end := context.WithCancel(t.Context())
		var keeper sync.WaitGroup
		keeper.Go(func() { keepHeap(ctx) })
		kept := false
		for tries := 0; tries < 1000 && !kept && !settle(); tries++ {
			kept = inUse()-before > gcBallast*3/4
		}
		end()
		keeper.Wait()
		if inUse()-before > gcBallast/4 {
			t.Error("it is kept for longer")
		}
		return kept
	}
	t.Setenv("GOGC", "")
	if !keeps(func() bool { return false }) {
		t.Error("there is no ballast")
	}
	t.Setenv("GOGC", "100")
	ended := 0
	if keeps(func() bool { ended++; return ended > 20 }) {
		t.Error("there is ballast where the environment has GOGC")
	}
}
