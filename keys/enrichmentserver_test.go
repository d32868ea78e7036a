package keys_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kasbah-authz/kasbah/keys"
	"github.com/kasbah-authz/kasbah/keys/keystest"
	"github.com/kasbah-authz/kasbah/policy"
)

// hostileAnswers are what a server may do instead of answering.
func hostileAnswers() map[string]http.HandlerFunc {
	text := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { answer(status, body).ServeHTTP(w, r) }
	}
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	return map[string]http.HandlerFunc{
		"500": text(500, "x"), "403": text(403, "{}"), "204": text(204, ""), "404": text(404, `{"sub":"alice"}`),
		"HTML": text(200, "<html>"), "empty": text(200, ""), "null": text(200, "null"), "a list": text(200, "[]"), "cut": text(200, `{"sub":"alice"`),
		"two": text(200, `{"sub":"alice"}{}`), "a member twice": text(200, `{"sub":"alice","roles":["a"],"roles":["admin"]}`),
		"a member twice by escape": text(200, `{"sub":"alice","roles":["a"],"r\u006fles":["admin"]}`),
		"not UTF-8":                text(200, "{\"sub\":\"alice\",\"x\":\"\xff\"}"), "deep": text(200, `{"sub":"alice","x":`+deep+`}`),
		"too long": text(200, `{"sub":"alice","x":"`+strings.Repeat("x", 64<<10)+`"}`),
		"redirect": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere.test/")
			w.WriteHeader(http.StatusFound)
		},
		"roles of the wrong kind":       text(200, `{"sub":"alice","roles":7}`),
		"hangs longer than its timeout": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"another subject":               text(200, `{"sub":"mallory","roles":["admin"]}`), "no subject": text(200, `{"roles":["admin"]}`),
		"sub is a list": text(200, `{"sub":["alice"]}`),
	}
}

// Whatever a server does, nobody gets a role by it, its callers are told 503, and the next good answer counts (THREATS a.6).
func TestHostileEnrichment(t *testing.T) {
	for _, on := range []bool{false, true} {
		enrich := userInfo(userInfoURL)
		if on {
			enrich = goOn(enrich)
		}
		enrichedBy(t, enrich, func(t *testing.T, e *enriched) {
			good := e.answer
			n := 0
			for name, bad := range hostileAnswers() {
				n++
				token := e.issuer.Token(keystest.Claims{Extra: map[string]any{"n": n}})
				e.answer = bad
				p, reason := e.try(token)
				if want := map[bool]policy.Reason{false: policy.Unavailable, true: policy.NoReason}[on]; reason != want {
					t.Errorf("%s: %v, want %v", name, reason, want)
				}
				if p != nil && (len(p.Roles) > 0 || p.Claims["x"] != nil || p.Subject != "alice") {
					t.Errorf("%s: %+v", name, p)
				}
				e.answer = good
				time.Sleep(map[bool]time.Duration{false: time.Second, true: 5 * time.Second}[on])
				if p, reason := e.try(token); reason != policy.NoReason || len(p.Roles) != 1 {
					t.Errorf("%s, and then a good answer: %v", name, reason)
				}
			}
			if got := e.store.Enrichments()[keys.Answers{Provider: "corp", Outcome: "failed"}]; got != uint64(n) {
				t.Errorf("%d of %d are counted", got, n)
			}
			if _, others := e.network.count(userInfoURL); slices.ContainsFunc(others, func(url string) bool { return url != keysURL }) {
				t.Errorf("asked as well: %q", others)
			}
		})
	}
}

// An endless answer costs no more than what is read of it.
func TestEndlessEnrichment(t *testing.T) {
	enrichedBy(t, userInfo(userInfoURL), func(t *testing.T, e *enriched) {
		var read atomic.Int64
		e.network.body = func(context.Context) io.ReadCloser {
			return io.NopCloser(readerFunc(func(p []byte) (int, error) {
				for i := range p {
					p[i] = ' '
				}
				read.Add(int64(len(p)))
				return len(p), nil
			}))
		}
		if _, reason := e.try(e.issuer.Token(keystest.Claims{})); reason != policy.Unavailable {
			t.Error(reason)
		}
		if got := read.Load(); got > 256<<10 {
			t.Errorf("%d bytes are read", got)
		}
	})
}
