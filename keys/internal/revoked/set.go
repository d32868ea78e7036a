package revoked

import (
	"hash/maphash"
	"maps"
	"math"
	"time"
)

// shards is how many parts a Set has. A change copies the parts that it is in, and shares the others with the Set before.
const shards = 4096

// Set is what is withdrawn. It does not change. The zero value withdraws nothing.
type Set struct {
	seeds  *[2]maphash.Seed
	parts  *[shards]map[key]spans
	claims [4]int // names by claim, so that nobody looks for what no credential was withdrawn by
	names  int
}

// key stands for a name: 128 bits of a hash that nobody can foresee, so that a million names take no room for their text. That two
// names share one, of a million, has the odds of 1 to 10^26.
type key [2]uint64

// span is a window in Unix nanoseconds; math.MaxInt64 where its time is zero.
type span struct{ before, until int64 }

// spans are the windows of a name, of which there is hardly ever more than one.
type spans struct {
	span
	more []span
}

func claimIndex(claim string) int {
	switch claim {
	case "jti":
		return 0
	case "sid":
		return 1
	case "sub":
		return 2
	}
	return 3
}

// Len is how many names there are.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.names
}

func (s *Set) key(n Name) key {
	var k key
	for i := range k {
		var h maphash.Hash
		h.SetSeed(s.seeds[i])
		_, _ = h.WriteString(n.Claim)
		_ = h.WriteByte(0xff) // which no text has in it
		_, _ = h.WriteString(n.Issuer)
		_ = h.WriteByte(0xff)
		_, _ = h.WriteString(n.Value)
		k[i] = h.Sum64()
	}
	return k
}

// Unissued is the time of issue of a credential that does not say when it was issued. It counts as older than everything.
const Unissued = math.MinInt64

// Withdraws reports whether a credential of that name, issued at that Unix time in nanoseconds, is withdrawn now.
func (s *Set) Withdraws(n Name, issued, now int64) bool {
	if s == nil || s.names == 0 || s.claims[claimIndex(n.Claim)] == 0 {
		return false
	}
	k := s.key(n)
	found, ok := s.parts[k[0]%shards][k]
	if !ok {
		return false
	}
	if found.withdraws(issued, now) {
		return true
	}
	for _, other := range found.more {
		if other.withdraws(issued, now) {
			return true
		}
	}
	return false
}

func (s span) withdraws(issued, now int64) bool { return now < s.until && issued <= s.before }

// How is how records are put into a Set.
type How int

// The ways in which records change a Set.
const (
	Add     How = iota // they are laid over what the Set has of their names
	Keep               // the Set withdraws all that it did, and what they do
	Replace            // they are all that there is
)

// With returns the Set with those records.
func (s *Set) With(records []Record, how How) *Set {
	next := &Set{parts: new([shards]map[key]spans)}
	if s != nil && s.seeds != nil && how != Replace {
		*next = *s
		next.parts = new([shards]map[key]spans)
		*next.parts = *s.parts
	} else {
		next.seeds = &[2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	}
	own := make(map[uint64]bool) // parts that are not shared any more
	for _, record := range records {
		k := next.key(record.Name)
		at := k[0] % shards
		if !own[at] {
			own[at] = true
			if next.parts[at] = maps.Clone(next.parts[at]); next.parts[at] == nil {
				next.parts[at] = map[key]spans{}
			}
		}
		windows := record.Windows
		before, known := next.parts[at][k]
		if known && how == Keep {
			windows = Merge(windows, before.windows()...)
		}
		if !known {
			next.count(record.Claim, 1)
		}
		next.parts[at][k] = spansOf(windows)
	}
	return next
}

func (s *Set) count(claim string, by int) {
	s.claims[claimIndex(claim)] += by
	s.names += by
}

// Without returns the Set without what is over. It is the same Set where there is nothing.
func (s *Set) Without(now time.Time) *Set {
	if s == nil || s.names == 0 {
		return s
	}
	at := now.UnixNano()
	over := func(k key, v spans) bool { _ = k; return v.end() <= at }
	var next *Set
	for i, part := range s.parts {
		for k, v := range part {
			if !over(k, v) {
				continue
			}
			if next == nil {
				next = &Set{seeds: s.seeds, parts: new([shards]map[key]spans), claims: s.claims, names: s.names}
				*next.parts = *s.parts
			}
			kept := maps.Clone(part)
			maps.DeleteFunc(kept, over)
			next.parts[i] = kept
			next.names -= len(part) - len(kept) // claims stay: they only say where looking is of use
			break
		}
	}
	if next == nil {
		return s
	}
	return next
}

func spansOf(windows []Window) spans {
	var all spans
	for i, w := range windows {
		one := span{nanoseconds(w.Before), nanoseconds(w.Until)}
		if i == 0 {
			all.span = one
			continue
		}
		all.more = append(all.more, one)
	}
	return all
}

func (s spans) windows() []Window {
	all := []Window{s.window()}
	for _, other := range s.more {
		all = append(all, other.window())
	}
	return all
}

func (s spans) end() int64 {
	end := s.until
	for _, other := range s.more {
		end = max(end, other.until)
	}
	return end
}

func (s span) window() Window { return Window{Before: timeOf(s.before), Until: timeOf(s.until)} }

// The years that Unix nanoseconds reach to.
var (
	firstTime = time.Unix(0, math.MinInt64+1)
	lastTime  = time.Unix(0, math.MaxInt64-1)
)

func nanoseconds(at time.Time) int64 {
	switch {
	case at.IsZero() || at.After(lastTime):
		return math.MaxInt64
	case at.Before(firstTime):
		return math.MinInt64 + 1
	}
	return at.UnixNano()
}

func timeOf(nanoseconds int64) time.Time {
	if nanoseconds == math.MaxInt64 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds).UTC()
}
