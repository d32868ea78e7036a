package main

import "testing"

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
