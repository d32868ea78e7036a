package server_test

import (
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/kasbah-authz/kasbah/server"
	"github.com/kasbah-authz/kasbah/server/servertest"
)

func serverInjectSlow(s *servertest.Server) error {
	return server.Inject(s.Server, everything(waits("slow", untilEnd)))
}

// floodGrowth is how much memory a flood may add, at its height and afterwards.
const floodGrowth = 64 << 20

// floods are abuses of HTTP/2. Each goes on until it is through or the server has had enough.
var floods = map[string]func(w *wire) error{
	"rapid reset (CVE-2023-44487)": func(w *wire) error {
		for range 20_000 {
			id, err := w.open(checkMethod, false)
			if err != nil {
				return err
			}
			if err := w.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
				return err
			}
		}
		return nil
	},
	"many streams": func(w *wire) error {
		for range 20_000 {
			if _, err := w.open(checkMethod, false); err != nil {
				return err
			}
		}
		return nil
	},
	"CONTINUATION (CVE-2023-45288)": func(w *wire) error {
		if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.headers(checkMethod)}); err != nil {
			return err
		}
		for i := range 20_000 {
			block := w.headers("/", hpack.HeaderField{Name: "x-" + string(rune('a'+i%26)), Value: string(make([]byte, 4000))})
			if err := w.WriteContinuation(1, false, block); err != nil {
				return err
			}
		}
		return nil
	},
	"SETTINGS": func(w *wire) error {
		for i := range 100_000 {
			if err := w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)}); err != nil {
				return err
			}
		}
		return nil
	},
	"PING": func(w *wire) error {
		for i := range uint64(100_000) {
			var data [8]byte
			binary.BigEndian.PutUint64(data[:], i)
			if err := w.WritePing(false, data); err != nil {
				return err
			}
		}
		return nil
	},
	"DATA of one byte (CVE-2026-84304)": func(w *wire) error {
		id, err := w.open(checkMethod, false)
		if err != nil {
			return err
		}
		if err := w.WriteData(id, false, []byte{0, 0, 16, 0, 0}); err != nil { // a message of 1 MiB is announced
			return err
		}
		for range 60_000 { // as many as the window allows
			if err := w.WriteData(id, false, []byte{0}); err != nil {
				return err
			}
		}
		return nil
	},
	"empty DATA": func(w *wire) error {
		id, err := w.open(checkMethod, false)
		if err != nil {
			return err
		}
		for range 100_000 {
			if err := w.WriteData(id, false, nil); err != nil {
				return err
			}
		}
		return nil
	},
	"WINDOW_UPDATE": func(w *wire) error {
		for range 100_000 {
			if err := w.WriteWindowUpdate(0, 1); err != nil {
				return err
			}
		}
		return nil
	},
	"PRIORITY": func(w *wire) error {
		for i := range uint32(100_000) {
			if err := w.WritePriority(2*i+1, http2.PriorityParam{StreamDep: 0, Weight: 1}); err != nil {
				return err
			}
		}
		return nil
	},
	"garbage": func(w *wire) error {
		for range 1000 {
			if err := w.WriteRawFrame(0xee, 0xff, 7, make([]byte, 10_000)); err != nil {
				return err
			}
		}
		return nil
	},
}

// TestFloods: a connection that abuses HTTP/2 costs bounded memory, and the others are served meanwhile. The flooder
// never reads, so that what is answered to it must not pile up either.
func TestFloods(t *testing.T) {
	s := startOrders(t, func(files map[string]string) {
		files[servertest.ConfigFile] = replaceOnce(t, files[servertest.ConfigFile], "level: debug, decisions: all", "level: error, decisions: none")
	})
	check := servertest.NewCheck("GET", "/orders/7", servertest.Bearer(testIssuer(t).Token(alice)))
	if got := s.Status(check); got != 200 {
		t.Fatalf("alice gets %d", got)
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			before := heap()
			over := make(chan struct{})
			var flooders, others sync.WaitGroup
			ended := make(chan error, 2)
			for range cap(ended) {
				flooders.Go(func() {
					w, err := dialWire(s.Addr())
					if err == nil {
						defer w.Close()
						err = flood(w)
					}
					ended <- err
				})
			}
			var served atomic.Int64
			var height uint64
			others.Go(func() {
				for {
					response, err := s.Client().Check(t.Context(), check)
					if err != nil || servertest.Status(response) != 200 {
						t.Errorf("another connection: %v, %v", response, err)
						return
					}
					if served.Add(1)%50 == 0 {
						height = max(height, heap())
					}
					select {
					case <-over:
						return
					default:
					}
				}
			})
			flooders.Wait()
			close(over)
			others.Wait()
			height = max(height, heap())
			t.Logf("%d other checks served; memory grew by %d KiB; the last flood ended with: %v", served.Load(), (int64(height)-int64(before))>>10, <-ended)
			if served.Load() == 0 {
				t.Error("no other connection was served")
			}
			if height > before+floodGrowth {
				t.Errorf("memory grew by %d MiB", (height-before)>>20)
			}
		})
	}
	if got := s.Status(check); got != 200 {
		t.Errorf("afterwards alice gets %d", got)
	}
	if got := s.Metrics()["kasbah_panics_total"]; got != 0 {
		t.Errorf("%v panics", got)
	}
}

// TestLargeDeclarations: what a message claims to be costs nothing before it is there.
func TestLargeDeclarations(t *testing.T) {
	s := startOrders(t, nil)
	before := heap()
	for _, announced := range [][]byte{{0, 0xff, 0xff, 0xff, 0xff}, {0, 0x7f, 0xff, 0xff, 0xff}, {1, 0, 0, 0, 1, 0}, {9, 0, 0, 0, 0}, {0, 0, 0, 0, 5, 1}} {
		w, err := dialWire(s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := w.call(checkMethod, announced); got == "0" {
			t.Errorf("%x: grpc-status 0", announced)
		}
		_ = w.Close() // nothing is left to lose
	}
	if after := heap(); after > before+floodGrowth {
		t.Errorf("memory grew by %d MiB", (after-before)>>20)
	}
	if got := s.Status(servertest.NewCheck("GET", "/healthz")); got != 200 {
		t.Errorf("afterwards: %d", got)
	}
}

// heap is the memory in use after a collection.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
