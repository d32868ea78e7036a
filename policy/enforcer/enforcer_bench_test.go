package enforcer_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	stringadapter "github.com/casbin/casbin/v2/persist/string-adapter"

	"github.com/kasbah-authz/kasbah/policy"
	"github.com/kasbah-authz/kasbah/policy/enforcer"
)

const (
	benchRBAC     = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n[role_definition]\ng = _, _\n" + allowSome + "[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n"
	benchPatterns = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n[role_definition]\ng = _, _\n" + allowSome + "[matchers]\nm = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act\n"
	benchDomains  = "[request_definition]\nr = sub, dom, obj, act\n[policy_definition]\np = sub, dom, obj, act\n[role_definition]\ng = _, _, _\n" + allowSome + "[matchers]\nm = g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act\n"
)

// benchPolicy is a policy of that many rules, a tenth of which permit and the rest of which are role links, as on
// Casbin's benchmark page, with requests about it: many different ones of each kind, because one that is asked again
// and again finds everything in the processor's caches.
type benchPolicy struct {
	name, model, rules   string
	allow, deny, hundred [][]string // requests: allowed, denied, denied to a caller with 100 roles
}

const benchRequests = 1 << 14

// benchPolicies returns three kinds of policies. Role group i may read data i/10, and user i has role i.
func benchPolicies(rules int) []*benchPolicy {
	permits := max(rules/11, 20)
	links := max(rules-permits-100, 10)
	kinds := []*benchPolicy{{name: "rbac", model: benchRBAC}, {name: "patterns", model: benchPatterns}, {name: "domains", model: benchDomains}}
	for _, p := range kinds {
		var text strings.Builder
		for i := range permits {
			text.WriteString(p.permit(i))
		}
		for i := range links {
			text.WriteString(p.link(fmt.Sprint("user", i), i%permits))
		}
		for i := range 100 {
			text.WriteString(p.link("chief", i*permits/100/100*100+7%permits))
		}
		p.rules = text.String()
		random := rand.New(rand.NewPCG(1, 2))
		for range benchRequests {
			user := random.IntN(links)
			role := user % permits
			p.allow = append(p.allow, p.request(fmt.Sprint("user", user), role, role))
			p.deny = append(p.deny, p.request(fmt.Sprint("user", user), role, (role+permits/2)%permits))
			p.hundred = append(p.hundred, p.request("chief", 7, random.IntN(permits/100+1)*100+57))
		}
	}
	return kinds
}

func (p *benchPolicy) permit(i int) string {
	switch p.name {
	case "patterns":
		return fmt.Sprintf("p, group%d, /shop%d/orders/:id, GET\n", i, i/10)
	case "domains":
		return fmt.Sprintf("p, group%d, tenant%d, data%d, read\n", i, i%100, i/10)
	}
	return fmt.Sprintf("p, group%d, data%d, read\n", i, i/10)
}

func (p *benchPolicy) link(user string, group int) string {
	if p.name == "domains" {
		return fmt.Sprintf("g, %s, group%d, tenant%d\n", user, group, group%100)
	}
	return fmt.Sprintf("g, %s, group%d\n", user, group)
}

// request asks, as a user in the domain of one group, for what another group may.
func (p *benchPolicy) request(user string, group, wanted int) []string {
	switch p.name {
	case "patterns":
		return []string{user, fmt.Sprintf("/shop%d/orders/%d", wanted/10, wanted), "GET"}
	case "domains":
		return []string{user, fmt.Sprint("tenant", group%100), fmt.Sprint("data", wanted/10), "read"}
	}
	return []string{user, fmt.Sprint("data", wanted/10), "read"}
}

// BenchmarkSizes is a decision at up to a million rules, beside Casbin's at the sizes that it can bear.
func BenchmarkSizes(b *testing.B) {
	for _, size := range []int{1_000, 10_000, 100_000, 1_000_000} {
		for _, p := range benchPolicies(size) {
			b.Run(fmt.Sprintf("%s/%d", p.name, size), func(b *testing.B) {
				e := p.build(b)
				b.Run("allow", func(b *testing.B) { p.bench(b, e, p.allow, true) })
				b.Run("deny", func(b *testing.B) { p.bench(b, e, p.deny, false) })
				b.Run("hundred roles", func(b *testing.B) { p.bench(b, e, p.hundred, false) })
				if size > 100_000 {
					return
				}
				m, err := model.NewModelFromString(p.model)
				if err != nil {
					b.Fatal(err)
				}
				truth, err := casbin.NewEnforcer(m, stringadapter.NewAdapter(p.rules))
				if err != nil {
					b.Fatal(err)
				}
				b.Run("casbin", func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if got, err := truth.Enforce(asAny(p.allow[0])...); err != nil || !got {
							b.Fatal(got, err)
						}
					}
				})
			})
		}
	}
}

// build returns our enforcer, with the fields that a request has them in.
func (p *benchPolicy) build(b *testing.B) *enforcer.Enforcer {
	b.Helper()
	cfg := enforcer.Config{
		Name: p.name, Model: enforcer.Text{File: "model.conf", Data: []byte(p.model)}, Policy: enforcer.Text{File: "policy.csv", Data: []byte(p.rules)},
	}
	if p.name == "domains" {
		cfg.Fields = map[string]enforcer.Field{"dom": func(req *policy.Request, _ *policy.Principal) (any, error) { return req.Host, nil }}
	}
	e, findings := enforcer.New(cfg)
	if e == nil {
		b.Fatal(findings)
	}
	return e
}

func (p *benchPolicy) bench(b *testing.B, e *enforcer.Enforcer, values [][]string, allowed bool) {
	requests, callers := make([]policy.Request, len(values)), make([]policy.Principal, len(values))
	for i, v := range values {
		callers[i].ID = v[0]
		requests[i] = policy.Request{Host: v[1], Path: v[len(v)-2], Method: v[len(v)-1]}
	}
	next := 0
	var chunks []time.Duration
	started := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		at := next % len(requests)
		got, err := e.Evaluate(b.Context(), &requests[at], &callers[at])
		if err != nil || (got.Verdict == policy.Permitted) != allowed {
			b.Fatalf("%v: %+v, %v", values[at], got, err)
		}
		if next++; next%benchChunk == 0 {
			now := time.Now()
			chunks, started = append(chunks, now.Sub(started)), now
		}
	}
	if len(chunks) > 0 {
		slices.Sort(chunks)
		b.ReportMetric(float64(chunks[len(chunks)/2].Nanoseconds())/benchChunk, "median-ns/op")
	}
}

// benchChunk is how many decisions are timed together for the median, which what else the machine does hardly moves.
const benchChunk = 64

// BenchmarkLoad reads and indexes a million rules.
func BenchmarkLoad(b *testing.B) {
	p := benchPolicies(1_000_000)[0]
	var e *enforcer.Enforcer
	for b.Loop() {
		e = p.build(b)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if e.Rules() < 999_000 {
		b.Fatal(e.Rules())
	}
	e = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(before.HeapAlloc-after.HeapAlloc)/(1<<20), "MiB-held")
}

// BenchmarkChange adds one rule in the middle of a million, and takes it out again.
func BenchmarkChange(b *testing.B) {
	p := benchPolicies(1_000_000)[0]
	half := strings.IndexByte(p.rules[len(p.rules)/2:], '\n') + len(p.rules)/2 + 1
	texts := [2][]byte{[]byte(p.rules), []byte(p.rules[:half] + "p, newcomer, data1, read\n" + p.rules[half:])}
	cfg := enforcer.Config{Name: p.name, Model: enforcer.Text{File: "model.conf", Data: []byte(p.model)}}
	next := 0
	change := func() *enforcer.Enforcer {
		cfg.Policy = enforcer.Text{File: "policy.csv", Data: texts[next%2]}
		next++
		e, findings := enforcer.New(cfg)
		if e == nil {
			b.Fatal(findings)
		}
		return e
	}
	cfg.Previous = change()
	rules := cfg.Previous.Rules()
	for b.Loop() {
		cfg.Previous = change()
	}
	if got := cfg.Previous.Rules(); got != rules+(next-1)%2 {
		b.Fatal(rules, got)
	}
}
