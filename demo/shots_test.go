package demo_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A shot is a request of the load, and its verdict before and after the change of the marker's rule.
type shot struct {
	name          string
	request       []byte
	before, after int
}

func fixed(name string, a attack, status int) shot { return shot{name, a.bytes(), status, status} }

// stage is a part of the load test, in the order in which the parts come.
type stage int32

const (
	warmUp stage = iota
	reloading
	reloaded
	broken
	rotated
	draining
	gone
	back
	killed // one replica was killed without a word: Envoy may deny a few for want of an answer, and may not allow
	stages
)

func (s stage) String() string {
	return [...]string{"warm-up", "reload", "reloaded", "broken reload", "JWKS rotation", "SIGTERM", "one replica", "two again", "SIGKILL"}[s]
}

// counts are what became of the requests that began in one stage.
type counts struct {
	requests, lost, wrong, unavailable atomic.Int64
}

// A load is many connections that each send one request after another and check every answer.
type load struct {
	address string
	shots   atomic.Pointer[[]shot]
	stage   atomic.Int32
	begun   time.Time

	counts [stages]counts
	redial atomic.Int64

	mu        sync.Mutex
	faults    []string         // the first few
	answered  map[string]int64 // good answers by the name of the shot
	latencies []time.Duration

	ending  chan struct{}
	workers sync.WaitGroup
}

func newLoad(address string, connections int, shots []shot) *load {
	l := &load{address: address, begun: time.Now(), answered: map[string]int64{}, ending: make(chan struct{})}
	l.shots.Store(&shots)
	for range connections {
		l.workers.Go(l.work)
	}
	return l
}

// end ends the load, and returns when the last answer is there.
func (l *load) end() {
	close(l.ending)
	l.workers.Wait()
}

func (l *load) enter(s stage) { l.stage.Store(int32(s)) }

func (l *load) fault(format string, arguments ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) < 20 {
		l.faults = append(l.faults, fmt.Sprintf("%7.3fs ", time.Since(l.begun).Seconds())+fmt.Sprintf(format, arguments...))
	}
}

// work is one connection. It is opened anew only where an answer says that it ends, as Envoy's do with a status of
// 400; one that ends otherwise is a request lost.
func (l *load) work() {
	answered, latencies := map[string]int64{}, []time.Duration(nil)
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for name, n := range answered {
			l.answered[name] += n
		}
		l.latencies = append(l.latencies, latencies...)
	}()
	var conn net.Conn
	var reader *bufio.Reader
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	for next := rand.IntN(1000); ; next++ {
		select {
		case <-l.ending:
			return
		default:
		}
		if conn == nil {
			var err error
			if conn, err = net.Dial("tcp", l.address); err != nil {
				l.fault("dialling: %v", err)
				l.counts[l.stage.Load()].lost.Add(1)
				return
			}
			reader = bufio.NewReader(conn)
		}
		shots := *l.shots.Load()
		s := &shots[next%len(shots)]
		began, from := time.Now(), stage(l.stage.Load())
		status, closing, err := roundTrip(conn, reader, s.request)
		latencies = append(latencies, time.Since(began))
		if l.judge(s, from, status, err) {
			answered[s.name]++
		}
		if err != nil || closing {
			_ = conn.Close()
			conn = nil
			l.redial.Add(1)
		}
	}
}

func roundTrip(conn net.Conn, reader *bufio.Reader, request []byte) (status int, closing bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, true, err
	}
	if _, err := conn.Write(request); err != nil {
		return 0, true, err
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return 0, true, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Close, err
}

// judge counts an answer, and says whether it was good. The verdict before the change of the rule is good for a request
// that began before the change was in force everywhere, the one after it for a request that ended after it was written.
func (l *load) judge(s *shot, from stage, status int, err error) bool {
	c, until := &l.counts[from], stage(l.stage.Load())
	c.requests.Add(1)
	switch {
	case err != nil:
		c.lost.Add(1)
		l.fault("%s, in %s: lost: %v", s.name, from, err)
	case from <= reloading && status == s.before, until >= reloading && status == s.after:
		return true
	case status == http.StatusServiceUnavailable && until == killed:
		c.unavailable.Add(1)
	case status >= 500:
		c.lost.Add(1)
		l.fault("%s, in %s: lost: status %d", s.name, from, status)
	default:
		c.wrong.Add(1)
		l.fault("%s, in %s until %s: status %d, want %d then %d", s.name, from, until, status, s.before, s.after)
	}
	return false
}

// requests is how many requests were answered so far.
func (l *load) requests() (sum int64) {
	for i := range l.counts {
		sum += l.counts[i].requests.Load()
	}
	return sum
}

// more waits until that many more requests were answered.
func (l *load) more(t *testing.T, requests int64) {
	t.Helper()
	target := l.requests() + requests
	await(t, "more requests to be answered", func() bool { return l.requests() >= target })
}

// report prints what became of the requests, and demands that all ended well and that every shot was fired.
func (l *load) report(t *testing.T, names []string) {
	t.Helper()
	took := time.Since(l.begun)
	slices.Sort(l.latencies)
	quantile := func(q float64) time.Duration { return l.latencies[int(q*float64(len(l.latencies)-1))] }
	t.Logf("%d requests in %.1f s, %.0f a second; p50 %s, p99 %s, longest %s; %d connections opened anew",
		l.requests(), took.Seconds(), float64(l.requests())/took.Seconds(), quantile(0.5), quantile(0.99), quantile(1), l.redial.Load())
	for i := range l.counts {
		c := &l.counts[i]
		t.Logf("%-14s %7d requests, %d lost, %d wrong, %d without an answer", stage(i), c.requests.Load(), c.lost.Load(), c.wrong.Load(), c.unavailable.Load())
		if c.lost.Load()+c.wrong.Load() > 0 {
			t.Errorf("%s: %d requests lost, %d wrong verdicts", stage(i), c.lost.Load(), c.wrong.Load())
		}
		if c.unavailable.Load()*100 > c.requests.Load() {
			t.Errorf("%s: %d of %d requests without an answer: the other replica was there", stage(i), c.unavailable.Load(), c.requests.Load())
		}
		if c.requests.Load() == 0 {
			t.Errorf("%s: no request", stage(i))
		}
	}
	for _, name := range names {
		if l.answered[name] == 0 {
			t.Errorf("%s: never answered well", name)
		}
	}
	for _, fault := range l.faults {
		t.Log(fault)
	}
}
