package server_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/kasbah-authz/kasbah/server/servertest"
)

// stormConfig is the small system in its version n: alice may in even ones only, and what is injected says which.
func stormConfig(t *testing.T, n int) string {
	text := servertest.Orders(testIssuer(t))[servertest.ConfigFile]
	text = replaceOnce(t, text, "level: debug, decisions: all", "level: error, decisions: none")
	text = replaceOnce(t, text, "headers: {x-user: principal.id, x-roles: principal.roles}", fmt.Sprintf(`headers: {x-version: '"%d"'}`, n))
	text = replaceOnce(t, text, "x-served-to: principal.id", fmt.Sprintf(`x-version: '"%d"'`, n))
	who := []string{"alice", "bob"}[n%2]
	return replaceOnce(t, text, "{file: policy.csv}", fmt.Sprintf("{inline: \"p, reader, /orders/:id, GET\\ng, %s, reader\\n\"}", who))
}

// TestEveryVerdictIsOfOneGeneration reloads 200 times, every tenth time something broken, while four clients ask: no
// check fails, and no answer mixes two configurations.
func TestEveryVerdictIsOfOneGeneration(t *testing.T) {
	files := servertest.Orders(testIssuer(t))
	files[servertest.ConfigFile] = stormConfig(t, 0)
	s := servertest.Start(t, servertest.Options{Files: files})
	path := filepath.Join(s.Folder, servertest.ConfigFile)
	check := servertest.NewCheck("GET", "/orders/7", servertest.Bearer(testIssuer(t).Token(alice)))
	var over atomic.Bool
	var clients sync.WaitGroup
	var allowed, denied atomic.Int64
	for range 4 {
		client := authv3.NewAuthorizationClient(s.Dial(nil))
		clients.Go(func() {
			for !over.Load() {
				response, err := client.Check(t.Context(), check)
				if err != nil {
					t.Errorf("an RPC error: %v", err)
					return
				}
				if servertest.Status(response) == 403 {
					denied.Add(1)
					continue
				}
				allowed.Add(1)
				ok := response.GetOkResponse()
				var version, beside int
				if len(ok.GetHeaders()) != 1 || len(ok.GetResponseHeadersToAdd()) != 1 {
					t.Errorf("an answer of no version: %v", response)
					return
				}
				_, err1 := fmt.Sscan(ok.GetHeaders()[0].GetHeader().GetValue(), &version)
				_, err2 := fmt.Sscan(ok.GetResponseHeadersToAdd()[0].GetHeader().GetValue(), &beside)
				if err1 != nil || err2 != nil || version != beside || version%2 != 0 {
					t.Errorf("an answer of two versions: %v", response)
					return
				}
			}
		})
	}
	goroutines := 0
	var took []time.Duration
	for n := 1; n <= 200; n++ {
		generation, refused := s.Generation(), s.Refused()
		if n == 20 { // every client has its connection by now
			servertest.Await(t, "all clients", func() bool { return allowed.Load()+denied.Load() > 1000 })
			goroutines = runtime.NumGoroutine()
		}
		if n%10 == 0 {
			text := stormConfig(t, n)
			servertest.Replace(t, path, text[:len(text)-n/10]+"\t{")
			s.Reload()
			s.AwaitRefused(refused + 1)
			continue
		}
		servertest.Replace(t, path, stormConfig(t, n))
		if n%20 == 5 { // found by the watch alone
			took = append(took, s.AwaitGeneration(generation+1))
			continue
		}
		s.Reload()
		s.AwaitGeneration(generation + 1)
	}
	over.Store(true)
	clients.Wait()
	slices.Sort(took)
	t.Logf("%d reloads and %d refusals; %d allowed, %d denied; a change was in force after %s at the median, %s at the most",
		s.Generation()-1, s.Refused(), allowed.Load(), denied.Load(), took[len(took)/2], took[len(took)-1])
	if s.Generation() != 181 || s.Refused() != 20 || allowed.Load() == 0 || denied.Load() == 0 {
		t.Errorf("generation %d, %d refused, %d allowed, %d denied", s.Generation(), s.Refused(), allowed.Load(), denied.Load())
	}
	servertest.Await(t, fmt.Sprintf("the number of goroutines to be about %d again", goroutines), func() bool { return runtime.NumGoroutine() <= goroutines+5 })
}
