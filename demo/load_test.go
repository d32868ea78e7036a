package demo_test

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/demo"
	"github.com/kasbah-authz/kasbah/envoy/envoytest"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/testdata"
)

const (
	connections = 32
	// refreshFloor is the least time between two fetches of a key set that unknown key ids ask for, with a margin.
	refreshFloor = 5500 * time.Millisecond
)

var loadFor = flag.Duration("load", 8*time.Second, "how long TestLoad keeps up the load, 60s at most; its events take some seconds more at the least")

// fleet is two replicas behind one Envoy, and what the events of the load test change.
type fleet struct {
	issuer   *keystest.Issuer
	fetches  atomic.Int64 // of the key set
	policy   string       // the path of policy.csv
	original []byte       // what it holds at first
	replicas [2]*replica
	started  time.Time // when the last replica was started
	edge     *edge
}

// TestLoad keeps two replicas under load while each of these happens: a reload that adds rules and turns one verdict
// over, a reload of a broken file, new keys at the issuer, the end of a replica by SIGTERM, and its return. No request
// may be lost, and no verdict wrong. Then a replica is killed, and the other: nothing may be allowed for want of an answer.
func TestLoad(t *testing.T) {
	if *loadFor > time.Minute {
		t.Fatalf("-load is %s, and 60s at most", *loadFor)
	}
	f := newFleet(t)
	marker := attack{target: "/marker", headers: []string{bearer(f.issuer.Token(keystest.Claims{Subject: "alice"}))}}
	shots := append(f.shots("first keys"), shot{"the marker", marker.bytes(), 403, 200})
	l := newLoad(f.edge.address, connections, shots)
	ended := false
	defer func() {
		if !ended {
			l.end() // a check of the events ended the test
		}
	}()
	l.more(t, 1000)
	f.reload(t, l)
	f.breakPolicy(t, l)
	shots = append(shots, f.rotate(t, l, shots)...)
	f.terminate(t, l)
	await(t, "the load to have lasted", func() bool { return time.Since(l.begun) >= *loadFor })
	f.kill(t, l)
	l.end()
	ended = true
	names := make([]string, len(shots))
	for i := range shots {
		names[i] = shots[i].name
	}
	l.report(t, names)
	f.nothingAllowed(t, shots)
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{}
	address := f.serveIssuer(t)
	folder := t.TempDir()
	settings, err := os.ReadFile("testdata/load.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f.policy, f.original = filepath.Join(folder, "policy.csv"), testdata.Read(t, "demo/policy.csv")
	for name, data := range map[string][]byte{
		"kasbah.yaml": bytes.Replace(settings, []byte(demo.IssuerURL), []byte(address), 1),
		"model.conf":  testdata.Read(t, "demo/model.conf"),
		"policy.csv":  f.original,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	program := buildKasbah(t)
	for i := range f.replicas {
		f.replicas[i] = newReplica(t, program, filepath.Join(folder, "kasbah.yaml"))
	}
	f.started = time.Now()
	upstream := serve(t, demo.Upstream())
	f.edge = &edge{name: "two replicas", log: &lines{}, verdicts: map[string]int{}}
	f.edge.envoy = envoytest.Run(t, envoytest.Config{
		Bootstrap: newBootstrap(t, secondReplica(f.replicas[1].listen)),
		Addresses: map[string]string{"0.0.0.0:10000": "127.0.0.1:0", "127.0.0.1:9191": f.replicas[0].listen, "127.0.0.1:8080": upstream},
	})
	f.edge.address = f.edge.envoy.Listener("http")
	f.edge.awaitHealthy(t, 2)
	return f
}

// serveIssuer starts the issuer where the replicas find it, and returns its identifier.
func (f *fleet) serveIssuer(t *testing.T) string {
	t.Helper()
	handler := &http.ServeMux{}
	address := "http://" + serve(t, &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second})
	issuer, err := keystest.New(address)
	if err != nil {
		t.Fatal(err)
	}
	f.issuer = issuer
	handler.Handle("/", issuer)
	handler.HandleFunc("/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		issuer.ServeHTTP(w, r)
		f.fetches.Add(1)
	})
	return address
}

// serve runs an HTTP service on a free port until the test ends.
func serve(t *testing.T, service *http.Server) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = service.Serve(listener) }()
	t.Cleanup(func() { _ = service.Close(); <-done })
	return listener.Addr().String()
}

// shots are requests of every verdict, with tokens under the keys in force.
func (f *fleet) shots(keys string) []shot {
	token := func(claims keystest.Claims) []string { return []string{bearer(f.issuer.Token(claims))} }
	forged := func(kind keystest.Forgery) attack {
		return attack{target: "/orders/7", headers: []string{bearer(f.issuer.Forge(kind, keystest.Claims{Subject: "alice"}))}}
	}
	named := func(name string, a attack, status int) shot { return fixed(name+", "+keys, a, status) }
	return []shot{
		named("public", attack{target: "/healthz"}, 200),
		named("a reader reads", attack{target: "/orders/7", headers: token(keystest.Claims{Subject: "alice"})}, 200),
		named("a role of a role", attack{target: "/orders", headers: token(keystest.Claims{Subject: "bob", Algorithm: "ES256"})}, 200),
		named("a writer writes", attack{method: "POST", target: "/orders", headers: token(keystest.Claims{Subject: "bob"}), body: "{}"}, 200),
		named("a role in the token", attack{method: "DELETE", target: "/orders/7", headers: token(keystest.Claims{Subject: "carol", Roles: []string{"admin"}, Algorithm: "EdDSA"})}, 200),
		named("a rule that denies", attack{target: "/orders/secret", headers: token(keystest.Claims{Subject: "alice"})}, 403),
		named("no rule", attack{method: "DELETE", target: "/orders/7", headers: token(keystest.Claims{Subject: "alice"})}, 403),
		named("unknown", attack{target: "/orders/7", headers: token(keystest.Claims{Subject: "mallory"})}, 403),
		named("no route", attack{target: "/nowhere", headers: token(keystest.Claims{Subject: "alice"})}, 403),
		named("nobody", attack{target: "/orders/7"}, 401),
		named("a changed token", forged(keystest.TamperedPayload), 401),
		named("an old token", forged(keystest.Expired), 401),
		named("a foreign key", forged(keystest.ForeignKey), 401),
		named("an ambiguous path", attack{target: "/healthz;x"}, 400),
	}
}

// write puts a policy in place by an atomic rename.
func (f *fleet) write(t *testing.T, data []byte) {
	t.Helper()
	next := f.policy + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, f.policy); err != nil {
		t.Fatal(err)
	}
}

// each waits until the metric of every replica has the value.
func (f *fleet) each(t *testing.T, value float64, name string, labels ...string) {
	t.Helper()
	for _, r := range f.replicas {
		await(t, fmt.Sprintf("%s%v to be %v", name, labels, value), func() bool { return r.metric(t, name, labels...) == value })
	}
}

// reload adds a thousand rules for nobody, and the one that turns the verdict on the marker over.
func (f *fleet) reload(t *testing.T, l *load) {
	t.Helper()
	next := append(bytes.Clone(f.original), "\np, reader, /marker, GET, allow\n"...)
	for i := range 1000 {
		next = fmt.Appendf(next, "p, nobody%d, /nothing/%d, GET, allow\n", i, i)
	}
	f.original = next
	l.enter(reloading)
	f.write(t, next)
	f.each(t, 2, "kasbah_config_generation")
	l.enter(reloaded)
	l.more(t, 500)
}

// breakPolicy cuts the policy off in the middle of a rule, and mends it.
func (f *fleet) breakPolicy(t *testing.T, l *load) {
	t.Helper()
	l.enter(broken)
	f.write(t, append(bytes.Clone(f.original), "p, reader, /orders/:id"...))
	f.each(t, 1, "kasbah_config_reloads_total", `result="error"`)
	f.each(t, 0, "kasbah_config_last_reload_ok")
	f.each(t, 2, "kasbah_config_generation")
	l.more(t, 500)
	f.write(t, f.original)
	f.each(t, 1, "kasbah_config_last_reload_ok")
	f.each(t, 2, "kasbah_config_generation")
}

// rotate puts new keys in force at the issuer and adds tokens under them to the load. Those under the first stay good,
// also ones that nobody has seen yet. It returns the shots that it added.
func (f *fleet) rotate(t *testing.T, l *load, shots []shot) []shot {
	t.Helper()
	await(t, "the replicas to be allowed another fetch", func() bool { return time.Since(f.started) > refreshFloor })
	before := f.fetches.Load()
	added := f.shots("first keys, unseen")
	f.issuer.Rotate()
	l.enter(rotated)
	added = append(added, f.shots("second keys")...)
	all := append(append([]shot{}, shots...), added...)
	l.shots.Store(&all)
	await(t, "both replicas to fetch the new keys", func() bool { return f.fetches.Load() >= before+2 })
	l.more(t, int64(20*len(all)))
	if got := f.fetches.Load() - before; got != 2 {
		t.Errorf("two replicas fetched the new keys %d times", got)
	}
	return added
}

// terminate ends a replica by SIGTERM, and brings it back.
func (f *fleet) terminate(t *testing.T, l *load) {
	t.Helper()
	r := f.replicas[0]
	l.enter(draining)
	r.signal(t, syscall.SIGTERM)
	f.edge.awaitHealthy(t, 1)
	select {
	case <-r.ended:
		t.Error("the replica ended before Envoy knew that it would")
	default:
	}
	await(t, "the replica to end", func() bool {
		select {
		case <-r.ended:
			return true
		default:
			return false
		}
	})
	if code := r.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the replica ended with %d: %v", code, r.command.ProcessState)
	}
	l.enter(gone)
	l.more(t, 1000)
	r.start(t)
	f.edge.awaitHealthy(t, 2)
	l.enter(back)
	await(t, "the replica to be asked again", func() bool { return r.metric(t, "kasbah_decisions_total", `effect="allow"`) > 0 })
	l.more(t, 1000)
}

// kill ends a replica without a word.
func (f *fleet) kill(t *testing.T, l *load) {
	t.Helper()
	l.enter(killed)
	f.replicas[1].end(t, syscall.SIGKILL)
	l.more(t, 2000)
}

// nothingAllowed kills the last replica and demands that every request is refused with 503, those too that were allowed.
func (f *fleet) nothingAllowed(t *testing.T, shots []shot) {
	t.Helper()
	f.replicas[0].end(t, syscall.SIGKILL)
	for _, s := range shots {
		o, err := send(f.edge.address, s.request)
		if err != nil || o.status != http.StatusServiceUnavailable {
			t.Errorf("%s, without Kasbah: %v, %v", s.name, o, err)
		}
	}
}
